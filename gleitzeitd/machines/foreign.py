"""What the hub does for a client that speaks the public form: one flat object per event.

It completes what the client left out. A reply that does not say whom it answers goes to whoever sent
the command: found by ``_causation_id``, else by workflow, task and attempt, else it is the newest
command of somebody who may get this reply. So a provider of ten lines works.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from gleitzeitd.errors import MalformedEvent
from gleitzeitd.events import CATALOGUE, Envelope, Kind, To
from gleitzeitd.events.codec import decode_body, envelope_to_plain, loads, unflatten
from gleitzeitd.machines.permissions import PLANS
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json, from_plain
from gleitzeitd.record import positional_record, record

_COMMANDS_KEPT = 1000
_EXACT = 2**53  # beyond it, other languages' numbers are not exact

Attempt = tuple[Json, Json, Json]
RoleOf = Callable[[str], Role | None]


@record
class Stamp:
    """What the runtime gives for an event that came without."""

    message_id: str
    correlation_id: str
    at: str


@positional_record
class _Command:
    message_id: str
    source: str
    correlation_id: str
    attempt: Attempt | None


class Foreign:
    """One foreign connection's translator."""

    def __init__(self, *, nesting: int, role_of: RoleOf) -> None:
        """``nesting`` is how deep a payload may be; ``role_of`` gives the role of a connected component."""
        self._nesting = nesting
        self._role_of = role_of
        self._commands: OrderedDict[str, _Command] = OrderedDict()
        self._attempts: dict[Attempt, _Command] = {}

    def outgoing(self, name: str, envelope: dict[str, Json], body: str) -> dict[str, Json]:
        """The flat form of what is delivered under ``name``; commands are remembered.

        Raises:
            MalformedEvent: the body is no JSON object.
        """
        try:
            flat = loads(body)
        except (ValueError, RecursionError) as problem:
            raise MalformedEvent(name, f"the body is no JSON: {problem}") from None
        if type(flat) is not dict:
            raise MalformedEvent(name, "the body is no JSON object")
        if CATALOGUE[envelope.get("_fact", name)].kind is Kind.COMMAND:
            self._remember(name, envelope, _attempt_of(flat))
        return {**flat, **envelope}

    def incoming(
        self, name: str, flat: Json, source: ComponentId, role: Role | None, stamp: Stamp
    ) -> tuple[dict[str, Json], str]:
        """The envelope, complete and in its wire form, and the body.

        Raises:
            UnknownEvent: it is not in the catalogue.
            MalformedEvent: the payload breaks the event's declaration, or is nothing that every language
                can read.
        """
        _check_plain(name, flat, self._nesting)
        command: _Command | None = None

        def fill(given: dict[str, Json]) -> Envelope:
            nonlocal command
            command = self._answered(name, role, given, _attempt_of(flat))
            if command is not None:
                given.setdefault("reply_to", command.source)
                if given["reply_to"] == command.source:
                    given.setdefault("causation_id", command.message_id)
                    given.setdefault("correlation_id", command.correlation_id)
            given.setdefault("message_id", stamp.message_id)
            given.setdefault("correlation_id", stamp.correlation_id)
            given.setdefault("timestamp", stamp.at)
            given.pop("fact", None)
            return from_plain(Envelope, {**given, "source_component": source}, f"{name}._")

        envelope, body = unflatten(name, flat, fill)
        event = decode_body(name, envelope, body)
        plain = envelope_to_plain(envelope)
        shard, topic = event.shard(), event.topic()
        if shard is not None:
            plain["_shard"] = shard
        if topic is not None:
            plain["_topic"] = topic
        return plain, body

    def _remember(self, name: str, envelope: dict[str, Json], attempt: Attempt | None) -> None:
        command = _Command(
            envelope["_message_id"], envelope["_source_component"], envelope["_correlation_id"], attempt
        )
        self._commands[command.message_id] = command
        if attempt is not None and name != "cancel_method":  # the answer is to the call, not to its cancel
            self._attempts[attempt] = command
        if len(self._commands) > _COMMANDS_KEPT:
            _, old = self._commands.popitem(last=False)
            if old.attempt is not None and self._attempts.get(old.attempt) is old:
                del self._attempts[old.attempt]

    def _answered(
        self, name: str, role: Role | None, given: dict[str, Json], attempt: Attempt | None
    ) -> _Command | None:
        if role is None:
            return None
        roles = {
            each for step in PLANS.get((name, role), ()) if step.to is To.COMPONENT for each in step.roles
        }
        if not roles:
            return None
        causation_id, reply_to = given.get("causation_id"), given.get("reply_to")
        if isinstance(causation_id, str):
            return self._commands.get(causation_id)
        if attempt is not None and attempt in self._attempts:
            return self._attempts[attempt]
        for command in reversed(self._commands.values()):
            if reply_to == command.source or (reply_to is None and self._role_of(command.source) in roles):
                return command
        return None


def _attempt_of(flat: Json) -> Attempt | None:
    if type(flat) is not dict or "attempt" not in flat:
        return None
    found = (flat.get("workflow_id"), flat.get("task_id"), flat["attempt"])
    return found if all(type(each) in (str, int) for each in found) else None


def _check_plain(name: str, value: Json, nesting: int) -> None:
    """Refuse what not every language can read, or only at the risk of its stack.

    Raises:
        MalformedEvent: too deep; a number that is not finite or not exact everywhere; half of a
            surrogate pair.
    """
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        kind = type(item)
        if kind is dict or kind is list:
            if depth > nesting:
                raise MalformedEvent(name, f"nested deeper than {nesting}")
            if kind is dict:
                waiting.extend((key, depth) for key in item)
                item = item.values()
            waiting.extend((each, depth + 1) for each in item)
        elif kind is str:
            if not _is_unicode(item):
                raise MalformedEvent(name, "a text holds half of a surrogate pair")
        elif kind is float:
            if not math.isfinite(item):
                raise MalformedEvent(name, f"{item} is no JSON number")
        elif kind is int and not -_EXACT <= item <= _EXACT:
            raise MalformedEvent(name, "a whole number beyond 2^53: send it as text")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
