"""Regular expressions of schemas: what they match is what ``re`` says, and it never takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.providers.pattern import PatternRefusedError, TooLongError, Work, compiled

ATOMS = st.sampled_from(
    [
        "a",
        "b",
        ".",
        r"\w",
        r"\d",
        "[ab]",
        "[^a]",
        "[]a]",
        "^",
        "$",
        r"\b",
        r"\B",
        r"\n",
        r"\A",
        r"\Z",
        "é",
        r"\.",
        "-",
    ]
)
COUNTS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{0}", "{2}", "{1,3}", "{,2}", "{2,}", "{,}"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, COUNTS).map(lambda two: f"({two[0]}){two[1]}"),
    ),
    max_leaves=8,
)
TEXTS = st.text(alphabet="abB1é -.\n", min_size=1, max_size=10)


@given(
    st.sampled_from(["", "(?i)", "(?m)", "(?s)", "(?a)"]),
    EXPRESSIONS,
    st.lists(TEXTS, min_size=1, max_size=5),
)
def test_an_expression_matches_what_re_says(flags: str, pattern: str, texts: list[str]) -> None:
    ours, theirs = compiled(flags + pattern), re.compile(flags + pattern)
    for text in texts:
        assert ours.search(text, Work(10**6)) == bool(theirs.search(text))


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^(a+)+$", "a" * 100_000 + "!", False),
        ("(a*)*b", "a" * 100_000, False),
        ("a*a*a*a*a*b", "a" * 100_000, False),
        ("^(a|a?)+$", "a" * 100_000 + "!", False),
        ("^([a-z]+-?)*[0-9]$", "a" * 100_000 + "1", True),
        (".*x", "y" * 100_000, False),
    ],
)
def test_what_takes_re_for_ever_takes_no_time(pattern: str, text: str, matches: bool) -> None:
    started = time.process_time()
    assert compiled(pattern).search(text, Work(1_000_000)) is matches
    assert time.process_time() - started < 1  # about 0.02


@pytest.mark.parametrize("pattern", ["(.|a){500}b", "[a-z]*(a|b).{12}$", "(a?){2000}c"])
def test_a_search_ends_when_its_work_is_done(pattern: str) -> None:
    text = "".join("ab"[number * number % 7 % 2] for number in range(100_000))
    started = time.process_time()
    try:
        compiled(pattern).search(text, Work(300_000))
    except TooLongError:
        pass
    assert time.process_time() - started < 2  # about 0.3


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?=a)", "(?=a...) cannot be checked in bounded time"),
        ("(?<!a)b", "(?<!...) cannot be checked in bounded time"),
        (r"(a)\1", "a reference to a group cannot be checked in bounded time"),
        ("(?P<n>a)(?P=n)", "(?P=...) cannot"),
        ("a++", "a possessive repetition cannot"),
        ("(?>a)", "(?>a...) cannot"),
        ("(?x) a", "the flag x cannot"),
        ("(", "no regular expression: missing )"),
        ("a**", "no regular expression: multiple repeat"),
        ("a{99999}", "its counts come to more than can be checked"),
        ("((a{99}){99}){99}", "its counts come to more than can be checked"),
        ("(" * 500 + ")" * 500, "groups in groups"),
        ("a" * 3000, "a regular expression of 3000 characters; at most 2000 are possible"),
        ("(?i)" + "[a-z]" * 50, "(?i) in more than 200 characters"),
    ],
)
def test_what_cannot_be_searched_for_in_time_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(PatternRefusedError) as problem:
        compiled(pattern)
    assert str(problem.value).startswith(why)
