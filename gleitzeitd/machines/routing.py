"""Where an event goes: the members that a step of its plan leads to, and what an envelope has to say."""

from __future__ import annotations

from gleitzeitd.errors import MalformedEvent, NotPermitted
from gleitzeitd.events import To
from gleitzeitd.events.hub import NoComponentsAvailable
from gleitzeitd.machines.members import Member, Members
from gleitzeitd.machines.namespaces import check_topic
from gleitzeitd.machines.permissions import Plan, Step
from gleitzeitd.model.names import SHARDS, ComponentId, Role
from gleitzeitd.plain import Json

TEXT_LIMIT = 1000
"""Characters of an envelope's value."""
_KEYS_LIMIT = 32  # keys of an envelope, those of newer senders among them


def stamp(envelope: dict[str, Json], sender: Member, plan: Plan) -> None:
    """Write what only the hub may say, over whatever the sender has said.

    Raises:
        NotPermitted: the sender says itself that the event is about a workflow outside of its namespace.
    """
    envelope["_source_component"] = sender.component_id
    for key in _STAMPS:
        envelope.pop(key, None)
    if sender.namespace is not None:
        envelope["_namespace"] = sender.namespace
        check_topic(envelope.get("_topic"), sender.namespace)
    if sender.role is Role.CLIENT:  # whoever asks for something is in the audit
        envelope["_subject"], envelope["_address"] = sender.grant.subject, sender.address
    if plan[0].stamped:
        envelope["_source_role"] = sender.role.value


_STAMPS = ("_fact", "_namespace", "_source_role", "_subject", "_address")


def recipients(members: Members, step: Step, name: str, envelope: dict[str, Json]) -> list[Member]:
    """The members that a step leads to.

    Raises:
        MalformedEvent: the envelope does not say which shard or which component.
        NotPermitted: the component that it names may not get this.
    """
    match step.to:
        case To.ONE:
            chosen = members.choose(step.roles[0])
            return [] if chosen is None else [chosen]
        case To.OWNER:
            shard = envelope.get("_shard")
            if shard is None or not 0 <= shard < SHARDS:
                raise MalformedEvent(f"{name}._shard", f"expected 0 to {SHARDS - 1}, found {shard}")
            owner = members.owner(step.roles[0], shard)
            return [] if owner is None else [owner]
        case To.COMPONENT:
            return _addressee(members, step, name, envelope.get("_reply_to"))
        case To.ALL:
            return [member for role in step.roles for member in members.of(role)]
        case To.WATCHERS:
            return members.watchers(envelope.get("_topic"))
        case To.EVERYBODY | To.HUB:
            return list(members)


def _addressee(members: Members, step: Step, name: str, reply_to: str | None) -> list[Member]:
    if reply_to is None:
        if step.only:
            raise MalformedEvent(f"{name}._reply_to", "missing: it says which component gets the event")
        return []
    member = members.named(reply_to)
    if member is not None and member.role not in step.roles:
        raise NotPermitted(f"{name}: {reply_to} is a {member.role}, which does not get this")
    return [] if member is None else [member]


def nobody(step: Step, name: str, envelope: dict[str, Json]) -> NoComponentsAvailable:
    """What the sender hears when a step found no receiver."""
    reply_to = envelope.get("_reply_to")
    return NoComponentsAvailable(
        event=name,
        component_type=step.roles[0] if len(step.roles) == 1 else None,
        component_id=ComponentId(reply_to) if step.to is To.COMPONENT and reply_to else None,
        shard_without_owner=envelope.get("_shard") if step.to is To.OWNER else None,
    )


def check_envelope(name: str, envelope: dict[str, Json]) -> None:
    """Check what the hub reads of an envelope; keys of newer senders pass, if they are small.

    Raises:
        MalformedEvent: a value is missing, of the wrong type, or too long.
    """
    if not envelope.get("_message_id"):
        raise MalformedEvent(f"{name}._message_id", "missing")
    if not envelope.get("_correlation_id"):
        raise MalformedEvent(f"{name}._correlation_id", "missing")
    if len(envelope) > _KEYS_LIMIT:
        raise MalformedEvent(f"{name}._", f"more than {_KEYS_LIMIT} keys")
    for key, value in envelope.items():
        kind = type(value)
        if kind is str:
            if len(value) > TEXT_LIMIT:
                raise MalformedEvent(f"{name}.{key}", f"expected at most {TEXT_LIMIT} characters")
            if key == "_shard":
                raise MalformedEvent(f"{name}.{key}", "expected a whole number, found text")
        elif value is not None and (kind is not int or key in _TEXTS):
            raise MalformedEvent(f"{name}.{key}", "has the wrong type")


_TEXTS = frozenset(
    {
        "_message_id",
        "_correlation_id",
        "_causation_id",
        "_source_component",
        "_timestamp",
        "_reply_to",
        "_topic",
        "_namespace",
        "_source_role",
        "_subject",
        "_address",
    }
)
