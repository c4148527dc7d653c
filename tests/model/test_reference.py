import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import ParameterInvalid
from gleitzeitd.model.reference import find, has_reference, parse, references, substitute, with_ids

LLM = {"response": "hi", "model": "m", "usage": {"tokens": [1, 2, 3]}}
PYTHON = {"result": {"rows": [{"a b": 1}, 2], "total": 7}, "output": "printed", "success": True}
RESULTS = {
    "llm": LLM,
    "py": PYTHON,
    "text": "plain",
    "list": [10, [20, 30]],
    "none": None,
    "number": {"result": 5},
    "inputs": {"n": 3, "result": "r", "deep": {"x": 1}},
}
SUBSTITUTED = [
    ("${llm.response}", "hi"),
    ("${llm.content}", "hi"),
    ("${llm.result.response}", "hi"),
    ("${llm.result.content}", "hi"),
    ("${llm}", LLM),
    ("${llm.result}", LLM),
    ("${ llm.model }", "m"),
    ("${llm.usage.tokens.0}", 1),
    ("${llm.usage.tokens[-1]}", 3),
    ("${llm['usage'][\"tokens\"][1]}", 2),
    ("${py}", PYTHON["result"]),
    ("${py.result}", PYTHON["result"]),
    ("${py.result.total}", 7),
    ("${py.total}", 7),
    ("${py.output}", "printed"),
    ("${py.result.output}", "printed"),
    ("${py.result.result.total}", 7),
    ("${py.result.rows[0]['a b']}", 1),
    ("${py.rows.1}", 2),
    ("${text}", "plain"),
    ("${text.result}", "plain"),
    ("${list[1][0]}", 20),
    ("${list.result.0}", 10),
    ("${none}", None),
    ("${number.result}", 5),
    ("${number.result.result}", 5),
    ("${inputs.n}", 3),
    ("${inputs.result}", "r"),
    ("${inputs.deep.x}", 1),
    ("${inputs}", RESULTS["inputs"]),
    ("n=${number} ${py.success} ${none} ${list}", "n=5 True None [10, [20, 30]]"),
    ("$${llm} costs $5 ${text}", "${llm} costs $5 plain"),
    ("$${a}", "${a}"),
    ({"a": ["${number}", {"${number}": "${text}!"}]}, {"a": [5, {"${number}": "plain!"}]}),
]


@pytest.mark.parametrize(("parameter", "value"), SUBSTITUTED, ids=str)
def test_a_reference_becomes_its_value(parameter, value):
    assert substitute({"p": parameter}, RESULTS.__getitem__) == {"p": value}


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("${gone.x}", "parameters.p: ${gone.x}: task 'gone' has no result"),
        ("${llm.foo}", "no 'foo' in the result of task 'llm'; there is response, model, usage"),
        ("${llm.usage.foo}", "no 'foo' in the result of task 'llm'; there is tokens"),
        ("${llm.usage.tokens[3]}", "no 3 in the result of task 'llm'; there is a list of 3"),
        ("${text.length}", "no 'length' in the result of task 'text'; there is text"),
        ("${inputs.m}", "no 'm' in the inputs; there is n, result, deep"),
        ("x ${llm", "without a readable reference"),
        ("${}", "names no task"),
        ("${llm..x}", "cannot be read from"),
    ],
)
def test_a_reference_to_nothing_is_an_error_that_says_what_there_is(parameter, message):
    with pytest.raises(ParameterInvalid) as raised:
        substitute({"p": parameter}, RESULTS.__getitem__)
    assert message in str(raised.value)


def test_an_error_says_where_the_reference_stands():
    with pytest.raises(ParameterInvalid, match=r"^parameters\.a\[1\]\.b: "):
        substitute({"a": [1, {"b": "${gone}"}]}, RESULTS.__getitem__)


def test_python_source_gets_literals_and_other_parameters_get_values():
    done = substitute(
        {"code": "${py.total} + len('${text}')", "context": {"code": "${py.total}"}},
        RESULTS.__getitem__,
        python_keys={"code"},
    )
    assert done == {"code": "(7) + len('plain')", "context": {"code": 7}}


def test_a_result_is_never_run_even_if_it_is_the_whole_source():
    done = substitute({"code": "${text}"}, {"text": "import os"}.__getitem__, python_keys={"code"})
    assert done == {"code": "('import os')"}


def test_a_value_is_not_looked_into_again():
    assert substitute({"p": "${a} ${b}"}, {"a": "${b}", "b": "$${c}"}.__getitem__) == {"p": "${b} $${c}"}


