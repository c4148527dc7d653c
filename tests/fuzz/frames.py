"""Frames as they come over a websocket: sound ones, ones with something wrong, and noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gleitzeitd.events import CATALOGUE
from tests.fuzz.draw import Draw, once_in, pick
from tests.fuzz.values import COMPONENTS, NAMES, WORKFLOWS, Raw, body_of, wrong

NOISE = ("", "4", "42", "42[", "42[]", "42{}", "2", "3", "2probe", "5", "6", "41", "44", "40", "40{}", "7")
CUTS = ('"', "[", "{", "}", "]", ",", ":", "\\", "\\u", "null", "0", "-", "é", "\U0001f600", "\x00", "  ")

_MARK = "\ue000raw"  # no generated text holds a character for private use


def text_of(value: Any) -> str:
    """JSON text of a value in which there may be raw pieces."""
    raw: list[str] = []

    def marked(item: Any) -> Any:
        if type(item) is Raw:
            raw.append(item)
            return f"{_MARK}{len(raw) - 1}{_MARK}"
        if type(item) is list:
            return [marked(each) for each in item]
        if type(item) is dict:
            return {str(key): marked(each) for key, each in item.items()}
        return item

    text = json.dumps(marked(value), separators=(",", ":"), ensure_ascii=False)
    for number, piece in enumerate(raw):
        text = text.replace(f'"{_MARK}{number}{_MARK}"', piece)
    return escaped(text)


def escaped(text: str) -> str:
    """With halves of characters, which UTF-8 cannot hold, as JSON writes them."""
    if text.isascii():
        return text
    return "".join(f"\\u{ord(each):04x}" if "\ud800" <= each <= "\udfff" else each for each in text)


def envelope(draw: Draw) -> Any:
    """What accompanies an event, in its wire form."""
    made: dict[str, Any] = {
        "_message_id": f"m{draw.below(2**31)}",
        "_correlation_id": "c" * 32,
        "_source_component": pick(draw, COMPONENTS),
    }
    for key, values in _EXTRAS:
        if draw.below(3) == 0:
            made[key] = pick(draw, values)
    if once_in(draw, 12):
        made[pick(draw, [*made, "_source_component", "_fact", "_namespace", "_subject", "_x"])] = wrong(draw)
    if once_in(draw, 30):
        del made[pick(draw, [*made])]
    return made if not once_in(draw, 60) else wrong(draw)


_EXTRAS: tuple[tuple[str, Sequence[Any]], ...] = (
    ("_reply_to", COMPONENTS),
    ("_shard", (*range(16), -1, 16)),
    ("_topic", WORKFLOWS),
    ("_causation_id", ("m1", "m2", "", "register")),
    ("_timestamp", ("2026-01-01T00:00:00.000Z", "yesterday")),
    ("_fact", (*CATALOGUE, "x")),
    ("_wire", (1, 2, 0)),
)


def name_of(draw: Draw, names: Sequence[str]) -> str:
    """An event's name, once in a while of one that does not exist."""
    return (
        pick(draw, names) if not once_in(draw, 40) else pick(draw, ("connect", "disconnect", "*", "", *NAMES))
    )


def body(draw: Draw, name: str) -> Any:
    """What an event of this name may hold, or nearly."""
    known = name if name in CATALOGUE else pick(draw, tuple(CATALOGUE))
    return body_of(known)(draw) if not once_in(draw, 60) else wrong(draw)


def item(draw: Draw, names: Sequence[str]) -> list[Any]:
    """A piece of a packet: an event in one of its forms, or in none."""
    if once_in(draw, 6):
        return [name_of(draw, names), *(wrong(draw) for _ in range(draw.below(4)))]
    return piece(draw, names)


def piece(draw: Draw, names: Sequence[str]) -> list[Any]:
    """An event in one of its forms."""
    name = name_of(draw, names)
    match draw.below(5):
        case 0:
            flat = body(draw, name)
            return [name, {**flat, **envelope_or_none(draw)}] if type(flat) is dict else [name, flat]
        case 1 | 2 | 3:
            return [name, envelope(draw), text_of(body(draw, name))]
        case _:
            count = draw.below(4)
            heads = [[f"m{draw.below(2**31)}", "c" * 32, None] for _ in range(count)]
            bodies = [text_of(body(draw, name)) for _ in range(count if not once_in(draw, 8) else 2)]
            if heads and once_in(draw, 8):
                heads[0] = wrong(draw)
            return [name, envelope(draw), bodies, heads]


def envelope_or_none(draw: Draw) -> dict[str, Any]:
    """What a foreign client may add to its own fields."""
    made = envelope(draw) if draw.below(2) else {}
    return made if type(made) is dict else {}


def event_frame(draw: Draw, names: Sequence[str]) -> str:
    """A packet of events, ``42[...]``; it may be broken."""
    if draw.below(4) == 0:
        pieces: Any = [item(draw, names) for _ in range(draw.below(5))]
        packet = ["batch", pieces if not once_in(draw, 20) else wrong(draw)]
    else:
        packet = item(draw, names)
    text = "42" + text_of(packet)
    return text if not once_in(draw, 6) else damaged(draw, text)


def likely_frame(draw: Draw, names: Sequence[str]) -> str | bytes:
    """What does not often end a connection at once."""
    return frame(draw, names) if once_in(draw, 30) else "42" + text_of(piece(draw, names))


def damaged(draw: Draw, text: str) -> str:
    """With a piece cut out, put in, or repeated."""
    for _ in range(1 + draw.below(3)):
        at, size = draw.below(len(text) + 1), draw.below(12)
        match draw.below(3):
            case 0:
                text = text[:at] + text[at + size :]
            case 1:
                text = text[:at] + pick(draw, CUTS) + text[at:]
            case 2:
                text = text[:at] + text[at : at + size] * 2 + text[at + size :]
    return text


def frame(draw: Draw, names: Sequence[str]) -> str | bytes:
    """Anything that can come over a websocket."""
    match draw.below(16):
        case 0:
            return pick(draw, NOISE)
        case 1:
            return damaged(draw, pick(draw, NOISE))
        case 2:
            return event_frame(draw, names).replace("42", f"42{draw.below(100)}", 1)
        case 3:
            attachments = draw.below(3) if not once_in(draw, 4) else 10**9
            return event_frame(draw, names).replace("42", f"45{attachments}-", 1)
        case 4:
            return event_frame(draw, names).replace("42", "42/other,", 1)
        case 5:
            return bytes(draw.below(256) for _ in range(draw.below(20)))
    return event_frame(draw, names)
