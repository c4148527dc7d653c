"""A process that is a hub."""

from __future__ import annotations

import asyncio
from typing import Any

from gleitzeitd import __version__
from gleitzeitd.machines.base import counted
from gleitzeitd.machines.hub_settings import Settings as HubSettings
from gleitzeitd.runtime import health
from gleitzeitd.runtime.daemon import STOP_SECONDS
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.hub_http import NEEDED
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tls import Credentials


class HubDaemon:
    """A hub; it is ready when it listens."""

    def __init__(self, settings: HubSettings, gate: Gate, credentials: Credentials | None = None) -> None:
        """With ``credentials`` it speaks TLS."""
        self._credentials = credentials
        self._server = HubServer(
            settings, gate=gate, version=__version__, sample=health.sample, credentials=credentials
        )
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

    def read_certificates(self) -> None:
        if self._credentials is not None:
            self._credentials.read_again()

    def adjust(self, key: str, value: Any) -> None:
        self._server.hub.adjust(key, value)

    def status_line(self) -> str:
        return hub_status(self._server) if self._listens else "starting"


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
        f"listening on {', '.join(server.addresses)}{' with TLS' if server.credentials else ''}",
    ]
    if missing := [role.file_name for role in NEEDED if not connected[role]]:
        parts.insert(0, f"no {', no '.join(missing)}")
    if server.hub.insecure:
        parts.insert(0, "INSECURE, asks for no token")
    return "; ".join(parts)


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
