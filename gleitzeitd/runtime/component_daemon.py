"""A process that is one component."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gleitzeitd.errors import ConfigError
from gleitzeitd.events.audit import ConfigurationReloaded
from gleitzeitd.machines.base import Tell
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.daemon import STOP_SECONDS
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tls import Trust

LOOKING_SECONDS = 1.0
"""After so long without a hub a component is ready nevertheless: it does all it can, and says so in its
status. Whoever starts it, as ``apt install`` on a host whose hub is not named yet, does not wait in vain."""
TOKEN_SECONDS = 5.0
"""Between two looks whether there is another token by now, while no hub accepts us."""


class ComponentDaemon:
    """One component; it is ready with its first registration, or when it has looked for a hub for a while."""

    def __init__(
        self,
        component: Component,
        machine: Any,
        trust: Trust | None = None,
        *,
        drain_seconds: float,
        find_token: Callable[[], str | None],
    ) -> None:
        """``find_token`` is asked again while no hub accepts us; it may raise ConfigError."""
        self._component = component
        self._machine = machine
        self._trust = trust
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

    def read_certificates(self) -> None:
        if self._trust is not None:
            self._trust.read_again()

    def adjust(self, key: str, value: Any) -> None:
        self._machine.settings = replace(self._machine.settings, **{key: value})
        self._component.perform([Tell(ConfigurationReloaded(keys=[key]))])

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
