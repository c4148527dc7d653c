"""The page of the manual: a row per scenario."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from gleitzeitd import __version__
from tests.daemons import ROOT
from tests.matrix.scenarios import CUT, FORGOTTEN, KILLED, KILLED_OF_TWO, PAUSED
from tests.matrix.trial import SAID_AFTER, STEP_SECONDS, STEPS, Seen

PAGE: Path = ROOT / "packaging" / "manual" / "failure-matrix.md"

HEAD = f"""# Failure matrix

What is lost when a daemon is killed, hangs, or is cut off? No workflow that was accepted, and no result. This
page shows what else there is to see: every role, what happened to it, and what came of it.

`./dev matrix` made this page, by doing all of it to real processes on one machine, and measuring. Version
{{version}}, {{day}}. The same scenarios are tests (`tests/test_reliability.py`), with limits where this page
has figures. {{at_once}} clusters ran at the same time, and shared {{cpus}} processors; where a process had to start, most of
a pause is its start. Unless a row says otherwise, what runs is a chain of {STEPS} tasks of {STEP_SECONDS:g} s each, with one
daemon of each role, and the fault comes in the middle of it.

* *may run again*: what is executed more than once, by design. A task has one result all the same, since the
  attempt's number decides which one; what must not run twice says so with `on_lost`.
* *ran again*: executions beyond one per task in this run, as the provider itself has written them down.
* *pause*: the longest time in which no step of the workflow began, in seconds.
* *`gleitzeit why`*: what the command said, when it was asked {SAID_AFTER:g} s after the fault.

"""

COLUMNS = ("role", "fault", "what came of it", "may run again", "ran again", "pause", "`gleitzeit why`")


def cells(seen: Seen) -> tuple[str, ...]:
    """One row."""
    return (
        seen.role,
        seen.fault,
        seen.user or "; ".join(seen.wrong),
        seen.may,
        str(seen.extra),
        f"{seen.pause:.1f} s",
        seen.said or "-",
    )


def as_page(everything: Sequence[Seen], at_once: int) -> str:
    """The whole page."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [HEAD.format(version=__version__, day=day, at_once=at_once, cpus=os.cpu_count()).rstrip(), ""]
    lines += [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    lines += [_row([_escaped(cell) for cell in cells(seen)]) for seen in everything]
    return "\n".join([*lines, "", *_reading(everything)]) + "\n"


def _reading(everything: Sequence[Seen]) -> list[str]:
    """What the figures come to."""
    lines = ["In short:", ""]
    for title, fault in (
        ("Killed and started again", KILLED),
        ("Killed while a second one is there", KILLED_OF_TWO),
        ("Stopped and continued", PAUSED),
        ("Cut off and connected again", CUT),
        ("The same with connections that are dead for ever", FORGOTTEN),
    ):
        some = [seen for seen in everything if seen.fault == fault]
        if some:
            longest = max(some, key=lambda seen: seen.pause)
            again = sum(seen.extra for seen in some)
            lines.append(
                f"* {title}: {len(some)} scenarios, {sum(seen.done for seen in some)} of "
                f"{sum(seen.tasks for seen in some)} tasks done, {again} ran again; the longest pause was "
                f"{longest.pause:.1f} s ({longest.role})."
            )
    return lines


def rows_of(page: str) -> list[tuple[str, str]]:
    """Role and fault of every row."""
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ")]
    return [(row[0].strip(), row[1].strip()) for row in rows[2:]]


def _row(parts: Sequence[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
