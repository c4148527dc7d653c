"""The two clocks. Decisions use the first; the second is shown to people, and compared only with what people
have written: when a token expires.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


def monotonic() -> float:
    """Seconds since an arbitrary instant; never goes back."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970; may go back."""
    return time.time()


def utc_now() -> str:
    """The wall clock as ISO 8601 with milliseconds: ``2026-01-01T00:00:00.000Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def earlier(at: str, seconds: float) -> str:
    """``seconds`` before ``at``, which :func:`utc_now` has given; empty if no calendar goes back so far."""
    try:
        before = datetime.fromisoformat(at) - timedelta(seconds=seconds)
    except OverflowError:
        return ""
    return before.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
