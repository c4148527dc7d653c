"""One line per step, with the seconds that it took: who waits wants to know what for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

POLL_SECONDS = 0.2
"""Between two looks; each is a process on a host that is to do something else meanwhile."""

Found = TypeVar("Found")


class TooLate(AssertionError):
    """What was waited for did not come about in time."""


def say(text: str, seconds: float | None = None) -> None:
    """To standard error, which pytest keeps to itself unless it is told not to."""
    took = " " * 8 if seconds is None else f"{seconds:7.2f}s"
    print(f"{took} {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say, at its end, how long the step took."""
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{text}: FAILED", time.monotonic() - begun)
        raise
    say(text, time.monotonic() - begun)


def wait_until(
    what: str, look: Callable[[], Found], within: float, evidence: Callable[[], str] = lambda: ""
) -> Found:
    """What ``look`` has found, as soon as it finds anything.

    Raises:
        TooLate: nothing after ``within`` seconds; with what was awaited, and the evidence.
    """
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            seen = evidence()
            raise TooLate(f"not within {within:g} s: {what}" + (f"\n{seen}" if seen else ""))
        time.sleep(POLL_SECONDS)
