"""What a client does when the system is too busy for a request: it waits, says so, and asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gleitzeitd.errors import ErrorInfo, LimitExceeded
from gleitzeitd.events import Event
from gleitzeitd.events.dependency_resolver import WorkflowRefused
from gleitzeitd.runtime.clock import monotonic

PATIENCE_SECONDS = 60.0
FIRST_WAIT = 0.5
LONGEST_WAIT = 10.0


class Patience:
    """Of one client. A request that was refused with "later" had no effect, so that it can be repeated."""

    def __init__(
        self, on_waiting: Callable[[str], None] | None = None, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """``seconds`` is for how long a request is repeated; ``on_waiting`` is told why it takes long."""
        self._on_waiting = on_waiting
        self._seconds = seconds

    async def through(self, ask: Callable[[], Awaitable[Event]]) -> Event:
        """The first answer that is not "later", or the last one.

        Raises:
            GleitzeitError: what ``ask`` raises, if it is not "later", or if that was the last.
        """
        begun, wait = monotonic(), FIRST_WAIT
        while True:
            try:
                answer = await ask()
                busy = answer.error if isinstance(answer, WorkflowRefused) else None
                problem = None
            except LimitExceeded as refused:
                busy, problem = refused.info(), refused
            seconds = min(max(wait, (busy and busy.retry_after) or 0.0), LONGEST_WAIT)
            if busy is None or not _is_later(busy) or monotonic() + seconds - begun > self._seconds:
                if problem is not None:
                    raise problem
                return answer
            if self._on_waiting is not None:
                self._on_waiting(f"{busy.message}; this is repeated for {self._seconds:g} s")
            await asyncio.sleep(seconds)
            wait *= 2


def _is_later(error: ErrorInfo) -> bool:
    return error.retryable and error.code == LimitExceeded.code
