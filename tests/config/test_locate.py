"""On which line of a file of settings each key and item is."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from gleitzeitd.config.locate import KeyPath, locate

TEXTS = st.text(st.sampled_from("ab.=[]{}#,\"'\\ \n\t\u00e9"), max_size=8)
SCALARS = (
    TEXTS
    | st.booleans()
    | st.integers(-99, 99)
    | st.floats(allow_nan=False)
    | st.datetimes()
    | st.dates()
    | st.times()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} - {()} | {found for key, item in items for found in paths_of(item, (*path, key))}


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.booleans())
def test_every_key_and_item_of_a_written_file_is_located(data: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(data, multiline_strings=multiline)
    lines = locate(text)
    assert set(lines) == paths_of(tomllib.loads(text))
    shown = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str) and re.fullmatch("[ab]+", path[-1]):
            assert path[-1] in shown[line - 1]


FORMS = [
    '"[x] # = \\" \\\\"', "'[x] # = \"'", '"""\n[fake]\nfake = 1\n\\""" "" """', "'''\n[fake]\nfake = \"\n'''", '""""a"""""', "''",
    "1979-05-27 07:32:00", "[\n1, # ] fake = 2\n'[',\n[ ] ]", "{ a = '}', b = { c = [ 1 ] } }", "+1_0.5e-3", "[{}, {x = 1}]",
]  # fmt: skip
GAPS = st.sampled_from(["", "\n", "# [fake]\n", "  # fake = '''\n\n", "\t\n"])
NAMES = st.sampled_from(["a", "b-c", '"[q]"', "'= #'", "x . y", 'k."l\\u0041.m"', "1.2"])


@given(
    st.lists(
        st.tuples(GAPS, st.sampled_from(["pair", "[", "[["]), NAMES, st.sampled_from(FORMS), GAPS), max_size=8
    )
)
@example(
    [
        ("", "[[", "a", "''", ""),
        ("", "pair", "b", FORMS[2], "\n"),
        ("", "[[", "a", "''", ""),
        ("", "pair", "b", "''", ""),
    ]
)
def test_a_key_is_on_the_line_that_it_was_written_to(
    statements: list[tuple[str, str, str, str, str]],
) -> None:
    text, expected = "", {}
    for number, (before, kind, name, form, after) in enumerate(statements):
        unique = f"{name}.n{number}"
        text += before
        line = text.count("\n") + 1
        if kind == "pair":
            text += f"  {unique} = {form} {after if '#' in after else ''}\n"
        else:
            text += f"{kind} {unique} {']' * len(kind)}\n"
        expected[f"n{number}"] = line
    tomllib.loads(text)
    found = {path[-1]: line for path, line in locate(text).items() if str(path[-1]).startswith("n")}
    assert found == expected


def test_items_of_arrays_of_tables_are_told_apart() -> None:
    text = "[[a]]\nx = 1\n[a.b]\ny = 1\n[[a]]\nx = 2\n[[a.c]]\n[[a.c]]\nz = {p.q = 1}\n[a.b]\ny = 2"
    lines = locate(text)
    assert lines["a", 0, "b", "y"] == 4
    assert lines["a", 1, "x"] == 6
    assert lines["a", 1, "c", 1, "z", "p", "q"] == 9
    assert lines["a", 1, "b", "y"] == 11
    assert set(lines) == paths_of(tomllib.loads(text))
