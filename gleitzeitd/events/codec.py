"""Events to their two forms on the wire and back, checked against their declarations.

Between our own components an event is ``emit(name, envelope, body)``, the body being JSON *text*:
the hub reads the small envelope and passes the text on unread. The public form, for clients in any
language, is one flat object, ``emit(name, {...})``, with the envelope's keys among the event's own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from gleitzeitd.errors import MalformedData, MalformedEvent, UnknownEvent
from gleitzeitd.events.base import CATALOGUE, RENAMED, WIRE, Envelope, Event
from gleitzeitd.plain import Json, from_plain, known_only, to_plain

_KEYS = {name: f"_{name}" for name in Envelope.__dataclass_fields__}
_NAMES = {key: name for name, key in _KEYS.items()}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

NESTING_LIMIT = 200
"""How deep a body may be nested: far below where a walk through it would run out of stack."""


def dumps(value: Json) -> str:
    """Compact JSON text.

    Raises:
        ValueError: ``value`` holds NaN or an infinity, which break other languages' readers.
    """
    return _encode(value)


# json.dumps would make an encoder for every text.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number that every language has")
    return number


loads: Callable[[str], Json] = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode
"""The inverse of :func:`dumps`. What it reads can be written again.

Raises:
    ValueError: no JSON, or NaN or an infinity, however it is spelled.
    RecursionError: nested so deep that nothing is known of it.
"""


def is_nested_deeper(value: Json, limit: int = NESTING_LIMIT) -> bool:
    """Whether ``value`` is nested deeper than ``limit``; a list of numbers has depth 1."""
    level = [value] if type(value) in (dict, list) else []
    for _ in range(limit):
        inner = [each.values() if type(each) is dict else each for each in level]
        level = [each for items in inner for each in items if type(each) in (dict, list)]
        if not level:
            break
    return bool(level)


def _read(text: str) -> Json:
    """Raises ValueError, with what is wrong."""
    try:
        value = loads(text)
    except RecursionError:
        value = None
    else:
        # Counting is much cheaper than walking, and enough for nearly everything that comes.
        if text.count("[") + text.count("{") <= NESTING_LIMIT or not is_nested_deeper(value):
            return value
    raise ValueError(f"nested deeper than {NESTING_LIMIT}")


def envelope_to_plain(envelope: Envelope) -> dict[str, Json]:
    """The first argument on the wire; keys without a value are left out."""
    out: dict[str, Json] = {
        "_message_id": envelope.message_id,
        "_correlation_id": envelope.correlation_id,
        "_source_component": envelope.source_component,
    }
    for key, value in (
        ("_timestamp", envelope.timestamp),
        ("_causation_id", envelope.causation_id),
        ("_reply_to", envelope.reply_to),
        ("_shard", envelope.shard),
        ("_topic", envelope.topic),
        ("_fact", envelope.fact),
        ("_wire", envelope.wire),
        ("_namespace", envelope.namespace),
        ("_source_role", envelope.source_role),
        ("_subject", envelope.subject),
        ("_address", envelope.address),
    ):
        if value is not None and value != "":
            out[key] = value
    return out


def envelope_from_plain(data: Json, name: str) -> Envelope:
    """The inverse of :func:`envelope_to_plain`; unknown underscore keys are ignored, for newer senders.

    Raises:
        MalformedEvent: a key is missing or of the wrong type.
    """
    if type(data) is not dict:
        raise MalformedEvent(name, "the envelope is not an object")
    get: Callable[..., Any] = data.get  # its types are looked at below
    envelope = Envelope(
        message_id=get("_message_id"),
        correlation_id=get("_correlation_id"),
        source_component=get("_source_component"),
        timestamp=get("_timestamp", ""),
        causation_id=get("_causation_id"),
        reply_to=get("_reply_to"),
        shard=get("_shard"),
        topic=get("_topic"),
        fact=get("_fact"),
        wire=get("_wire"),
        namespace=get("_namespace"),
        source_role=get("_source_role"),
        subject=get("_subject"),
        address=get("_address"),
    )
    if _is_sound(envelope):
        return envelope
    # Something is wrong with it: this says what.
    known = {_NAMES[key]: value for key, value in data.items() if key in _NAMES}
    try:
        return from_plain(Envelope, known, f"{name}._")
    except MalformedData as problem:
        raise MalformedEvent(problem.path, problem.problem) from None


def _is_sound(envelope: Envelope) -> bool:
    return (
        type(envelope.message_id) is str
        and type(envelope.correlation_id) is str
        and type(envelope.source_component) is str
        and type(envelope.timestamp) is str
        and type(envelope.causation_id) in _TEXT_OR_NONE
        and type(envelope.reply_to) in _TEXT_OR_NONE
        and type(envelope.shard) in _INT_OR_NONE
        and type(envelope.topic) in _TEXT_OR_NONE
        and type(envelope.fact) in _TEXT_OR_NONE
        and type(envelope.wire) in _INT_OR_NONE
        and type(envelope.namespace) in _TEXT_OR_NONE
        and type(envelope.source_role) in _TEXT_OR_NONE
        and type(envelope.subject) in _TEXT_OR_NONE
        and type(envelope.address) in _TEXT_OR_NONE
    )


_TEXT_OR_NONE = frozenset({str, type(None)})
_INT_OR_NONE = frozenset({int, type(None)})


def encode_body(event: Event) -> str:
    """The event's own fields as JSON text."""
    return dumps(to_plain(event))


