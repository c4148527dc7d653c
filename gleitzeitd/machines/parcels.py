"""How much goes into one event, so that no frame outgrows what a hub takes.

A hub cuts the connection that a larger frame comes from. Whoever asks the same again on the next connection
would be cut again, for ever, and all that it does for others with it. So a list goes in several events where
it is heavy, and what is too heavy by itself is refused before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from json.encoder import encode_basestring_ascii
from typing import TypeVar

from gleitzeitd.events.codec import NESTING_LIMIT, dumps, is_nested_deeper
from gleitzeitd.plain import Json

PARCEL_SIZE = 4_000_000
"""What one event may weigh, unless its first item alone is heavier."""
VALUE_SIZE = 12_000_000
"""What the parameters or the result of one task may weigh, whatever hubs take."""
VALUE_NESTING = NESTING_LIMIT - 20
"""How deep they may be nested: events and pages are some levels more."""
FRAME_SIZE = 16 * 2**20
"""What a hub takes if it does not say otherwise."""
ASK_SHARE = 0.75
"""Of what a hub takes, the part that an ask may use: what is kept of it comes back with more around it."""
_GROWTH = 12
"""Characters that one character can become in a frame: two escapes, if it is beyond the first plane."""

T = TypeVar("T")


def frame_size(body: str, limit: int) -> int:
    """What a body takes in a frame, where it is JSON text in JSON; exact if it can be more than ``limit``."""
    return len(body) if len(body) * _GROWTH + 2 <= limit else len(encode_basestring_ascii(body))


def weight(value: Json) -> int:
    """What a value takes in a frame; exact if that is much.

    Raises:
        ValueError, RecursionError: it has no JSON form.
    """
    return frame_size(dumps(value), PARCEL_SIZE)


def value_problem(value: Json, text: str, setting: str, most: int = VALUE_SIZE) -> str:
    """Why a task cannot be given ``value``, or give it back: ``too large``, ``nested too deep``; or nothing.

    ``text`` is its JSON form; ``most`` is the value of the setting that is its limit.
    """
    if (size := frame_size(text, most)) > most:
        return f"too large: {size} bytes as they are sent, and {setting} is {most}"
    if text.count("[") + text.count("{") > VALUE_NESTING and is_nested_deeper(value, VALUE_NESTING):
        return f"nested too deep: more than {VALUE_NESTING} levels"
    return ""


def parcels(items: Sequence[T], weigh: Callable[[T], int], *, most: int) -> Iterator[list[T]]:
    """``items`` in their order, in lists of at most ``most``, each light enough for one event."""
    parcel: list[T] = []
    total = 0
    for item in items:
        total += (size := weigh(item))
        if parcel and (len(parcel) >= most or total > PARCEL_SIZE):
            yield parcel
            parcel, total = [], size
        parcel.append(item)
    if parcel:
        yield parcel
