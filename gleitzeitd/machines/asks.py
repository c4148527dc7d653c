"""An ask on its way to its answer, as the link keeps it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gleitzeitd.machines.base import Ask

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
