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
    "GLEITZEIT_KEYS_FILE": "security.keys_file",
}
"""Variables of the environment with names of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """One line of the table."""

    about: str
    """For ``--help`` and the head of the shipped file."""
    sections: tuple[str, ...]
    """Names of its own sections; those of other roles may stand in the same file."""
    live: tuple[str, ...] = ()
    """Settings of its machine, as ``section.key``, that ``systemctl reload`` applies: those looked up
    whenever they are needed, and that nobody else has been told."""
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
        live=(
            "hub.dead_after",
            "hub.request_within",
            "hub.request_bytes",
            "hub.max_requests",
            "hub.register_within",
            "hub.unregistered_bytes",
            "hub.max_unregistered",
            "hub.max_connections",
            "hub.max_connections_per_address",
            "hub.client_events_per_second",
            "hub.slowed_at_most",
            "hub.reads_within",
            "hub.topics_per_connection",
            "hub.topics",
            "hub.topic_characters",
        ),
    ),
    Role.PERSISTENCE: RoleSpec(
        about="keeps on disk everything that must not be lost: the ledger",
        sections=("persistence", "sqlite"),
        live=("persistence.pending_limit", "persistence.changes_per_commit"),
        assembly=_assembly("persistence"),
    ),
    Role.PROTOCOL_REGISTRY: RoleSpec(
        about="knows protocols, methods, and the providers that serve them",
        sections=("protocol_registry",),
        live=(
            "protocol_registry.max_protocols",
            "protocol_registry.failed_checks",
            "protocol_registry.health_check_seconds",
        ),
        assembly=_assembly("protocol_registry"),
    ),
    Role.DEPENDENCY_RESOLVER: RoleSpec(
        about="decides each workflow's course: what is ready, retried, skipped, finished",
        sections=("dependency_resolver", "workflow_limits"),
        live=("dependency_resolver.workflows", "dependency_resolver.tasks_per_event"),
        assembly=_assembly("dependency_resolver"),
    ),
    Role.QUEUE_MANAGER: RoleSpec(
        about="decides which ready task runs next, and on which engine",
        sections=("queue_manager",),
        live=(
            "queue_manager.leases_per_event",
            "queue_manager.engine_seconds",
            "queue_manager.blocked_seconds",
        ),
        assembly=_assembly("queue_manager"),
    ),
    Role.EXECUTION_ENGINE: RoleSpec(
        about="carries tasks out: finds a provider, calls it, minds the time",
        sections=("execution_engine",),
        live=(
            "execution_engine.slots",
            "execution_engine.overtime_seconds",
            "execution_engine.hand_back_seconds",
        ),
        assembly=_assembly("execution_engine"),
    ),
    Role.PROVIDER: RoleSpec(
        about="does the work of one protocol",
        sections=("provider", "calls", "secrets"),
        live=("calls.backlog", "calls.keep_seconds", "calls.max_kept", "calls.max_kept_bytes"),
    ),
}


def foreign_sections(own: set[str]) -> set[str]:
    """Sections that may stand in a file, and are another role's."""
    known = {name for spec in ROLES.values() for name in spec.sections} | set(COMPONENTS)
    return known - own
