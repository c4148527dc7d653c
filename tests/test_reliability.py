"""Every role and fault on real processes: what ``./dev matrix`` publishes, with limits.

All scenarios run once, a few at a time; each test looks at what one of them has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.matrix.__main__ import AWAY as AWAY_ON_PAGE
from tests.matrix.page import PAGE, as_page, rows_of
from tests.matrix.scenarios import KILLED, KILLED_OF_TWO, PAUSE_ALLOWED, ROWS, everything
from tests.matrix.trial import STEPS, Seen

pytestmark = pytest.mark.alone

AWAY = 20.0
"""Seconds without any hub; the page is about a minute."""
AT_ONCE = 3
"""Clusters at the same time."""
AWAKE = 30.0
"""Seconds within which something has to run again after any fault; a busy machine included."""


@pytest.fixture(scope="module")
def seen() -> Mapping[tuple[str, str], Seen]:
    """By role and fault."""
    found = asyncio.run(everything(AWAY, at_once=AT_ONCE))
    print(as_page(found, AT_ONCE))
    return {(each.role, each.fault): each for each in found}


def _named(rows: tuple[tuple[str, str], ...], away: float) -> list[tuple[str, str]]:
    return [(role, fault.format(away=away)) for role, fault in rows]


@pytest.mark.slow
@pytest.mark.parametrize("row", _named(ROWS, AWAY), ids=" ".join)
def test_nothing_is_lost_and_nothing_done_twice_without_a_reason(
    seen: Mapping[tuple[str, str], Seen], row: tuple[str, str]
) -> None:
    broken = [each.wrong for each in seen.values() if each.fault == "broken off"]
    assert row in seen, broken
    assert not seen[row].wrong
    assert (seen[row].back or 0.0) < AWAKE


@pytest.mark.slow
def test_a_second_instance_takes_over_within_seconds(seen: Mapping[tuple[str, str], Seen]) -> None:
    some = [each for each in seen.values() if each.fault == KILLED_OF_TWO]
    assert len(some) == 6
    for each in some:
        assert each.done == STEPS
        assert each.pause <= PAUSE_ALLOWED


@pytest.mark.slow
def test_only_what_ran_in_the_killed_engine_or_provider_runs_again(
    seen: Mapping[tuple[str, str], Seen],
) -> None:
    for each in seen.values():
        if each.fault in (KILLED, KILLED_OF_TWO) and each.role not in ("execution-engine", "provider"):
            assert each.extra == 0, each


@pytest.mark.slow
def test_a_user_is_told_who_is_missing(seen: Mapping[tuple[str, str], Seen]) -> None:
    away = [each for each in seen.values() if each.fault.startswith("all hubs gone")]
    assert len(away) == 2
    for each in away:
        assert "no hub answers" in each.said


def test_the_manual_has_a_row_for_every_scenario() -> None:
    assert rows_of(PAGE.read_text()) == _named(ROWS, AWAY_ON_PAGE)


def test_whatever_a_command_says_a_row_stays_a_row() -> None:
    said = Seen(role="hub", fault="killed", said="one | two\nthree", pause=1.25)
    page = as_page([said], 1)
    assert rows_of(page) == [("hub", "killed")]
    assert "one \\| two three |" in page
