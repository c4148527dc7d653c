"""A process that is the whole system."""

from __future__ import annotations

import asyncio
from typing import Any

from gleitzeitd.runtime.daemon import STOP_SECONDS
from gleitzeitd.runtime.embedded import Embedded
from gleitzeitd.runtime.tasks import Tasks


class EmbeddedDaemon:
    """The whole system; it is ready when it can take a workflow."""

    def __init__(self, system: Embedded) -> None:
        self._system = system
        self._stopping = asyncio.Event()
        self._started = False

    async def run(self) -> None:
        tasks = Tasks()
        stopping = tasks.spawn(self._stopping.wait(), name="end")
        try:
            if not await self._start(tasks, stopping):
                return
            failing = tasks.spawn(self._system.failure(), name="failures")
            await asyncio.wait({failing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                raise failing.result()
        finally:
            await tasks.cancel(within=STOP_SECONDS)
            await self._system.stop()

    async def _start(self, tasks: Tasks, stopping: asyncio.Task[bool]) -> bool:
        """False if it was told to end meanwhile."""
        starting = tasks.spawn(self._system.start(), name="start")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return False
        if problem := starting.result():
            raise problem
        self._started = True
        return True

    def stop(self) -> None:
        self._stopping.set()

    def is_ready(self) -> bool:
        return self._started

    def is_healthy(self) -> bool:
        return True  # each of its parts ends the whole when it fails

    def status_line(self) -> str:
        return self._system.status_line() if self._started else "starting"

    def stop_seconds(self) -> float:
        return 2 * STOP_SECONDS

    def read_certificates(self) -> None:
        self._system.read_certificates()

    def adjust(self, key: str, value: Any) -> None:
        raise AssertionError("the parts of the whole are not adjusted")
