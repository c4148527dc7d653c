"""When the ledger is told that attempts have started: at once, or a little later where many start.

After a start that is told at once, those that follow are held back for a moment, and those whose end
overtakes them are never told: the end implies the start. So an idle system hears of every start at once,
and a busy one is spared a transition of most of its short tasks. What may not run twice is no matter of
this: its start is told before anything is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gleitzeitd.model.ledger import Attempt

HELD_SECONDS = 0.1
"""A start is held for this long at least, and for twice as long at most."""


@dataclass(slots=True)
class Starts:
    """The starts of one engine. Its owner calls ``due`` every HELD_SECONDS until it is ``idle``."""

    idle: bool = True
    """Whether the next start is told at once."""
    _older: dict[Attempt, None] = field(default_factory=dict)
    _newer: dict[Attempt, None] = field(default_factory=dict)

    def is_held(self, attempt: Attempt) -> bool:
        """Take the start of an attempt; False if it is to be told now."""
        if self.idle:
            self.idle = False
            return False
        self._newer[attempt] = None
        return True

    def due(self) -> list[Attempt]:
        """The attempts whose starts have been held for long enough; some may have ended."""
        due, self._older, self._newer = list(self._older), self._newer, {}
        self.idle = not due and not self._older
        return due
