"""THE table: what each role is for, which settings it has, and what it is made of.

The modules of a role are imported when its assembly is asked for, all of them at once, and those of no
other role.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gleitzeitd.model.names import Role
from gleitzeitd.runtime.connection import LinkSettings
from gleitzeitd.runtime.journal import LogSettings
from gleitzeitd.runtime.security import SecuritySettings

if TYPE_CHECKING:
    from gleitzeitd.runtime.assembly import Assembly

EVERYBODY: dict[str, type] = {"security": SecuritySettings, "log": LogSettings}
"""Sections that every role has."""
COMPONENTS: dict[str, type] = {"connection": LinkSettings, **EVERYBODY}
"""Sections that every role but the hub has."""

ALIASES = {
    "GLEITZEIT_HUB_URL": "connection.hub_urls",
    "COMPONENT_ID": "connection.component_id",
    "LOG_LEVEL": "log.level",
}
"""Variables of the environment with names of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """One line of the table."""

    about: str
    """For ``--help`` and the head of the shipped file."""
    sections: tuple[str, ...]
    """Names of its own sections; those of other roles may stand in the same file."""
    assembly: Callable[[], Assembly] | None = None
    """What it is made of. None for the hub, which is no component of one, and for providers, of which there
    are many."""


def _assembly(name: str) -> Callable[[], Assembly]:
    def imported() -> Assembly:
        from gleitzeitd.runtime import assembly

        made: Assembly = getattr(assembly, name)()
        return made

    return imported


ROLES: dict[Role, RoleSpec] = {
    Role.HUB: RoleSpec(
        about="routes events between all other components, and keeps nothing",
        sections=("hub",),
    ),
    Role.PERSISTENCE: RoleSpec(
        about="keeps on disk everything that must not be lost: the ledger",
        sections=("persistence", "sqlite"),
        assembly=_assembly("persistence"),
    ),
    Role.PROTOCOL_REGISTRY: RoleSpec(
        about="knows protocols, methods, and the providers that serve them",
        sections=("protocol_registry",),
        assembly=_assembly("protocol_registry"),
    ),
    Role.DEPENDENCY_RESOLVER: RoleSpec(
        about="decides each workflow's course: what is ready, retried, skipped, finished",
        sections=("dependency_resolver",),
        assembly=_assembly("dependency_resolver"),
    ),
    Role.QUEUE_MANAGER: RoleSpec(
        about="decides which ready task runs next, and on which engine",
        sections=("queue_manager",),
        assembly=_assembly("queue_manager"),
    ),
    Role.EXECUTION_ENGINE: RoleSpec(
        about="carries tasks out: finds a provider, calls it, minds the time",
        sections=("execution_engine",),
        assembly=_assembly("execution_engine"),
    ),
    Role.PROVIDER: RoleSpec(
        about="does the work of one protocol",
        sections=("provider", "calls"),
    ),
}


def foreign_sections(own: set[str]) -> set[str]:
    """Sections that may stand in a file, and are another role's."""
    known = {name for spec in ROLES.values() for name in spec.sections} | set(COMPONENTS)
    return known - own
