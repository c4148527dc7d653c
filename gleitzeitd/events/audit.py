"""Events of the audit: what is noted there, and reading it. Clients note nothing: it is about them."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.events.base import COMPONENTS, SAVED, Delivery, Event, Kind, To, event, route
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.audit import Action, AuditNote, AuditRecord
from gleitzeitd.model.names import Role
from gleitzeitd.record import record


@event(
    "audit_noted",
    kind=Kind.FACT,
    routes=[route((Role.HUB, Role.DEPENDENCY_RESOLVER), To.ONE, Role.PERSISTENCE)],
)
class AuditNoted(Event):
    """Something was refused. What was accepted is recorded by the ledger, together with the change itself."""

    notes: list[AuditNote]


@event(
    "configuration_reloaded",
    kind=Kind.FACT,
    routes=[route(COMPONENTS - {Role.CLIENT}, To.ONE, Role.PERSISTENCE)],
)
class ConfigurationReloaded(Event):
    """The sender has read its configuration again, and some of it is another now."""

    keys: list[str]
    """Of the settings that have changed, without their values."""


@event(
    "report_action",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.ONE, Role.PERSISTENCE, by=UserRole.OPERATOR)],
    answers=SAVED,
)
class ReportAction(Event):
    """Somebody has done this on a host, with a command that needs no component. Answered by ``data_saved``
    once durable; by ``persistence_error``, if it is nothing that is done so.

    Who reports it, and from where, is what the hub says of him.
    """

    action: Action
    """One of those that are local: about keys and tokens, an import of configuration, backup, restore."""
    object: str = ""
    """What it is about: a token's id, a file. Never a token."""
    detail: str = ""


@record
class AuditWish:
    """Which records are wanted; None: whichever."""

    since: str | None = None
    """ISO 8601 UTC."""
    subject: str | None = None
    action: str | None = None
    object: str | None = None
    """A workflow's id, for instance."""
    outcome: str | None = None
    """``accepted`` or ``refused``."""


@event(
    "query_audit",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.ONE, Role.PERSISTENCE, by=UserRole.OPERATOR)],
    answers=("audit_retrieved", "persistence_error"),
)
class QueryAudit(Event):
    """Read the audit; answered by ``audit_retrieved``, a page at a time."""

    wish: AuditWish = AuditWish()
    after: int | None = None
    """Only records with numbers over this, in their order. None: the newest first."""
    before: int | None = None
    """Only records with numbers below this."""
    limit: int = 500
    """Of the records in the answer: 1 to 1000."""


@event("audit_retrieved", kind=Kind.REPLY, routes=[route(Role.PERSISTENCE, To.COMPONENT, Role.CLIENT)])
class AuditRetrieved(Event):
    """One page of the audit."""

    records: list[AuditRecord] = field(default_factory=list)
    more: bool = False
    """Whether there may be others that fit."""
    last: int = 0
    """The number of the newest record."""
    horizon: int = 0
    """Records up to this number are gone: they were too old, or too many."""
    anchor: str = ""
    """The hash of the last one of these, on which the first that is there is built."""
