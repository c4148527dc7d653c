"""Where many events of one kind go that have their receivers in common: decided once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from gleitzeitd.errors import GleitzeitError
from gleitzeitd.events import To
from gleitzeitd.machines.base import Deliver
from gleitzeitd.machines.members import Member, Members
from gleitzeitd.machines.routing import check_envelope, recipients, stamp
from gleitzeitd.machines.trace import Counts, Trace
from gleitzeitd.model.names import ComponentId
from gleitzeitd.plain import Json


def deliveries(
    members: Members, sender: Member, name: str, envelope: dict[str, Json]
) -> tuple[list[Deliver], tuple[ComponentId, ...]] | None:
    """How all of them are passed on, and to whom; None if each has to be looked at by itself: something is
    wrong, somebody is not there, or the hub itself is meant.

    ``envelope`` is changed into what is to be delivered.
    """
    plan = sender.plans.get(name)
    if plan is None:
        return None
    found: list[Deliver] = []
    targets: list[ComponentId] = []
    try:
        stamp(envelope, sender, plan)
        check_envelope(name, envelope)
        for step in plan:
            if step.to is To.HUB:
                return None
            receivers = recipients(members, step, name, envelope)
            if receivers:
                to = tuple(member.connection for member in receivers)
                found.append(Deliver(to, step.name, step.fact))
                targets += [member.component_id for member in receivers]
            elif step.required:
                return None
    except GleitzeitError:
        return None
    return (found, tuple(targets)) if found else None


def remember(
    counts: Counts,
    trace: Trace,
    at: str,
    name: str,
    source: ComponentId,
    targets: tuple[ComponentId, ...],
    heads: Sequence[Sequence[Json]],
    sizes: Sequence[int],
) -> None:
    """Count them, and keep a record of each."""
    counts.routed[name] += len(heads)
    counts.routed_bytes[name] += sum(sizes)
    for (message_id, correlation_id, causation_id), size in zip(heads, sizes, strict=True):
        ids = {"_message_id": message_id, "_correlation_id": correlation_id, "_causation_id": causation_id}
        trace.add(at, name, ids, source, targets, size)
