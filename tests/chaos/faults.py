"""What goes wrong, and when: drawn from one source of chance before anything begins.

A process has one fault at a time, and so has a link; processes and links have theirs independently, so that
any number of them can be in trouble at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

KILL, PAUSE, RESTART, CUT, CLOSE = "kill", "pause", "restart", "cut", "close"
WEIGHTS = {KILL: 40, PAUSE: 22, RESTART: 8, CUT: 22, CLOSE: 8}
DOWN = (0.01, 5.0)
"""Seconds that a killed process stays away, least and most; the same for the others."""
PAUSED = (0.3, 12.0)
CUT_OFF = (0.2, 12.0)
AGAIN = 1.0
"""Seconds between the end of a fault and the next one at the same place."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    at: float
    """Seconds since the beginning."""
    kind: str
    target: str
    """A daemon; for CUT and CLOSE the component's end of the link."""
    hub: str = ""
    """The link's other end."""
    seconds: float = 0.0
    how: str = ""
    """For CUT: ``hold`` or ``swallow``."""
    lanes: tuple[str, ...] = ()
    """For CUT: ``to hub``, ``to component`` or both."""

    def __str__(self) -> str:
        place = f"{self.target} <-> {self.hub}" if self.hub else self.target
        how = f" ({self.how} {' and '.join(self.lanes)})" if self.how else ""
        lasting = f" for {self.seconds:.2f} s" if self.seconds else ""
        return f"{self.at:7.2f} s  {self.kind} {place}{lasting}{how}"


def drawn(
    seed: int, seconds: float, per_minute: float, daemons: Sequence[str], links: Sequence[tuple[str, str]]
) -> Iterator[Fault]:
    """All faults of a run, in order of time."""
    chance = random.Random(f"faults {seed}")
    free_at: dict[tuple[str, str], float] = {}
    at = 0.0
    while True:
        at += chance.expovariate(per_minute / 60)
        if at >= seconds:
            return
        kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        places = list(links) if kind in (CUT, CLOSE) else [(name, "") for name in daemons]
        places = [place for place in places if free_at.get(place, 0.0) <= at]
        if not places:
            continue
        place = chance.choice(places)
        length, how = _length(chance, kind), ""
        lanes: tuple[str, ...] = ()
        if kind == CUT:
            how = chance.choice(["hold", "swallow"])
            lanes = chance.choice([("to hub",), ("to component",), ("to hub", "to component")])
        free_at[place] = at + length + AGAIN + (3.0 if kind == RESTART else 0.0)
        yield Fault(at, kind, place[0], place[1], length, how, lanes)


def _length(chance: random.Random, kind: str) -> float:
    """Short ones are as frequent as long ones: evenly drawn on a logarithmic scale."""
    if kind == CLOSE:
        return 0.0
    least, most = {KILL: DOWN, RESTART: DOWN, PAUSE: PAUSED, CUT: CUT_OFF}[kind]
    return math.exp(chance.uniform(math.log(least), math.log(most)))
