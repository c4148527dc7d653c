"""What has not been taken is named."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.earlier.conversion import LeftOut, Source, toml
from gleitzeitd.plain import Json

PLAIN = st.recursive(
    st.booleans() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, min_size=1, max_size=3),
    max_leaves=8,
)


def leaves(value: Json, path: tuple[str, ...] = ()) -> set[str]:
    if isinstance(value, dict) and value:
        return {leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))}
    return {".".join(path)} if path else set()


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), PLAIN, max_size=3))
def test_all_that_nobody_takes_is_left_out_by_name(document: dict[str, Json]) -> None:
    assert {each.path for each in Source(document).left({})} == leaves(document)


def test_what_was_taken_is_not_left_out_and_what_is_no_number_was_not_taken() -> None:
    source = Source({"a": {"b": 1, "c": "x"}, "d": "3"})
    assert source.take("a", "b") == 1
    assert source.number("d", least=0, most=9) is None
    assert source.text("a", "none") == ""
    assert [str(each) for each in source.left({"a": "no such thing", "a.c": "decoration"})] == [
        "a.c = x: decoration",
        "d = 3: nothing is known of it",
    ]


def test_a_secret_is_not_shown() -> None:
    assert str(LeftOut(path="authentication.api_key", value="abc", why="x")) == "authentication.api_key: x"


def test_a_file_has_tables_of_lists_and_says_what_is_missing() -> None:
    left = (LeftOut(path="a.b", value="c\nd", why="word " * 30),)
    text = toml("About\nit.", {"provider": {"n": 1, "servers": [{"name": 'a"b'}, {"name": "c"}]}}, left)
    assert tomllib.loads(text) == {"provider": {"n": 1, "servers": [{"name": 'a"b'}, {"name": "c"}]}}
    assert text.startswith("# About\n# it.\n\n[provider]\nn = 1\n\n[[provider.servers]]\n")
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "# - a.b = c d: word" in text


def test_a_password_in_an_address_is_not_repeated() -> None:
    said = str(LeftOut(path="redis_url", value="redis://me:geheim@host:6379/0", why="unused"))
    assert said == "redis_url = redis://host:6379/0: unused"
