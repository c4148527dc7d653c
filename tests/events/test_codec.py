"""Text that cannot be written again is refused where it comes in."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import MalformedEvent
from gleitzeitd.events.base import Envelope
from gleitzeitd.events.codec import decode_body, unflatten
from gleitzeitd.model.names import ComponentId

ENVELOPE = Envelope(message_id="m", correlation_id="c", source_component=ComponentId("client"))


@pytest.mark.parametrize("half", [r"\ud800", r"\uDFFF", r"x\udc00y"])
def test_half_a_character_is_refused(half):
    with pytest.raises(MalformedEvent):
        decode_body("query_status", ENVELOPE, f'{{"workflow_id": "{half}"}}')
    with pytest.raises(MalformedEvent):
        unflatten("query_status", {"workflow_id": "\ud800"}, lambda given: ENVELOPE)


@pytest.mark.parametrize("escaped", [r"\ud83d\ude00", r"\u00e9", r"\\ud800"])
def test_whole_characters_may_be_escaped(escaped):
    assert decode_body("query_status", ENVELOPE, f'{{"workflow_id": "{escaped}"}}').workflow_id
