"""The whole system in one process: a hub, every role, and the built-in providers.

They speak with each other over real sockets on loopback, as they would on many hosts. What is in the
database when it starts goes on; what is not finished when it stops goes on the next time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from gleitzeitd import __version__
from gleitzeitd.errors import GleitzeitError, HubUnreachable
from gleitzeitd.machines.hub_settings import Settings as HubSettings
from gleitzeitd.model.access import full_grant
from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import SHARDS, Role
from gleitzeitd.runtime import assembly, health
from gleitzeitd.runtime.clock import monotonic
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.connection import LinkSettings
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.identity import make_identity
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tls import Credentials
from gleitzeitd.runtime.tokens import KeyRing

log = logging.getLogger(__name__)

READY_SECONDS = 30.0
"""How long it may take until the system can take a workflow."""
LOOK = 0.01
"""Seconds between two looks whether it can."""
_SHARDED = (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component of the system."""

    role: Role
    label: str
    """Its name here, and the first part of its component_id: ``provider-python``."""
    assembly: assembly.Assembly
    sections: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the defaults."""


def default_parts(
    database: Path | str,
    *,
    works: bool = True,
    secrets_file: str = "",
    limits: WorkflowLimits = LIMITS,
) -> list[Part]:
    """One component of every role, in the order in which they start; the built-in providers if it works.

    Without engine and providers nothing runs: what is in the database can be looked at, and stays as it is.
    """
    from gleitzeitd.machines.execution_engine import Settings as EngineSettings
    from gleitzeitd.providers import usable
    from gleitzeitd.providers.secrets import SecretSettings
    from gleitzeitd.stores.sqlite import Settings as StoreSettings

    store = StoreSettings(path=str(database))
    parts = [
        Part(
            role=Role.PERSISTENCE,
            label="persistence",
            assembly=assembly.persistence(),
            sections={"sqlite": store},
        ),
        Part(role=Role.PROTOCOL_REGISTRY, label="protocol-registry", assembly=assembly.protocol_registry()),
        Part(
            role=Role.DEPENDENCY_RESOLVER,
            label="dependency-resolver",
            assembly=assembly.dependency_resolver(),
            sections={"workflow_limits": limits},
        ),
        Part(role=Role.QUEUE_MANAGER, label="queue-manager", assembly=assembly.queue_manager()),
    ]
    if works:
        parts += [_provider(name, {"secrets": SecretSettings(file=secrets_file)}) for name in usable()]
        # Who ends this process wants it to end: what runs is handed back at once, and runs the next time.
        engine = EngineSettings(hand_back_seconds=0.0)
        parts.append(
            Part(
                role=Role.EXECUTION_ENGINE,
                label="execution-engine",
                assembly=assembly.execution_engine(),
                sections={"execution_engine": engine},
            )
        )
    return parts


def _provider(name: str, sections: Mapping[str, Any]) -> Part:
    """A built-in one. Those whose work can be isolated do not isolate it: it is that of the user who has
    started this process, and would run it without us, too.
    """
    from gleitzeitd.providers.isolation import Isolation

    made = assembly.provider(name)
    settings = made.sections["provider"]
    if hasattr(settings, "isolation"):
        sections = {**sections, "provider": settings(isolation=Isolation.OFF)}
    return Part(role=Role.PROVIDER, label=f"provider-{name}", assembly=made, sections=sections)


class Embedded:
    """An asynchronous context manager: inside it, workflows can be submitted to ``hub_url``."""

    def __init__(
        self,
        *,
        database: Path | str = "",
        hub: HubSettings | None = None,
        gate: Gate | None = None,
        works: bool = True,
        parts: Sequence[Part] | None = None,
        link: LinkSettings | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """Without ``hub`` it listens on a free port of 127.0.0.1. Without ``gate`` its keys are new, and are
        nowhere but in memory.

        ``parts`` stands for those that ``database`` and ``works`` would give. With ``credentials`` the hub
        speaks TLS to whoever is not of this process.
        """
        self._credentials = credentials
        gate = gate or Gate.by_keys(KeyRing.make())
        self.token = gate.own_token(full_grant("this process"))
        """With which one may do everything here; None: it takes none."""
        self.hub_url = ""
        self._parts = list(parts) if parts is not None else default_parts(database, works=works)
        self._link = link or LinkSettings(shutdown_seconds=5.0)
        self._server = HubServer(
            hub or HubSettings(port=0),
            gate=gate,
            version=__version__,
            sample=health.sample,
            credentials=credentials,
            is_embedded=True,
        )
        self._tasks = Tasks()
        self._running: list[tuple[Component, asyncio.Task[GleitzeitError | None]]] = []

    async def __aenter__(self) -> Embedded:
        """Start, and wait until a workflow can be submitted.

        Raises:
            StoreLocked, StoreCorrupt: the database cannot be used.
            ConfigError, OSError: the hub cannot listen, or a provider cannot work here.
            HubUnreachable: it takes too long.
        """
        if problem := await self.start():
            raise problem
        return self

    async def start(self) -> GleitzeitError | OSError | None:
        """As ``async with``; but what an operator has to see to is returned, and all is stopped then."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._start_all()
        except TimeoutError:
            missing = ", ".join(self._missing())
            await self.stop()
            return HubUnreachable(f"not ready after {READY_SECONDS:g} s: waiting for {missing}")
        except (GleitzeitError, OSError) as problem:
            await self.stop()
            return problem
        except BaseException:
            await self.stop()
            raise
        return None

    async def _start_all(self) -> None:
        await self._server.start()
        # What goes from one part to another does not leave the process's host, and takes no TLS.
        host = "127.0.0.1" if self._credentials is not None else self._server.settings.host
        host = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - not bound here
        self.hub_url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.inner_port}"
        for part in self._parts:
            self._start(part)
        while not self.is_ready():
            ended = [task for _, task in self._running if task.done()]
            if ended:
                raise _why(ended[0])
            await asyncio.sleep(LOOK)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; the engine first, the hub last."""
        await self.stop()

    @property
    def hub_port(self) -> int:
        """Where others connect."""
        return self._server.port

    def read_certificates(self) -> None:
        """Look at the hub's again."""
        if self._credentials is not None:
            self._credentials.read_again()

    def is_ready(self) -> bool:
        """Whether everybody is there, and every shard has its owners."""
        return not self._missing()

    def status_line(self) -> str:
        """For ``systemctl status``."""
        missing = self._missing()
        return f"waiting for {', '.join(missing)}" if missing else self._server.hub.status_line()

    async def failure(self) -> BaseException:
        """Wait until one of the components, or the hub, has ended by itself; why."""
        watching: set[asyncio.Task[Any]] = {task for _, task in self._running}
        hub = self._tasks.spawn(self._server.tasks.failure(), name="hub: failures")
        done, _ = await asyncio.wait(watching | {hub}, return_when=asyncio.FIRST_COMPLETED)
        return hub.result() if hub in done else _why(done.pop())

    async def stop(self) -> None:
        """End everything, in the reverse order of the start, whatever has failed. Can be repeated."""
        running, self._running = self._running, []
        for component, task in reversed(running):
            component.stop()
            await asyncio.wait({task}, timeout=self._link.shutdown_seconds + 5.0)
        await self._tasks.cancel()
        await self._server.stop("the process is ending")

    def _start(self, part: Part) -> None:
        identity = make_identity(part.role, label=part.label)
        assembled = part.assembly.build({**part.assembly.defaults(), **part.sections}, identity)
        link = replace(self._link, hub_urls=[self.hub_url])
        component = assembly.component_of(
            assembled, identity, hub_urls=link.hub_urls, token=self.token, settings=link
        )
        self._running.append((component, self._tasks.spawn(_run(component), name=part.label)))

    def _missing(self) -> list[str]:
        now = monotonic()
        there = {member.component_id: member.info(now) for member in self._server.hub.members}
        wanted = {component.identity.component_id: component.identity.role for component, _ in self._running}
        missing = [part.label for part in self._parts[len(wanted) :]]
        missing += [component_id for component_id in wanted if component_id not in there]
        for role in _SHARDED:
            shards = {s for info in there.values() if info.component_type is role for s in info.shards}
            if role in wanted.values() and len(shards) < SHARDS:
                missing.append(f"{SHARDS - len(shards)} shards of {role.file_name}")
        return missing


async def _run(component: Component) -> GleitzeitError | None:
    """The end of a component; an error that an operator has to see to is a value, and no failed task."""
    try:
        await component.run()
    except GleitzeitError as problem:
        return problem
    return None


def _why(ended: asyncio.Task[Any]) -> BaseException:
    return ended.exception() or ended.result() or GleitzeitError(f"{ended.get_name()} has ended")
