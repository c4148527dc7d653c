"""How far two clocks are apart, as far as a question and its answer can tell."""

from __future__ import annotations

from datetime import UTC, datetime


def clock_offset(stamp: str, asked: str, answered: str) -> float | None:
    """Seconds by which the clock of whoever answered is ahead of ours; None if a time is none.

    ``stamp`` is the answer's time by its sender's clock, which was taken somewhere between ``asked`` and
    ``answered`` by ours. What this uncertainty can account for is taken off: 0 is "no difference seen".
    """
    theirs, first, last = _instant(stamp), _instant(asked), _instant(answered)
    if theirs is None or first is None or last is None:
        return None
    if theirs > last:
        return round(theirs - last, 3)
    return round(min(0.0, theirs - first), 3)


def _instant(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
