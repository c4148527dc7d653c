"""Events between an operator and the components that do work: taking them out of service, and back."""

from __future__ import annotations

from gleitzeitd.events.base import Delivery, Event, Kind, To, event, route
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.names import Role

DRAINABLE = (Role.EXECUTION_ENGINE, Role.PROVIDER)
"""Roles that can be told to take nothing new: others hand their work over when they end."""


@event(
    "drain_component",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route(Role.CLIENT, To.COMPONENT, DRAINABLE, by=UserRole.OPERATOR),
        route(Role.CLIENT, To.ONE, Role.PERSISTENCE, by=UserRole.OPERATOR),  # for the audit
    ],
    answers=("component_draining",),
)
class DrainComponent(Event):
    """Take nothing new, hand back what has not begun, and finish what runs. It holds until it is undone, or
    the process ends.
    """

    undo: bool = False
    """Take work again."""


@event("component_draining", kind=Kind.REPLY, routes=[route(DRAINABLE, To.COMPONENT, Role.CLIENT)])
class ComponentDraining(Event):
    """Answers ``drain_component``."""

    draining: bool
    """Also true if it was to be undone, but the process is about to end."""
    load: int
    """Work still in flight; with 0 it can be stopped, and nothing is lost or done again."""
