"""Background tasks that are never lost: each is referenced, named, and its failure is seen.

The event loop keeps only a weak reference to a task, and an exception in a task that nobody awaits
is reported when the task is collected, if ever. Whoever needs a task spawns it in a ``Tasks`` group,
and somewhere awaits ``failure()``: a component whose task has failed ends, and systemd restarts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Tasks:
    """The background tasks of one object."""

    def __init__(self, on_failure: Callable[[str, Exception], None] | None = None) -> None:
        """``on_failure`` gets the name and the exception of every task that fails, after it was logged."""
        self._running: set[asyncio.Task[Any]] = set()
        self._failed = asyncio.Event()
        self._first: Exception | None = None
        self._on_failure = on_failure

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run ``work`` until it ends or the group is cancelled. Call only with a running loop."""
        task = asyncio.create_task(self._guarded(work, name), name=name)  # noqa: TID251 -- the one place
        self._running.add(task)
        task.add_done_callback(lambda ended: self._done(ended, work))
        return task

    async def failure(self) -> Exception:
        """Wait for the first failure of any task, and return it; for ever, if none fails."""
        await self._failed.wait()
        assert self._first is not None
        return self._first

    async def cancel(self, *, within: float = 5.0) -> None:
        """Cancel all tasks and wait for their ends, at most ``within`` seconds; who is late is logged."""
        mine = [task for task in self._running if task is not asyncio.current_task()]
        for task in mine:
            task.cancel()
        if not mine:
            return
        _, late = await asyncio.wait(mine, timeout=within)
        for task in late:
            log.error("a task does not end", extra={"task_name": task.get_name(), "seconds": within})

    def call(self, work: Callable[..., object], *args: object, name: str) -> None:
        """Call ``work``, a callback of the loop, under the rules of a task: a failure ends the component."""
        try:
            work(*args)
        except Exception as problem:  # noqa: BLE001 -- the boundary, as in _guarded
            self._report(name, problem)

    def _report(self, name: str, problem: Exception) -> None:
        log.error("a task failed", extra={"task_name": name}, exc_info=problem)
        if self._first is None:
            self._first = problem
        self._failed.set()
        if self._on_failure is not None:
            self._on_failure(name, problem)

    async def _guarded(self, work: Coroutine[Any, Any, T], name: str) -> T:
        try:
            return await work
        except Exception as problem:
            self._report(name, problem)
            raise

    def _done(self, task: asyncio.Task[Any], work: Coroutine[Any, Any, Any]) -> None:
        self._running.discard(task)
        work.close()  # a task that was cancelled before it began has not awaited it
        if not task.cancelled():
            task.exception()  # seen: it was logged above


def contained(work: Callable[..., object], *args: object, name: str) -> Exception | None:
    """Call ``work``; its failure is logged and returned.

    For what one peer has sent: an event that nobody foresaw may cost that peer its connection, but a
    peer that repeats it must not keep everybody else out.
    """
    try:
        work(*args)
    except Exception as problem:  # the boundary, see above
        log.error("what a peer sent could not be handled", extra={"task_name": name}, exc_info=problem)
        return problem
    return None
