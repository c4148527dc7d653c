"""Places at which a daemon can be struck, and what strikes it: ``point=action@n``, several with ``;`` between.

    before_commit=kill@3; after_send:task_completed=stop; during_claim=delay:0.5@2

A failpoint strikes once, at its n-th hit (the first, if nothing is said), and says so on standard error
before it does. ``@FILE`` instead of failpoints means those in the file, which is read again, with all counts
at zero, whenever another one has been put into its place.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gleitzeitd.events import CATALOGUE, RENAMED
from gleitzeitd.plain import did_you_mean

VARIABLE = "GLEITZEIT_FAILPOINTS"

POINTS = {
    "before_send": "a packet with this event is about to be written",
    "after_send": "a packet with this event has been written",
    "before_commit": "changes are there; the transaction has not begun",
    "in_commit": "the changes are written; the transaction is open",
    "after_commit": "the transaction is on the disk; nobody has been answered",
    "before_execute": "a provider has the call and has not begun",
    "before_outbox": "an engine knows how an attempt has ended, and has not asked the ledger to keep it",
    "during_claim": "shards are claimed (the ledger), or given (the follower), and nothing has followed",
    "during_snapshot": "a page of a snapshot is read and not yet sent (the ledger), or not yet taken over",
    "during_drain": "the daemon was told to end, and has begun to",
    "during_connect": "a connection is there, and nothing has been said on it",
}
EVENTS = {*CATALOGUE, *RENAMED}
"""As they are sent; a hub sends some on under another name."""
OF_EVENTS = ("before_send", "after_send")
ROLLED_BACK = ("before_commit", "in_commit")
"""Where a transaction can still fail for want of space."""
ACTIONS = ("kill", "stop", "raise", "disk_full", "delay")

_SHAPE = re.compile(
    r"(?P<point>\w+)(:(?P<event>\w+))?=(?P<action>\w+)(:(?P<seconds>[\w.+-]+))?(@(?P<hit>\w+))?"
)


class BadFailpoint(Exception):
    """What was asked for cannot be; the message says why."""


class Struck(Exception):
    """What ``raise`` raises where nothing else is to be expected: a bug."""


@dataclass(frozen=True, slots=True)
class Failpoint:
    """Where, what, and at which hit."""

    point: str
    event: str
    """Of a packet; else empty."""
    action: str
    seconds: float = 0.0
    """Of a delay."""
    hit: int = 1

    def __str__(self) -> str:
        where = f"{self.point}:{self.event}" if self.event else self.point
        what = f"{self.action}:{self.seconds:g}" if self.action == "delay" else self.action
        return f"{where}={what}@{self.hit}"


def parse(text: str) -> list[Failpoint]:
    """The failpoints in ``text``.

    Raises:
        BadFailpoint: one of them is none.
    """
    return [_one(part.strip()) for part in text.split(";") if part.strip()]


def _one(text: str) -> Failpoint:
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise BadFailpoint(f"{text!r}: expected point=action@n, such as before_commit=kill@3")
    point, event, action = found["point"], found["event"] or "", found["action"]
    if point not in POINTS:
        raise BadFailpoint(f"{text!r}: there is no point {point!r}{_nearest(point, POINTS)}")
    if action not in ACTIONS:
        raise BadFailpoint(f"{text!r}: there is no action {action!r}{_nearest(action, ACTIONS)}")
    if bool(event) != (point in OF_EVENTS):
        of = "an event, such as before_send:task_completed" if point in OF_EVENTS else "no event"
        raise BadFailpoint(f"{text!r}: {point} has {of}")
    if event and event not in EVENTS:
        raise BadFailpoint(f"{text!r}: there is no event {event!r}{did_you_mean(event, EVENTS)}")
    if action == "disk_full" and point not in ROLLED_BACK:
        raise BadFailpoint(f"{text!r}: disk_full is for {' and '.join(ROLLED_BACK)}")
    return Failpoint(point, event, action, _seconds(text, action, found["seconds"]), _hit(text, found["hit"]))


def _nearest(name: str, known: Mapping[str, str] | tuple[str, ...]) -> str:
    return did_you_mean(name, known) or f", expected one of {', '.join(known)}"


def _seconds(text: str, action: str, given: str | None) -> float:
    if (given is not None) != (action == "delay"):
        raise BadFailpoint(
            f"{text!r}: expected delay:SECONDS" if given is None else f"{text!r}: only delay has seconds"
        )
    try:
        seconds = float(given or 0.0)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 3600.0:
        raise BadFailpoint(f"{text!r}: expected 0 to 3600 seconds, found {given!r}")
    return seconds


def _hit(text: str, given: str | None) -> int:
    if given is None:
        return 1
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise BadFailpoint(f"{text!r}: expected the number of a hit, from 1 on, found {given!r}")
    return int(given)


class Failpoints:
    """Those of this process. Commits hit in a thread of their own."""

    def __init__(self, text: str) -> None:
        """Raises BadFailpoint."""
        self._file = Path(text[1:]) if text.startswith("@") else None
        self._stamp: object = None
        self._counts: dict[Failpoint, int] = {}
        self._lock = threading.Lock()
        if self._file is None:
            self._arm(text)
        else:
            self._look()

    def hit(self, point: str, event: str = "", problem: Exception | None = None) -> None:
        """The point is reached; ``problem`` is what ``raise`` raises here."""
        for failpoint in self._due(point, event):
            if failpoint.action == "delay":
                time.sleep(failpoint.seconds)
            else:
                _strike(failpoint, problem)

    async def reached(self, point: str, event: str = "", problem: Exception | None = None) -> None:
        """As ``hit``, where a delay need not hold up everything else."""
        for failpoint in self._due(point, event):
            if failpoint.action == "delay":
                await asyncio.sleep(failpoint.seconds)
            else:
                _strike(failpoint, problem)

    def _due(self, point: str, event: str) -> list[Failpoint]:
        with self._lock:
            if self._file is not None:
                try:
                    self._look()
                except BadFailpoint as problem:  # nothing of the product may take it for a fault
                    os.write(2, f"{VARIABLE}: {problem}\n".encode())
                    os._exit(2)
            due = []
            for failpoint, count in self._counts.items():
                if (failpoint.point, failpoint.event) == (point, event):
                    self._counts[failpoint] = count + 1
                    if count + 1 == failpoint.hit:
                        due.append(failpoint)
        for failpoint in due:
            os.write(2, f"failpoint {failpoint}\n".encode())
        return due

    def _look(self) -> None:
        assert self._file is not None
        try:
            seen = self._file.stat()
        except FileNotFoundError:
            raise BadFailpoint(f"{self._file}: there is no such file") from None
        if self._stamp != (seen.st_ino, seen.st_mtime_ns):
            self._stamp = seen.st_ino, seen.st_mtime_ns
            self._arm(self._file.read_text())

    def _arm(self, text: str) -> None:
        self._counts = dict.fromkeys(parse(text), 0)


def _strike(failpoint: Failpoint, problem: Exception | None) -> None:
    match failpoint.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            _wait_for_the_end()
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "disk_full":
            raise sqlite3.OperationalError("database or disk is full")
        case "raise":
            raise problem or Struck(str(failpoint))
        case _:
            raise AssertionError(failpoint)


def _wait_for_the_end() -> NoReturn:
    while True:
        time.sleep(1.0)
