"""A process of one role under systemd: signals, readiness, the watchdog, reload.

SIGTERM and SIGINT begin an orderly end, a second one ends the process at once. SIGHUP reads the
configuration again: what can be changed while running is applied, and of all else it is said that it needs
a restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from gleitzeitd import __version__
from gleitzeitd.errors import ConfigError, GleitzeitError
from gleitzeitd.machines.base import counted
from gleitzeitd.machines.hub import Settings as HubSettings
from gleitzeitd.runtime import health
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.embedded import Embedded
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.hub_http import NEEDED
from gleitzeitd.runtime.systemd import Notifier, report
from gleitzeitd.runtime.tasks import Tasks

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long a start that is given up may take to undo itself."""
LOOKING_SECONDS = 3.0
"""After so long without a hub a component is ready nevertheless: it does all it can, and says so in its
status. Whoever starts it, as ``apt install`` on a host whose hub is not named yet, does not wait in vain."""
TOKEN_SECONDS = 5.0
"""Between two looks whether there is another token by now, while no hub accepts us."""


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

    def stop_seconds(self) -> float:
        """How long an orderly end may take."""

    def adjust(self, key: str, value: Any) -> None:
        """Give a setting of the machine another value, from now on."""


class ComponentDaemon:
    """One component; it is ready with its first registration, or when it has looked for a hub for a while."""

    def __init__(
        self,
        component: Component,
        machine: Any,
        *,
        drain_seconds: float,
        find_token: Callable[[], str | None],
    ) -> None:
        """``find_token`` is asked again while no hub accepts us; it may raise ConfigError."""
        self._component = component
        self._machine = machine
        self._drain_seconds = drain_seconds
        self._find_token = find_token

    async def run(self) -> None:
        tasks = Tasks()
        tasks.spawn(self._mind_token(), name="token")
        try:
            await self._component.run()
        finally:
            await tasks.cancel()

    def stop(self) -> None:
        self._component.stop()

    def stop_seconds(self) -> float:
        return self._drain_seconds + STOP_SECONDS

    def adjust(self, key: str, value: Any) -> None:
        self._machine.settings = replace(self._machine.settings, **{key: value})

    def is_ready(self) -> bool:
        return self._component.link.is_registered() or self._component.looking_seconds() > LOOKING_SECONDS

    async def _mind_token(self) -> None:
        # systemd's credential is that of the start. A file may have been made since.
        while True:
            await asyncio.sleep(TOKEN_SECONDS)
            if not self._component.link.is_registered():
                with suppress(ConfigError):
                    if (token := self._find_token()) is not None:
                        self._component.show_token(token)

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

    def stop_seconds(self) -> float:
        return STOP_SECONDS

    def adjust(self, key: str, value: Any) -> None:
        self._server.hub.settings = replace(self._server.hub.settings, **{key: value})

    def status_line(self) -> str:
        return hub_status(self._server) if self._listens else "starting"


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

    def adjust(self, key: str, value: Any) -> None:
        raise AssertionError("the parts of the whole are not adjusted")


def hub_status(server: HubServer) -> str:
    """The whole system in one line, as its hub sees it: figures are as old as a heartbeat, 10 s at most."""
    members = server.hub.members
    hosts = len({each.hostname for each in members if each.hostname})
    figures = [each.metrics for each in members]

    def total(key: str) -> int:
        return sum(value for each in figures if type(value := each.get(key)) is int)

    connected = members.by_role()
    parts = [
        f"{counted(len(members), 'components')} on {counted(hosts, 'hosts')}",
        f"{counted(total('workflows'), 'workflows')}, {total('waiting')} queued, "
        f"{total('blocked_workflows')} blocked",
        f"listening on {', '.join(server.addresses)}",
    ]
    if missing := [role.file_name for role in NEEDED if not connected[role]]:
        parts.insert(0, f"no {', no '.join(missing)}")
    return "; ".join(parts)


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
            notifier.stopping(daemon.stop_seconds())
            log.info("ending")
            daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    tasks = Tasks()
    work = report(notifier, ready=daemon.is_ready, status=daemon.status_line, healthy=daemon.is_healthy)
    ended_by: Exception | None = None
    try:
        tasks.spawn(work, name="systemd")
        await daemon.run()
    except (GleitzeitError, OSError) as problem:
        ended_by = problem
        raise
    finally:
        await tasks.cancel()
        if ended_by is not None:
            notifier.failed(str(ended_by))
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
