"""How a connection becomes a member: what it may say of itself, and when it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from gleitzeitd.errors import NotPermitted, WireUnsupported
from gleitzeitd.events import COMPONENTS, FIRST_WIRE, WIRE, WireRange
from gleitzeitd.events.hub import RegisterComponent
from gleitzeitd.machines.members import Member
from gleitzeitd.model.names import ComponentId, Role, is_identifier
from gleitzeitd.plain import Json

_ROLES = {role.value: role for role in COMPONENTS}


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A connection that has not registered."""

    address: str
    admitted: bool = False
    """Its token was accepted."""
    component_id: ComponentId | None = None
    """As it said when it connected; None: it did not."""
    role: Role | None = None


def claimed(component_id: Json, role: Json, hub_id: ComponentId) -> tuple[ComponentId | None, Role | None]:
    """What a connection says of itself when it connects; either may be left out.

    Raises:
        NotPermitted: it names no role, or no id, that a component can have.
    """
    if component_id is not None and not _is_free(component_id, hub_id):
        raise NotPermitted(f"component_id: {str(component_id)[:100]!r} cannot be one")
    if role is None:
        return component_id, None
    if type(role) is not str or role not in _ROLES:
        raise NotPermitted(f"component_type: {str(role)[:100]!r} is no role of a component")
    return component_id, _ROLES[role]


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
    if connection is not None:
        for said, now in (
            (connection.component_id, event.component_id),
            (connection.role, event.component_type),
        ):
            if said is not None and said != now:
                return NotPermitted(f"the connection belongs to {said}, not to {now}")
    if before is not None and before is not connection and event.epoch < before.epoch:
        return NotPermitted(
            f"{event.component_id} is connected with the newer epoch {before.epoch}, not {event.epoch}"
        )
    try:
        wire_of(event, wire)
    except WireUnsupported as problem:
        return problem
    return None


def member_of(event: RegisterComponent, connection: str, now: float, wire: WireRange = WIRE) -> Member:
    """The member that a registration makes."""
    return Member(
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
