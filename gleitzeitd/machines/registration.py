"""How a connection becomes a member: what it may say of itself, when it is refused, and how long it may stay.

What its token grants is known before it says anything, and decides: which roles it may have, what it may be
called, and whom it may take the place of. A component that is connected makes way for a newer connection of
its own, and for nobody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

from gleitzeitd.errors import (
    MalformedEvent,
    NotAuthenticated,
    NotPermitted,
    TokenExpired,
    TokenRevoked,
    WireUnsupported,
)
from gleitzeitd.events import COMPONENTS, FIRST_WIRE, WIRE, WireRange
from gleitzeitd.events.hub import RegisterComponent, ServeShards
from gleitzeitd.machines.members import Member
from gleitzeitd.model.access import Grant
from gleitzeitd.model.certificate import Holder
from gleitzeitd.model.claims import role_names
from gleitzeitd.model.names import SHARDS, ComponentId, Role, is_identifier
from gleitzeitd.plain import Json

LEEWAY_SECONDS = 5.0
"""By which the clocks of two hosts may differ when a token expires."""
_ANOTHER = "make another on the hub's host: gleitzeit token create"
_ROLES = {role.value: role for role in COMPONENTS}
_SHARD_NUMBERS = {str(shard): shard for shard in range(SHARDS)}


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A connection that has not registered."""

    address: str
    grant: Grant | None = None
    """What its token allows; None: it has not shown one that was accepted."""
    component_id: ComponentId | None = None
    """As it said when it connected; None: it did not."""
    role: Role | None = None


def claimed(
    component_id: Json, role: Json, hub_id: ComponentId, grant: Grant
) -> tuple[ComponentId | None, Role | None]:
    """What a connection says of itself when it connects; either may be left out.

    Raises:
        NotPermitted: it names no role, or no id, that a component can have, or that its token covers.
    """
    if component_id is not None and not _is_free(component_id, hub_id):
        raise NotPermitted(f"component_id: {str(component_id)[:100]!r} cannot be one")
    if role is not None and (type(role) is not str or role not in _ROLES):
        raise NotPermitted(f"component_type: {str(role)[:100]!r} is no role of a component")
    wanted = None if role is None else _ROLES[role]
    problem = not_granted(grant, component_id, wanted)
    if problem is not None:
        raise problem
    return component_id, wanted


def not_granted(grant: Grant, component_id: str | None, role: Role | None) -> NotPermitted | None:
    """Why a token is not for this role, or this name; what is not said yet is not looked at."""
    if role is not None and not grant.admits(role):
        allowed = ", ".join(role_names(grant))
        return NotPermitted(
            f"component_type: the token of {grant.subject} is for {allowed}, and not for {role}: "
            "use one that is (gleitzeit token create --role)"
        )
    if component_id is not None and not grant.covers_name(component_id):
        return NotPermitted(
            f"component_id: the token of {grant.subject} is for names like {grant.names!r}, and not for "
            f"{component_id[:100]!r}: use another name, or another token (gleitzeit token create --names)"
        )
    return None


def token_problem(grant: Grant | None, revoked: frozenset[str], wall: float) -> NotAuthenticated | None:
    """Why a genuine token is not accepted (any more); ``wall`` is the time, in seconds since 1970."""
    if grant is None:
        return None
    if grant.token_id in revoked:
        return TokenRevoked(f"the token of {grant.subject} was revoked: {_ANOTHER}")
    if grant.expires is not None and grant.expires + LEEWAY_SECONDS < wall:
        return TokenExpired(f"the token of {grant.subject} expired {_ago(wall - grant.expires)}: {_ANOTHER}")
    return None


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"


def spoken(said: list[int]) -> WireRange:
    """What ``register_component`` says of versions of the wire.

    Raises:
        WireUnsupported: it is no range.
    """
    match said:
        case []:
            return WireRange(FIRST_WIRE, FIRST_WIRE)
        case [oldest, newest] if FIRST_WIRE <= oldest <= newest:
            return WireRange(oldest, newest)
    raise WireUnsupported(f"wire: expected the oldest and the newest version, found {str(said)[:100]}")


