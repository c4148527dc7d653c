"""How values look."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.cli import show
from gleitzeitd.cli.show import (
    Column,
    cell_width,
    clipped,
    duration,
    pretty,
    printable,
    result_lines,
    size,
    table,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.0254, "25 ms"),
        (0.42, "0.4 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (123, "2 min 03 s"),
        (3900, "1 h 05 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 * 2**20, "20 MiB"), (None, "")]
)
def test_a_size_has_the_unit_that_fits(count: int | None, text: str) -> None:
    assert size(count) == text


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert (
        printable("\x1b[31mred\x1b[0m \x1b]0;title\x07x\x9b31m\ty")
        == "red x\N{REPLACEMENT CHARACTER}31m    y"
    )


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_clipped_text_is_never_wider_than_allowed(text: str, width: int) -> None:
    assert cell_width(clipped(text, width)) <= width


def test_wide_characters_take_two_columns() -> None:
    assert cell_width("日本") == 4
    assert clipped("日本語", 4) == "日…"


@given(JSON, st.integers(min_value=10, max_value=100))
def test_pretty_json_is_the_same_value(value: object, width: int) -> None:
    assert json.loads(pretty(value, width)) == value


def test_what_fits_into_a_line_has_one() -> None:
    value = {"numbers": [1, 2, 3], "text": "x" * 30}
    assert pretty(value, 40).splitlines() == ["{", '  "numbers": [1, 2, 3],', f'  "text": "{"x" * 30}"', "}"]


def test_a_long_result_says_how_much_is_missing() -> None:
    lines = result_lines("\n".join(map(str, range(10))), limit=4)
    assert lines == ["0", "1", "2", "… 7 more lines"]


COLUMNS = [Column("id", flexible=True), Column("n", right=True), Column("host", optional=1)]
ROWS = [("a" * 20, "5", "host-1"), ("b", "500", "host-2")]


def test_a_table_is_as_wide_as_it_is_where_nobody_counts_columns() -> None:
    assert [line.rstrip() for line in map(plain, table(COLUMNS, ROWS, None))] == [
        "ID                      N  HOST",
        "aaaaaaaaaaaaaaaaaaaa    5  host-1",
        "b                     500  host-2",
    ]


def test_a_narrow_table_first_cuts_and_then_leaves_out() -> None:
    assert list(map(plain, table(COLUMNS, ROWS, 26)))[1] == "aaaaaaaaaaaa…    5  host-1"
    assert list(map(plain, table(COLUMNS, ROWS, 18)))[1] == "aaaaaaaaaaaa…    5"


def plain(line: str) -> str:
    return show.printable(line)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert show.status_text("failed") == "\x1b[31mfailed\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert show.status_text("failed") == "failed"


def test_a_time_that_is_none_is_empty() -> None:
    assert show.moment("") == show.moment(None) == show.moment("soon") == ""
    assert show.between("2026-01-01T00:00:01Z", "2026-01-01T00:00:03.5Z") == 2.5
