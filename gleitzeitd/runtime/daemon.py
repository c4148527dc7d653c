"""A process of one role under systemd: signals, readiness, the watchdog, reload.

SIGTERM and SIGINT begin an orderly end, a second one ends the process at once. SIGHUP reads the
configuration again: the log level is applied, and of all else it is said what needs a restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Protocol

from gleitzeitd import __version__
from gleitzeitd.machines.hub import Settings as HubSettings
from gleitzeitd.runtime import health
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.embedded import Embedded
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.systemd import Notifier, report
from gleitzeitd.runtime.tasks import Tasks

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long a start that is given up may take to undo itself."""


class Daemon(Protocol):
    """What a process can run."""

    async def run(self) -> None:
        """Until ``stop``; raises whatever ends it earlier."""

    def stop(self) -> None:
        """Begin an orderly end."""

    def is_ready(self) -> bool:
        """Whether dependents can start."""

    def is_healthy(self) -> bool:
        """Whether the watchdog may be fed."""

    def status_line(self) -> str:
        """For ``systemctl status``."""


class ComponentDaemon:
    """One component; it is ready with its first registration."""

    def __init__(self, component: Component) -> None:
        self._component = component

    async def run(self) -> None:
        await self._component.run()

    def stop(self) -> None:
        self._component.stop()

    def is_ready(self) -> bool:
        return self._component.link.is_registered()

    def is_healthy(self) -> bool:
        return self._component.is_healthy()

    def status_line(self) -> str:
        return self._component.status_line()


class HubDaemon:
    """A hub; it is ready when it listens."""

    def __init__(self, settings: HubSettings, token: str | None) -> None:
        self._server = HubServer(settings, token=token, version=__version__, sample=health.sample)
        self._stopping = asyncio.Event()
        self._listens = False

    async def run(self) -> None:
        await self._server.start()
        self._listens = True
        await _until(self._stopping, self._server.tasks)
        await self._server.stop("the hub is stopping")

    def stop(self) -> None:
        self._stopping.set()

    def is_ready(self) -> bool:
        return self._listens

    def is_healthy(self) -> bool:
        return True  # a hub that cannot go on ends; that the event loop runs is shown by asking

    def status_line(self) -> str:
        return self._server.hub.status_line() if self._listens else "starting"


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


async def supervise(
    daemon: Daemon,
    notifier: Notifier,
    on_reload: Callable[[], None],
    exit_now: Callable[[int], object] = os._exit,
) -> None:
    """Run ``daemon`` to its end, and tell systemd about it.

    Raises:
        Exception: what has ended the daemon, if it was not told to end.
    """
    loop = asyncio.get_running_loop()
    told = 0

    def end() -> None:
        nonlocal told
        told += 1
        if told > 1:
            log.warning("told to end a second time: ending at once")
            exit_now(1)
        else:
            notifier.send("STOPPING=1")
            log.info("ending")
            daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    tasks = Tasks()
    work = report(notifier, ready=daemon.is_ready, status=daemon.status_line, healthy=daemon.is_healthy)
    try:
        tasks.spawn(work, name="systemd")
        await daemon.run()
    finally:
        await tasks.cancel()
        notifier.close()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _until(stopping: asyncio.Event, tasks: Tasks) -> None:
    mine = Tasks()
    waiting = mine.spawn(stopping.wait(), name="end")
    failing = mine.spawn(tasks.failure(), name="failures")
    try:
        await asyncio.wait({waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            raise failing.result()
    finally:
        await mine.cancel()
