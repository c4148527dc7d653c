"""How much is written into the journal: one warning per cause, and no more records than one can read.

* A warning or an error that repeats within WINDOW is written once. Its repeats are counted, and the count
  is written with the next one; those about a workflow are written as information, so that they are found
  with the workflow and nobody is alarmed anew.
* Information has a budget: so many records per second, and ten times as many at once. What exceeds it is
  left out, and that is said. Warnings, and what was asked for as debug, are outside of it.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

WINDOW = 60.0
"""Seconds for which a warning stands."""
BURST_SECONDS = 10.0
"""What may be written at once, in seconds of the rate."""
CAUSES = 1000
"""Causes remembered; the oldest are forgotten first."""
OUTPUT = "gleitzeitd.output"
"""The logger of what tasks write; it has a budget of its own."""

_ABOUT_ONE = {"workflow_id", "task_id", "attempt", "correlation_id", "workflow_name", "provider"}
"""Fields in which records of one cause differ."""
_LEFT_OUT = "records were left out: there are more than log.records_per_second"


@dataclass(slots=True)
class _Warned:
    until: float
    repeats: int = 0


class Budget:
    """A bucket of records that fills with time."""

    def __init__(self, rate: float, now: float) -> None:
        """``rate`` is per second; 0: no limit."""
        self._rate = rate
        self._left = self._most = rate * BURST_SECONDS
        self._filled = now
        self._left_out = 0

    def has_room(self, now: float) -> bool:
        """Whether one more may be written; if not, it counts as left out."""
        if not self._rate:
            return True
        self._left = min(self._most, self._left + (now - self._filled) * self._rate)
        self._filled = now
        if self._left < 1:
            self._left_out += 1
        return self._left >= 1

    def takes(self, now: float) -> bool:
        """Whether one more may be written; it is taken to be."""
        if not self.has_room(now):
            return False
        self._left -= 1
        return True

    def left_out(self) -> int:
        """How many were not written since this was asked last."""
        number, self._left_out = self._left_out, 0
        return number


class Moderation:
    """Decides about every record of a process."""

    def __init__(self, records_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budget = Budget(records_per_second, clock())
        self._output = Budget(records_per_second, clock())
        self._warned: OrderedDict[object, _Warned] = OrderedDict()

    def has_room(self) -> bool:
        """Whether information may be written now: asked before a record is made, which costs more. If not,
        one is counted as left out.
        """
        return self._budget.has_room(self._clock())

    def admitted(self, record: logging.LogRecord) -> Iterator[logging.LogRecord]:
        """What is to be written in its place: nothing, the record, or what was left out and the record."""
        now = self._clock()
        if logging.WARNING <= record.levelno < logging.CRITICAL and not self._warns(record, now):
            return
        if logging.INFO <= record.levelno < logging.WARNING:
            budget = self._output if record.name == OUTPUT else self._budget
            if not budget.takes(now):
                return
            if number := budget.left_out():
                yield _record(record, _LEFT_OUT, number)
        yield record

    def _warns(self, record: logging.LogRecord, now: float) -> bool:
        """Whether the record is written; it may become information."""
        cause = _cause(record)
        warned = self._warned.get(cause)
        if warned is not None and now < warned.until:
            if getattr(record, "workflow_id", ""):
                record.levelno, record.levelname = logging.INFO, "INFO"
                return True
            warned.repeats += 1
            return False
        if warned is not None and warned.repeats:
            record.repeated = warned.repeats
        self._warned[cause] = _Warned(now + WINDOW)
        self._warned.move_to_end(cause)
        if len(self._warned) > CAUSES:
            self._warned.popitem(last=False)
        return True


def _cause(record: logging.LogRecord) -> object:
    said = [
        (key, str(value))
        for key, value in record.__dict__.items()
        if key not in _STANDARD and key not in _ABOUT_ONE and not isinstance(value, (int, float))
    ]
    problem = record.exc_info[1] if record.exc_info else None
    return record.name, record.levelno, record.msg, tuple(sorted(said)), repr(problem)


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__)


def _record(like: logging.LogRecord, message: str, number: int) -> logging.LogRecord:
    made = logging.LogRecord(like.name, logging.WARNING, like.pathname, like.lineno, message, (), None)
    made.left_out = number
    return made
