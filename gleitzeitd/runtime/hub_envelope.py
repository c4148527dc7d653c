"""What accompanies the events of the hub's own."""

from __future__ import annotations

from collections.abc import Callable

from gleitzeitd.events import FIRST_WIRE
from gleitzeitd.machines.base import Send
from gleitzeitd.model.names import ComponentId
from gleitzeitd.plain import Json
from gleitzeitd.runtime.clock import utc_now


def own_envelope(
    effect: Send, sender: ComponentId, newest: int, new_id: Callable[[], str]
) -> dict[str, Json]:
    """In its wire form; ``newest`` is the newest version of the wire that the hub speaks."""
    envelope: dict[str, Json] = {
        "_message_id": new_id(),
        "_correlation_id": effect.correlation_id or new_id(),
        "_source_component": sender,
        "_timestamp": utc_now(),
    }
    for key, value in (
        ("_causation_id", effect.causation_id),
        ("_reply_to", effect.reply_to),
        ("_topic", effect.event.topic()),
        ("_wire", newest if newest > FIRST_WIRE else None),
    ):
        if value is not None:
            envelope[key] = value
    return envelope
