"""Events of one kind for one receiver, as one piece of a packet.

    [name, envelope, [body, ...], [[message_id, correlation_id, causation_id], ...]]

The envelope holds what they have in common, and is written, checked, routed and read once for all of them.
A hub that finds the piece plain passes it on as it is; else it takes it apart, and every event goes its own
way. Only those who have named the capability ``bundle`` get such pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gleitzeitd.errors import MalformedEvent
from gleitzeitd.events import CATALOGUE, Envelope, To
from gleitzeitd.events.codec import envelope_from_plain, envelope_to_plain
from gleitzeitd.machines.link import Transmit
from gleitzeitd.machines.routing import TEXT_LIMIT
from gleitzeitd.plain import Json

CAPABILITY = "bundle"
_FOR_HUBS = frozenset(
    name for name, cls in CATALOGUE.items() if any(each.to is To.HUB for each in cls.routes)
)
LONGEST = 1000
"""Events in one piece that are accepted."""


def pieces(items: Iterable[Transmit]) -> list[Json]:
    """The pieces of a packet. What goes to the same receiver stays in its order."""
    groups: list[list[Transmit]] = []
    newest: dict[str, list[Transmit]] = {}  # by receiver; all that names none may go to the same one
    for item in items:
        to = item.envelope.reply_to or ""
        group = newest.get(to)
        if group is not None and _fits(item, group[0]):
            group.append(item)
        else:
            newest[to] = group = [item]
            groups.append(group)
    return [piece(group[0]) if len(group) == 1 else _bundle(group) for group in groups]


def piece(item: Transmit) -> list[Json]:
    """Of one event."""
    return [item.name, envelope_to_plain(item.envelope), item.body]


def _fits(item: Transmit, first: Transmit) -> bool:
    return (
        item.name == first.name
        and item.envelope.shard == first.envelope.shard
        and item.envelope.topic == first.envelope.topic
        and item.name not in _FOR_HUBS
    )


def _bundle(group: Sequence[Transmit]) -> list[Json]:
    heads = [[e.message_id, e.correlation_id, e.causation_id] for e in (item.envelope for item in group)]
    return [group[0].name, envelope_to_plain(group[0].envelope), [item.body for item in group], heads]


def is_sound(bodies: Sequence[Json], heads: Sequence[Json]) -> bool:
    """Whether a received piece can be taken apart."""
    if len(bodies) != len(heads) or not 0 < len(heads) <= LONGEST:
        return False
    return all(type(body) is str for body in bodies) and all(map(_is_head, heads))


def _is_head(head: Json) -> bool:
    match head:
        case [str(message_id), str(correlation_id), str() | None as causation_id]:
            longest = max(len(message_id), len(correlation_id), len(causation_id or ""))
            return bool(message_id and correlation_id) and longest <= TEXT_LIMIT
    return False


def singles(
    envelope: dict[str, Json], bodies: Sequence[str], heads: Sequence[Json]
) -> list[tuple[dict[str, Json], str]]:
    """Envelope in its wire form, and body, of each event of a sound piece."""
    found = []
    for body, (message_id, correlation_id, causation_id) in zip(bodies, heads, strict=True):
        own = {**envelope, "_message_id": message_id, "_correlation_id": correlation_id}
        own.pop("_causation_id", None)
        if causation_id is not None:
            own["_causation_id"] = causation_id
        found.append((own, body))
    return found


def read_bundle(name: str, arguments: Sequence[Json]) -> list[tuple[Envelope, str]]:
    """Envelope and body of each event of a received piece.

    Raises:
        MalformedEvent: it cannot be taken apart.
    """
    envelope, bodies, heads = arguments
    if type(bodies) is not list or type(heads) is not list or not is_sound(bodies, heads):
        raise MalformedEvent(name, "expected bodies, and as many ids")
    common = envelope_from_plain(envelope, name)
    return [
        (
            Envelope(
                message_id=message_id,
                correlation_id=correlation_id,
                source_component=common.source_component,
                timestamp=common.timestamp,
                causation_id=causation_id,
                reply_to=common.reply_to,
                shard=common.shard,
                topic=common.topic,
                fact=common.fact,
                wire=common.wire,
                namespace=common.namespace,
                source_role=common.source_role,
            ),
            body,
        )
        for body, (message_id, correlation_id, causation_id) in zip(bodies, heads, strict=True)
    ]
