"""Who may send what: the catalogue's routes, compiled once.

For an event's name and its sender there is a *plan*: the ways that the event goes, each a *step*, as the hub
walks it. What has no plan is either unknown or not permitted. Events of the connection itself (``link``) are
not routed.

A connection gets the plans that its token allows when it registers, so that permission costs an event no more
than looking up its name. Of clients they depend on who their user is, and on whether they are confined to a
namespace: then they change nothing that concerns the whole system, and no workflow of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gleitzeitd.errors import NotPermitted, UnknownEvent
from gleitzeitd.events import CATALOGUE, COMPONENTS, Delivery, Event, Kind, Route, To
from gleitzeitd.model.access import Grant, UserRole
from gleitzeitd.model.names import Role
from gleitzeitd.record import record


@record
class Step:
    """One route of an event, for one role of sender."""

    to: To
    roles: tuple[Role, ...]
    """Of the receivers."""
    name: str
    """Under which it is delivered."""
    fact: str | None
    """The name under which it was sent, where that differs."""
    required: bool
    """Whether the sender hears of it when nobody is there."""
    only: bool
    """Whether it is the event's one route for this sender."""
    stamped: bool
    """Whether the receivers have to know the sender's role."""


Plan = tuple[Step, ...]
Plans = Mapping[str, Plan]


def _required(cls: type[Event], each: Route) -> bool:
    if each.to is To.ALL:
        return cls.kind is Kind.COMMAND and cls.delivery is Delivery.ASK
    return each.to in (To.ONE, To.OWNER, To.COMPONENT)


def _compiled() -> dict[tuple[str, Role], Plan]:
    plans = {}
    for name, cls in CATALOGUE.items():
        for sender in COMPONENTS:
            routes = [each for each in cls.routes if sender in each.senders]
            if not routes or cls.link:
                continue
            plans[name, sender] = tuple(
                Step(
                    to=each.to,
                    roles=tuple(sorted(each.roles)),
                    name=each.renamed or name,
                    fact=None if each.renamed is None else name,
                    required=_required(cls, each),
                    only=len(routes) == 1,
                    stamped=any(route.says_role for route in routes),
                )
                for each in routes
            )
    return plans


PLANS = _compiled()
"""An event's name and the sender's role to the ways it goes, all of them."""


def least_user(name: str) -> UserRole | None:
    """What a client's user has to be to send this; None: no client sends it."""
    cls = CATALOGUE[name]
    needed = [each.by for each in cls.routes if each.by is not None and not cls.link]
    return max(needed, key=list(UserRole).index) if needed else None


def is_system_wide(name: str) -> bool:
    """Whether it changes what no single workflow is about, so that no namespace covers it."""
    cls, least = CATALOGUE[name], least_user(name)
    return least is not None and least.includes(UserRole.OPERATOR) and "workflow_id" not in _fields(cls)


def _fields(cls: type[Event]) -> Iterable[str]:
    found: Iterable[str] = getattr(cls, "__dataclass_fields__", ())
    return found


def _of_users() -> dict[tuple[UserRole | None, bool], Plans]:
    found: dict[tuple[UserRole | None, bool], Plans] = {}
    for user in (None, *UserRole):
        for confined in (False, True):
            found[user, confined] = {
                name: plan
                for (name, role), plan in PLANS.items()
                if role is Role.CLIENT and _may(user, name) and not (confined and is_system_wide(name))
            }
    return found


def _may(user: UserRole | None, name: str) -> bool:
    least = least_user(name)
    return user is not None and least is not None and user.includes(least)


_OF_ROLES: dict[Role, Plans] = {
    role: {name: plan for (name, sender), plan in PLANS.items() if sender is role} for role in COMPONENTS
}
_OF_USERS = _of_users()


def plans_of(role: Role, grant: Grant) -> Plans:
    """What a member of this role may send, with its token."""
    if role is Role.CLIENT:
        return _OF_USERS[grant.user, grant.namespace is not None]
    return _OF_ROLES[role]


def refusal(name: str, role: Role, grant: Grant) -> UnknownEvent | NotPermitted:
    """Why there is no plan for this event, and what would help."""
    if name not in CATALOGUE:
        return UnknownEvent(f"{name[:100]}: no event of this name is in the catalogue")
    least = least_user(name)
    if role is not Role.CLIENT or least is None:
        return NotPermitted(f"{name}: a {role} may not send this{_who_may(name)}")
    if not grant.allows(least):
        found = "no user's role" if grant.user is None else f"the role {grant.user.value}"
        return NotPermitted(
            f"{name}: the token of {grant.subject} has {found}, and {least.value} is needed: "
            f"use one that has it (gleitzeit token create --role {least.value})"
        )
    return NotPermitted(
        f"{name}: the token of {grant.subject} is for the namespace {grant.namespace}, and this is about the "
        "whole system: use a token without a namespace"
    )


def _who_may(name: str) -> str:
    senders = sorted({role for each in CATALOGUE[name].routes for role in each.senders})
    return f"; it comes from: {', '.join(senders)}"