def wire_of(event: RegisterComponent, ours: WireRange) -> int:
    """The version of the wire that a component and a hub that speaks ``ours`` have in common.

    Raises:
        WireUnsupported: there is none.
    """
    theirs = spoken(event.wire)
    common = ours.common(theirs)
    if common is None:
        who = f"{event.component_id} (version {event.version[:100] or 'unknown'})"
        older = "the component" if theirs.newest < ours.oldest else "the hub"
        raise WireUnsupported(f"{who} speaks wire {theirs}, and this hub {ours}: upgrade {older}")
    return common


def registration_problem(
    event: RegisterComponent,
    hub_id: ComponentId,
    connection: Waiting | Member | None,
    before: Member | None,
    wire: WireRange = WIRE,
) -> NotPermitted | None:
    """Why a connection may not register as this; ``before`` is the member that has the id now."""
    if not _is_free(event.component_id, hub_id):
        return NotPermitted(f"component_id: {event.component_id[:100]!r} cannot be one")
    if event.component_type is Role.HUB:
        return NotPermitted("component_type: a hub does not register")
    if connection is not None and connection.grant is not None:
        problem = not_granted(connection.grant, event.component_id, event.component_type)
        problem = problem or not_certified(connection.grant.holder, event)
        if problem is not None:
            return problem
        for said, now in (
            (connection.component_id, event.component_id),
            (connection.role, event.component_type),
        ):
            if said is not None and said != now:
                return NotPermitted(f"the connection belongs to {said}, not to {now}")
        if before is not None and before is not connection and _foreign(before.grant, connection.grant):
            return NotPermitted(
                f"component_id: {event.component_id} is connected with the token of {before.grant.subject}, "
                f"and makes no way for {connection.grant.subject}: use another name"
            )
    if before is not None and before is not connection and event.epoch < before.epoch:
        return NotPermitted(
            f"{event.component_id} is connected with the newer epoch {before.epoch}, not {event.epoch}"
        )
    try:
        wire_of(event, wire)
    except WireUnsupported as problem:
        return problem
    return None


def not_certified(holder: Holder | None, event: RegisterComponent) -> NotPermitted | None:
    """Why the certificate that a connection has shown is not for this component; None if it is, or if it
    has shown none.
    """
    if holder is None or holder.fits(event.component_id, event.hostname):
        return None
    host = f" on the host {event.hostname[:100]}" if event.hostname else ""
    return NotPermitted(
        f"the certificate is for {holder}, and it registers as {event.component_id}{host}: use one that "
        f"is (gleitzeit cert issue --component {event.component_id}, or --dns with the name of its host)"
    )


def _foreign(living: Grant, coming: Grant) -> bool:
    return living.subject != coming.subject


def member_of(
    event: RegisterComponent, connection: str, waiting: Waiting, now: float, wire: WireRange = WIRE
) -> Member:
    """The member that a registration makes of a connection whose token was accepted."""
    assert waiting.grant is not None, connection
    return Member(
        grant=waiting.grant,
        address=waiting.address,
        connection=connection,
        component_id=event.component_id,
        role=event.component_type,
        epoch=event.epoch,
        since=now,
        heard=now,
        answered=now,
        beats=False,
        version=event.version[:100],
        wire=wire_of(event, wire),
        hostname=event.hostname[:255],
        process_id=event.process_id,
    )


def _is_free(component_id: Json, hub_id: ComponentId) -> bool:
    return type(component_id) is str and is_identifier(component_id) and component_id != hub_id


def shards_of(event: ServeShards) -> dict[int, int]:
    """The shards that a component serves, to their epochs.

    Raises:
        MalformedEvent: it names one that does not exist.
    """
    shards = {}
    for text, epoch in event.shards.items():
        if text not in _SHARD_NUMBERS:
            raise MalformedEvent(f"serve_shards.shards.{text[:20]}", f"expected 0 to {SHARDS - 1}")
        shards[_SHARD_NUMBERS[text]] = epoch
    return shards
