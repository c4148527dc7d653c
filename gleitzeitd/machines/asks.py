"""An ask on its way to its answer, as the link keeps it, and who may answer it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import cache

from gleitzeitd.events import CATALOGUE, Envelope, Event
from gleitzeitd.machines.base import Ask, Note
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json

EMISSIONS_LIMIT = 8
"""Emissions of one ask whose answers are still recognised."""


@dataclass(slots=True)
class OpenAsk:
    """An ask that has not been answered."""

    ask: Ask
    correlation_id: str
    causation_id: str | None
    repeat_at: float
    delay: float
    undelivered: bool = False
    """A hub has said that nobody is there, since a connection came up last."""
    nobody_at: set[str] = field(default_factory=set)
    """The connections whose hubs have said so in this round."""
    hub: str | None = None
    """The connection that it was sent by last."""
    emissions: deque[str] = field(default_factory=lambda: deque(maxlen=EMISSIONS_LIMIT))
    unanswered: int = 0
    """Emissions that may still be carried out, for all we know."""


@dataclass(slots=True)
class Strays:
    """Answers of those who were not asked, or that are none: dropped, while the ask stays open."""

    count: int = 0

    def note(self, event: Event, ask: Ask, envelope: Envelope) -> list[Note]:
        """Count one; whoever repeats himself does not fill the journal."""
        self.count += 1
        if self.count != 1 and self.count % 1000:
            return []
        fields: dict[str, Json] = {
            "peer": envelope.source_component,
            "event": event.name,
            "asked": ask.event.name,
            "count": self.count,
        }
        return [Note("warning", "an answer was dropped: its sender was not asked", fields)]

    def figures(self) -> dict[str, Json]:
        """For heartbeats, once there is something to tell."""
        return {"answers_dropped": self.count} if self.count else {}


def may_answer(ask: Ask, asker: Role, event: Event, envelope: Envelope) -> bool:
    """Whether this is an answer to the ask, from whom it was asked.

    Ids of messages can be guessed, so that anybody may name one as the cause of his event. That he has the
    role of those who send it, the hub has seen to; where several roles do, it says which of them he has.
    """
    kind = type(ask.event)
    if event.name not in kind.answers:
        return False
    if ask.to is not None:
        return envelope.source_component == ask.to
    return envelope.source_role is None or envelope.source_role in _asked(kind.name, asker)


@cache
def _asked(name: str, asker: Role) -> frozenset[Role]:
    """Whom a role asks with this event."""
    return frozenset(role for each in CATALOGUE[name].routes if asker in each.senders for role in each.roles)
