"""What each role is made of: its settings, its machine, and who performs the machine's calls.

Only the modules of the role that is asked for are imported, and all of them then: an upgrade may replace
files while a daemon runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gleitzeitd.machines.base import Effects, Machine
from gleitzeitd.machines.link import Identity
from gleitzeitd.runtime.connection import LinkSettings
from gleitzeitd.runtime.performer import Performer
from gleitzeitd.runtime.security import SecuritySettings

if TYPE_CHECKING:
    from gleitzeitd.runtime.component import Component
    from gleitzeitd.runtime.tls import Trust

S = TypeVar("S")
Sections = Mapping[str, Any]
"""Settings by the name of their section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """The parts of one component."""

    machine: Machine
    performer: Performer | None = None
    attach: Callable[[Callable[[Effects], None]], None] | None = None
    """Hands the component's ``perform`` to a performer that shows something while it works."""
    about: str = ""
    """What whoever checks its configuration wants to know besides its settings, on one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """How a role's component is built."""

    sections: Mapping[str, type]
    """Settings of this role alone, by the name of their section."""
    build: Callable[[Sections, Identity], Assembled]
    """Raises ConfigError."""

    def defaults(self) -> dict[str, Any]:
        """All settings as they are without any file."""
        return {name: cls() for name, cls in self.sections.items()}


def component_of(
    assembled: Assembled,
    identity: Identity,
    *,
    hub_urls: list[str],
    token: str | None,
    settings: LinkSettings,
    trust: Trust | None = None,
) -> Component:
    """A component, ready to run. ``trust`` is for hubs that speak TLS."""
    # Here, since whoever only checks settings needs no Socket.IO, which is half of a process's start.
    from gleitzeitd.runtime.component import Component

    component = Component(
        assembled.machine,
        identity,
        hub_urls=hub_urls,
        token=token,
        performer=assembled.performer,
        settings=settings,
        trust=trust,
    )
    if assembled.attach is not None:
        assembled.attach(component.perform)
    return component


def dependency_resolver() -> Assembly:
    """The workflows' courses."""
    from gleitzeitd.machines.dependency_resolver import DependencyResolver, Settings
    from gleitzeitd.model.limits import WorkflowLimits
    from gleitzeitd.providers.schema import problems

    def build(sections: Sections, me: Identity) -> Assembled:
        machine = DependencyResolver(
            component_id=me.component_id,
            settings=_section(sections, "dependency_resolver", Settings),
            check=problems,
            limits=_section(sections, "workflow_limits", WorkflowLimits),
            incarnation=_incarnation(me),
        )
        return Assembled(machine=machine)

    both = {"dependency_resolver": Settings, "workflow_limits": WorkflowLimits}
    return Assembly(sections=both, build=build)


def queue_manager() -> Assembly:
    """The ready tasks."""
    from gleitzeitd.machines.queue_manager import QueueManager, Settings

    def build(sections: Sections, me: Identity) -> Assembled:
        settings = _section(sections, "queue_manager", Settings)
        machine = QueueManager(component_id=me.component_id, settings=settings, incarnation=_incarnation(me))
        return Assembled(machine=machine)

    return Assembly(sections={"queue_manager": Settings}, build=build)


def execution_engine() -> Assembly:
    """The attempts."""
    from gleitzeitd.machines.execution_engine import ExecutionEngine, Settings

    def build(sections: Sections, me: Identity) -> Assembled:
        settings = _section(sections, "execution_engine", Settings)
        return Assembled(machine=ExecutionEngine(component_id=me.component_id, settings=settings))

    return Assembly(sections={"execution_engine": Settings}, build=build)


def protocol_registry() -> Assembly:
    """The protocols and their providers."""
    from gleitzeitd.machines.protocol_registry import ProtocolRegistry, Settings

    def build(sections: Sections, me: Identity) -> Assembled:
        settings = _section(sections, "protocol_registry", Settings)
        return Assembled(machine=ProtocolRegistry(component_id=me.component_id, settings=settings))

    return Assembly(sections={"protocol_registry": Settings}, build=build)


