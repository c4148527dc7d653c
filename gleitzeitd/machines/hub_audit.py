"""What a hub tells the audit with each heartbeat: what it has refused, counted, and which of its settings
have changed.

Nobody makes the hub send, or keep, more by being refused more often: causes are counted, at most
``CAUSES`` apart, and the rest by their errors. What there is no ledger for stays until there is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gleitzeitd.errors import GleitzeitError
from gleitzeitd.events import CATALOGUE
from gleitzeitd.events.audit import AuditNoted
from gleitzeitd.machines.base import Effects, Send
from gleitzeitd.machines.members import Member, Members
from gleitzeitd.machines.registration import Waiting
from gleitzeitd.model.audit import Action, Actor, AuditNote, refused
from gleitzeitd.model.names import ComponentId, Role

CAUSES = 100
"""Refusals that differ in sender, event or error, between two heartbeats."""


@dataclass(slots=True)
class RefusalCounts:
    """Since the ledger was told last."""

    _counts: dict[AuditNote, int] = field(default_factory=dict)

    def count(self, name: str, problem: GleitzeitError, one: Waiting | Member | None) -> None:
        """One more; ``name`` is the event's, or empty if it was the connection that was refused."""
        error = problem.info()
        actor = Actor()
        if one is not None:
            subject = "" if one.grant is None else one.grant.subject
            actor = Actor(
                subject=subject, component_id=one.component_id or ComponentId(""), address=one.address
            )
        note = refused(Action.REFUSE, name if name in CATALOGUE else "", actor, error)
        if note not in self._counts and len(self._counts) >= CAUSES:
            note = replace(refused(Action.REFUSE, "", Actor(), error), detail="of several causes")
        self._counts[note] = self._counts.get(note, 0) + 1

    def adjusted(self, hub_id: ComponentId, key: str) -> None:
        """A setting of the hub's own is another now."""
        note = AuditNote(
            action=Action.CONFIG_RELOAD, object=hub_id, actor=Actor(component_id=hub_id), detail=key
        )
        self._counts[note] = self._counts.get(note, 0) + 1

    def told(self, members: Members) -> Effects:
        """What the ledger is told, if there is one."""
        ledger = members.choose(Role.PERSISTENCE) if self._counts else None
        if ledger is None:
            return []
        notes = [replace(note, count=count) for note, count in self._counts.items()]
        self._counts.clear()
        return [Send((ledger.connection,), AuditNoted(notes=notes))]
