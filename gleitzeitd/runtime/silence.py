"""Ends work that shows no sign of life for too long: neither output nor progress."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from gleitzeitd.errors import TaskError, TaskTimeout

T = TypeVar("T")
P = ParamSpec("P")


class Silence:
    """The limit of one call, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._look: asyncio.TimerHandle | None = None

    def breaking(self, callback: Callable[P, None]) -> Callable[P, None]:
        """The callback; that it is called is a sign of life."""

        def heard(*args: P.args, **named: P.kwargs) -> None:
            self._heard = self._loop.time()
            callback(*args, **named)

        return heard

    async def limit(self, work: Awaitable[T]) -> T:
        """What comes of the work, which is cancelled when it has been silent for too long.

        Raises:
            TaskTimeout: it was; nothing of it is alive.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._heard = self._loop.time()
                self._listen(scope)
                return await work
        except (TimeoutError, TaskError):
            if not scope.expired():
                raise
            raise TaskTimeout(
                f"neither output nor progress for {self._seconds:g} s; it was stopped"
            ) from None
        finally:
            if self._look is not None:
                self._look.cancel()

    def _listen(self, scope: asyncio.Timeout) -> None:
        # A sign of life only notes the time: it may come many times a millisecond.
        left = self._heard + self._seconds - self._loop.time()
        if left > 0:
            self._look = self._loop.call_later(left, self._listen, scope)
        else:
            scope.reschedule(self._loop.time())