def persistence() -> Assembly:
    """The ledger, on SQLite."""
    from gleitzeitd.machines.persistence import Persistence, Settings
    from gleitzeitd.runtime.ledger import LedgerPerformer
    from gleitzeitd.stores import sqlite

    def build(sections: Sections, me: Identity) -> Assembled:
        settings = _section(sections, "persistence", Settings)
        store = sqlite.SqliteStore.of(_section(sections, "sqlite", sqlite.Settings))
        return Assembled(
            machine=Persistence(component_id=me.component_id, settings=settings),
            performer=LedgerPerformer(store),
        )

    return Assembly(sections={"persistence": Settings, "sqlite": sqlite.Settings}, build=build)


def provider(name: str, spec: str = "", protocol: Path | None = None) -> Assembly:
    """A provider: the built-in one of this name, or the class that ``spec`` (``module:Class``) names.

    ``protocol`` is the file that declares what the class serves, if its code does not.

    Raises:
        ConfigError: there is none, or the file is wrong.
    """
    from gleitzeitd.events.protocol_registry import RegisterProtocol
    from gleitzeitd.machines.base import Ask
    from gleitzeitd.machines.provider import ProviderMachine, Settings
    from gleitzeitd.providers import builtin, load
    from gleitzeitd.providers.isolation import keep_from_tasks
    from gleitzeitd.providers.schema import problems
    from gleitzeitd.providers.secrets import Secrets, SecretSettings
    from gleitzeitd.runtime.work import ProviderPerformer

    if protocol is not None:
        from gleitzeitd.protocol_file import declared

        cls = load(spec, declared(protocol))
    else:
        cls = load(spec) if spec else builtin(name)

    def build(sections: Sections, me: Identity) -> Assembled:
        worker: Any = cls
        made = worker(_section(sections, "provider", cls.Settings))
        settings = _section(sections, "calls", Settings)
        secret_settings = _section(sections, "secrets", SecretSettings)
        secrets = Secrets.of(secret_settings, os.environ)
        keep_from_tasks([secret_settings.file, *_confidential(sections.get("security"))])
        machine = ProviderMachine(
            component_id=me.component_id,
            protocol=made.protocol(),
            capacity=made.capacity,
            check=problems,
            settings=settings,
            epoch=me.epoch,
        )
        shown = _Shown()

        def changed() -> None:
            machine.protocol = made.protocol()
            shown([Ask("protocol", RegisterProtocol(protocol=machine.protocol))])

        made.watch_protocol(changed)
        performer = ProviderPerformer(made, shown, settings.journal_output_bytes, secrets)
        return Assembled(machine=machine, performer=performer, attach=shown.attach, about=secrets.summary())

    sections = {"provider": cls.Settings, "calls": Settings, "secrets": SecretSettings}
    return Assembly(sections=sections, build=build)


def usable_providers() -> list[str]:
    """Names of the built-in ones that can start on this host."""
    from gleitzeitd.providers import usable

    return usable()


class _Shown:
    """Passes effects on to a component that is made later than this."""

    def __init__(self) -> None:
        self._perform: Callable[[Effects], None] | None = None

    def attach(self, perform: Callable[[Effects], None]) -> None:
        self._perform = perform

    def __call__(self, effects: Effects) -> None:
        assert self._perform is not None, "calls run only inside a component"
        self._perform(effects)


def _confidential(security: object) -> list[str]:
    """Files that a daemon's settings name and that its tasks are not to read."""
    if not isinstance(security, SecuritySettings):
        return []
    return [security.token_file, security.keys_file, security.key_file]


def _section(sections: Sections, name: str, cls: type[S]) -> S:
    found = sections[name]
    assert isinstance(found, cls), f"[{name}] is a {type(found).__name__}"
    return found


def _incarnation(me: Identity) -> str:
    return f"{me.component_id}.{me.epoch:x}"
