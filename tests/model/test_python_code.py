import ast
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gleitzeitd.model import python_code
from gleitzeitd.model.python_code import Place

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
nasty = st.text(alphabet="ab01'\"\\{}$\n\r\t#;()N\x00\ud800ü\U0001f600 ") | st.text()


def put(source, value):
    return python_code.put_in(source, python_code.scan(source), lambda span: value)


def result(source, value, **names):
    scope = dict(names)
    exec(compile(put(source, value), "<test>", "exec"), scope)
    return scope["x"]


@given(plain)
def test_outside_a_literal_a_value_evaluates_to_itself(value):
    assert result("x = ${a}", value) == value
    assert result("x = [1,${a}][1]", value) == value


TEXT_FORMS = [
    ("x = 'A${a}B'", "A", "B"),
    ('x = "A${a}B"', "A", "B"),
    ("x = '''A'${a}\nB'''", "A'", "\nB"),
    ('x = """A\n"${a}B"""', 'A\n"', "B"),
    ("x = r'A\\d${a}\\'B'", "A\\d", "\\'B"),
    ('x = r"""A\\n${a}\nB"""', "A\\n", "\nB"),
    ("x = r'A\\\n${a}B'", "A\\\n", "B"),
    ("x = R'C:\\dir\\${a}'", "C:\\dir\\", ""),
    ("x = 'C:\\${a}'", "C:\\", ""),
    ("x = 'C:\\\\${a}'", "C:\\", ""),
    ("x = '\\1${a}'", "\1", ""),
    ("x = u'A${a}'", "A", ""),
    ("x = f'A{1+1}${a}{{B}}'", "A2", "{B}"),
    ("x = rf'A\\d{1}${a}'", "A\\d1", ""),
    ("x = fR'''{1}\\\n${a}'''", "1\\\n", ""),
    ("x = f'{\"A${a}B\"}'", "A", "B"),
    ('x = f\'{"A}{" + "{${a}}"}\'', "A}{{", "}"),
    ("x = f'{r\"A${a}B\"}'", "A", "B"),
    ("x = f'{f\"A{2}${a}B\"}'", "A2", "B"),
    ("x = f'{${a}}'", "", ""),
    ("x = f'{dict(k=${a})[\"k\"]!s:}'", "", ""),
    ("x = f'''{\n'A' '${a}'\n}'''", "A", ""),
    ("x = 'A' '${a}' f'{3}' r'\\'", "A", "3\\") if False else ("x = 'A' '${a}' f'{3}'", "A", "3"),
    ("x = 'A' r'\\d${a}' \"B\"", "A\\d", "B"),
]


@pytest.mark.parametrize(("source", "before", "after"), TEXT_FORMS)
@given(nasty)
@example('"; import os #')
@example("'''\"\"\"\\")
@example("{__import__('os')}")
@example("7")
@example("${a}")
def test_inside_a_literal_a_text_stays_that_text(source, before, after, value):
    assert result(source, value) == before + value + after


@given(nasty)
def test_in_a_bytes_literal_a_text_becomes_its_utf8(value):
    assert result("x = b'A${a}'", value) == b"A" + value.encode(errors="surrogatepass")
    assert result("x = rb'\\${a}'", value) == b"\\" + value.encode(errors="surrogatepass")


def test_a_format_specification_can_be_put_in():
    assert result("x = f'{3.14159:${a}}'", ".2f") == "3.14"
    assert result("x = f'{5:>${a}}'", 3) == "  5"


def test_a_bytes_literal_inside_a_field_is_refused():
    with pytest.raises(python_code.BytesInFieldError):
        put("x = f'{b\"${a}\"}'", "text")


def test_a_comment_is_left_alone():
    source = "x = 1  # was ${a}\r# ${b} '\n"
    assert python_code.scan(source).spans == []
    assert put(source, "\nimport os") == source


@pytest.mark.parametrize(
    ("source", "value"), [("x = f${a}", "{1}"), ("x = rb${a}", "a"), ("x = 1${a}", 2), ("x = -${a}**2", -1)]
)
def test_a_value_never_merges_with_what_stands_before_it(source, value):
    written = put(source, value)
    assert f"({value!r})" in written


def test_an_escaped_mark_becomes_plain():
    assert result("x = '$${a}'", None) == "${a}"
    assert result("x = f'$${y}'", None, y=5) == "$5"
    assert result("x = f'${{y}}'", None) == "${y}"
    assert result("x = f'$${{y}}${a}'", 1) == "${y}1"


def test_lines_keep_their_numbers():
    source = "x = '''${a}\n'''\ny = ${a}\nz = r'\\\n${a}'\nq = 1\n"
    assert put(source, "a\nb\r\nc").count("\n") == source.count("\n")


def test_places_are_told_apart():
    found = python_code.scan("${a} + '${b}' + f'{${c}:${d}} ${e}' + f'{\"${f}\"}' # ${g}")
    assert [(s.inner, s.place, s.nested) for s in found.spans] == [
        ("a", Place.CODE, False),
        ("b", Place.TEXT, False),
        ("c", Place.CODE, True),
        ("d", Place.SPEC, False),
        ("e", Place.TEXT, False),
        ("f", Place.TEXT, True),
    ]


def test_a_slice_or_a_lambda_in_a_field_opens_no_format_specification():
    found = python_code.scan("f'{x[1:${a}]} {x!r:${b}} {x != ${c}} {(lambda: ${d})()}'")
    assert [s.place for s in found.spans] == [Place.CODE, Place.SPEC, Place.CODE, Place.CODE]


def test_names_of_characters_hold_no_field():
    assert result("x = f'\\N{BULLET}${a}'", "{") == "•{"
    assert result("x = '\\N{BULLET}${a}'", "{") == "•{"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="same quotes inside a field: since Python 3.12")
def test_the_same_quotes_may_be_used_inside_a_field():
    assert result("x = f'{'${a}'}'", "it's") == "it's"


@given(st.text(alphabet="fr'\"{}$a#\\\n: =!([])"))
def test_scanning_never_raises_and_spans_are_in_order(source):
    found = python_code.scan(source)
    assert [s.start for s in found.spans] == sorted(s.start for s in found.spans)
    assert all(source[s.start : s.end] == "${" + s.inner + "}" for s in found.spans)


def test_nesting_without_end_is_a_problem_and_no_crash():
    assert python_code.scan('${a} f"{' * 5000).problems


@given(st.text(alphabet="fr'\"{}$a#\\\n: =!([])x"), nasty)
def test_whatever_the_source_a_name_from_a_value_is_never_called(source, value):
    try:
        written = python_code.put_in(source, python_code.scan(source), lambda span: "evil(" + value + ")")
        tree = ast.parse(written)
    except (SyntaxError, ValueError, python_code.BytesInFieldError):
        return
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "evil"]