def decode_body(name: str, envelope: Envelope, body: str, newest: int = WIRE.newest) -> Event:
    """The event that was delivered under ``name``.

    Fields that it does not have are left out if its sender speaks a newer version of the wire than
    ``newest``; from others they are errors, since somebody has misspelled them.

    Raises:
        UnknownEvent: it is not in the catalogue.
        MalformedEvent: the body is no JSON, or breaks the declaration; the message names the field.
    """
    sent_as = envelope.fact or name
    if envelope.fact is not None and sent_as not in RENAMED.get(name, ()):
        raise MalformedEvent(f"{name}._fact", f"no {sent_as[:100]!r} is delivered as {name[:100]!r}")
    cls = CATALOGUE.get(sent_as)
    if cls is None:
        raise UnknownEvent(f"{sent_as}: no event of this name is in the catalogue")
    try:
        data = _read(body)
        if not body.isascii():
            body.encode()
        if _SURROGATE.search(body):
            dumps(data).encode()
        if envelope.wire is not None and envelope.wire > newest:
            data = known_only(cls, data)
        return from_plain(cls, data, sent_as)
    except ValueError as problem:
        raise MalformedEvent(sent_as, f"the body cannot be read: {problem}") from None
    except MalformedData as problem:
        raise MalformedEvent(problem.path, problem.problem) from None


def flatten(envelope: Envelope, body: str) -> dict[str, Json]:
    """The public form."""
    flat: dict[str, Json] = loads(body)
    flat.update(envelope_to_plain(envelope))
    return flat


def unflatten(name: str, flat: Json, fill: Callable[[dict[str, Json]], Envelope]) -> tuple[Envelope, str]:
    """The two parts of the public form; ``fill`` completes what a foreign client left out.

    Raises:
        MalformedEvent: not an object.
    """
    if flat is None:
        flat = {}
    if type(flat) is not dict:
        raise MalformedEvent(name, "the payload is not an object")
    given = {_NAMES[key]: value for key, value in flat.items() if key in _NAMES}
    body = {key: value for key, value in flat.items() if not key.startswith("_")}
    try:
        text = dumps(body)
        text.encode()  # half a character can be escaped in JSON, and written nowhere else
        return fill(given), text
    except MalformedData as problem:
        raise MalformedEvent(problem.path, problem.problem) from None
    except ValueError as problem:
        raise MalformedEvent(name, str(problem)) from None