def test_names_with_blanks_and_dots_become_ids():
    ids = {"Load Data": "load", "Process a.txt": "p.a", "load": "load", "p.a": "p.a"}
    before = {
        "x": "${Load Data.result} ${Process a.txt.result.n} ${load} $${Load Data} ${nobody.x}",
        "code": "f('${Process a.txt[0]}') # ${Load Data}",
    }
    after = with_ids(before, {"code"}, ids)
    assert after == {
        "x": "${load.result} ${['p.a'].result.n} ${load} $${Load Data} ${nobody.x}",
        "code": "f('${['p.a'][0]}') # ${Load Data}",
    }
    assert with_ids(after, {"code"}, ids) == after
    assert substitute({"x": after["code"]}, {"p.a": [4], "load": 1, "Load Data": 2}.__getitem__)
    assert [r.task for _, r in references(after, python_keys={"code"})] == [
        "load",
        "p.a",
        "load",
        "nobody",
        "p.a",
    ]


def test_quotes_escaped_for_the_literal_around_a_reference_are_understood():
    done = substitute({"code": r'"${a[\"k\"]}"'}, {"a": {"k": 1}}.__getitem__, python_keys={"code"})
    assert done == {"code": '"1"'}


def test_references_are_found_with_their_places():
    found = find({"a": [{"b": "${t.x} ${"}], "c": "${inputs.n}"}, (), {"t"})
    assert [(path, r.task, r.path, r.text) for path, r in found.references] == [
        (("a", 0, "b"), "t", ("x",), "${t.x}"),
        (("c",), "inputs", ("n",), "${inputs.n}"),
    ]
    assert [path for path, _ in found.problems] == [("a", 0, "b")]


def test_a_task_can_be_quoted():
    assert parse("['a [1].b'].x[0]").task == "a [1].b"
    assert parse("a.b.c", {"a.b"}).path == ("c",)


def test_what_holds_a_reference_is_known():
    assert has_reference({"a": [1, "x${b}"]})
    assert has_reference("$${a}")
    assert not has_reference({"${a}": "$a {b}"})


texts = st.lists(
    st.sampled_from(["${", "}", "$", "{", "a", ".", "[", "]", "'", "0", " ", "\n", "${a.b}", "$${"])
).map("".join)


@given(texts)
def test_substitution_leaves_no_mark_that_was_not_escaped(text):
    value = {"b": "V", "a": "V", "0": "V"}
    try:
        done = substitute({"p": text}, lambda task: value)["p"]
    except ParameterInvalid:
        return
    if isinstance(done, str):
        escaped = text.count("$${")
        assert done.count("${") <= escaped


@given(texts, st.booleans())
def test_finding_and_renaming_never_raise_and_renaming_changes_no_meaning(text, python):
    keys = {"p"} if python else ()
    names = {"a": "a", "b": "a.1"}
    before = find({"p": text}, keys, names)
    after = find(with_ids({"p": text}, keys, names), keys)
    assert [(names.get(r.task, r.task), r.path) for _, r in before.references] == [
        (r.task, r.path) for _, r in after.references
    ]


def test_a_long_text_of_open_marks_is_read_in_linear_time():
    assert len(find({"p": "${['" * 50_000}, ()).problems) == 50_000
    assert find({"p": "'${a['" * 50_000}, {"p"}).problems


def test_a_large_value_that_is_referred_to_often_is_refused_before_it_is_put_in() -> None:
    large = ["x" * 1000] * 10_000
    for parameters in (
        {f"p{n}": "${a}" for n in range(1000)},
        {"p": "${a} " * 1000},
        {"code": "${a}\n" * 1000},
        {"p": ["${a[0]}${a[1]}"] * 10_000},
    ):
        started = time.process_time()
        with pytest.raises(ParameterInvalid, match="what is referred to takes more than 12000000 characters"):
            substitute(parameters, {"a": large}.__getitem__, python_keys={"code"}, room=12_000_000)
        assert time.process_time() - started < 2  # about 0.1


def test_there_is_room_for_a_value_that_is_referred_to_once() -> None:
    large = ["x" * 1000] * 20_000
    found = substitute({"p": "${a}", "n": "${n}"}, {"a": large, "n": 1}.__getitem__, room=12_000_000)
    assert found == {"p": large, "n": 1}
    with pytest.raises(ParameterInvalid, match="refer to parts of the results"):
        substitute({"p": "${a}", "q": "${a}"}, {"a": large}.__getitem__, room=12_000_000)
