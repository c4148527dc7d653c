"""Who did what, when, from where, and what came of it: records in a chain that nobody alters unseen.

Each record carries the hash of the one before it, so that one that was changed, left out or put in later
breaks the chain from there on. Who can write the file can also make a whole new chain; but the hash of each
record stands in the journal too, which is another file and can be another host's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.names import ComponentId
from gleitzeitd.record import record

TEXT_LIMIT = 200
"""Characters of a value in a record; the rest is cut off."""
BEGINNING = "0" * 64
"""What stands in the place of the hash before the first record's."""


class Action(StrEnum):
    """What was done, or asked for."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    PRIORITY = "priority"
    RESOLVE = "resolve"
    DELETE = "delete"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    REGISTER_PROTOCOL = "register_protocol"
    REFUSE = "refuse"
    """A connection, a registration or an event was refused at a hub."""
    TOKEN_CREATE = "token_create"  # noqa: S105 - the name of what is done
    TOKEN_REVOKE = "token_revoke"  # noqa: S105
    TOKEN_ROTATE = "token_rotate"  # noqa: S105
    CONFIG_RELOAD = "config_reload"
    CONFIG_IMPORT = "config_import"
    BACKUP = "backup"
    RESTORE = "restore"


LOCAL = frozenset(
    {
        Action.TOKEN_CREATE,
        Action.TOKEN_REVOKE,
        Action.TOKEN_ROTATE,
        Action.CONFIG_IMPORT,
        Action.BACKUP,
        Action.RESTORE,
    }
)
"""Done by a command on a host, without any component: the command itself reports them."""


class Result(StrEnum):
    """What came of it."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


@record
class Actor:
    """Who asks, as a hub has seen it; nobody says this of himself."""

    subject: str = ""
    """Of the token; empty if the hub knows none."""
    component_id: ComponentId = ComponentId("")
    address: str = ""
    """The peer's, as the hub saw it."""


@record
class AuditNote:
    """What is to be recorded."""

    action: str
    object: str = ""
    """The workflow's or the component's id, or what else it is about. Never what it holds."""
    actor: Actor = Actor()
    outcome: Result = Result.ACCEPTED
    code: int = 0
    """Of the error, if it was refused."""
    error: str = ""
    """Its name."""
    detail: str = ""
    count: int = 1
    """How often, since the last record of the same cause."""
    correlation_id: str = ""


@record
class AuditRecord:
    """One record, as it is kept."""

    number: int
    """Grows by one."""
    at: str
    """The ledger's wall clock, ISO 8601 UTC."""
    note: AuditNote
    previous: str
    """The hash of the record before; 64 hex digits."""
    hash: str


def refused(action: str, about: str, actor: Actor, error: ErrorInfo, correlation_id: str = "") -> AuditNote:
    """That something was refused. The error's message is left out: it can quote what was sent."""
    return AuditNote(
        action=action,
        object=about,
        actor=actor,
        outcome=Result.REFUSED,
        code=error.code,
        error=error.name,
        correlation_id=correlation_id,
    )


def recorded(note: AuditNote, at: str, number: int, previous: str) -> AuditRecord:
    """The record that follows the one with the hash ``previous``; texts are cut, and fit for any store."""
    actor = Actor(
        subject=_fit(note.actor.subject),
        component_id=ComponentId(_fit(note.actor.component_id)),
        address=_fit(note.actor.address),
    )
    kept = replace(
        note,
        action=_fit(note.action),
        object=_fit(note.object),
        error=_fit(note.error),
        detail=_fit(note.detail),
        correlation_id=_fit(note.correlation_id),
        actor=actor,
    )
    made = AuditRecord(number=number, at=at, note=kept, previous=previous, hash="")
    return replace(made, hash=hash_of(made))


def hash_of(one: AuditRecord) -> str:
    """SHA-256 of everything else in the record, in hex."""
    note, actor = one.note, one.note.actor
    values = [
        one.previous,
        one.number,
        one.at,
        note.action,
        note.object,
        actor.subject,
        actor.component_id,
        actor.address,
        note.outcome.value,
        note.code,
        note.error,
        note.detail,
        note.count,
        note.correlation_id,
    ]
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()


class Chain:
    """Looks through records in their order, a page at a time."""

    def __init__(self, number: int = 0, head: str = BEGINNING) -> None:
        """``number`` and ``head`` are the number and the hash of the record before the first."""
        self.number, self.head = number, head

    def broken(self, records: Iterable[AuditRecord]) -> str | None:
        """What is wrong with the next ones, or None."""
        for one in records:
            if one.number != self.number + 1:
                return f"record {self.number + 1} is missing: {one.number} comes after {self.number}"
            if one.previous != self.head:
                return f"record {one.number} does not follow record {self.number}: one of them was replaced"
            if one.hash != hash_of(one):
                return f"record {one.number} was altered: its hash is another"
            self.number, self.head = one.number, one.hash
        return None


def _fit(text: str) -> str:
    """Cut, on one line, and without halves of surrogate pairs."""
    cut = text[:TEXT_LIMIT]
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else "?" for c in cut)
