"""What a release makes of events of the next one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gleitzeitd.errors import MalformedEvent
from gleitzeitd.events import WIRE, WireRange
from gleitzeitd.events.base import Envelope
from gleitzeitd.events.codec import decode_body, envelope_from_plain, envelope_to_plain
from gleitzeitd.model.names import ComponentId

ENVELOPE = Envelope(message_id="m", correlation_id="c", source_component=ComponentId("peer"))
NEWER = replace(ENVELOPE, wire=WIRE.newest + 1)
BODY = {
    "providers": [
        {"component_id": "p", "protocol": "echo/v1", "capacity": 1, "colour": "blue", "more": {"a": 1}},
    ],
    "protocols": [{"name": "echo/v1", "methods": {"echo/ping": {"parameters": {"any": "thing"}, "cost": 2}}}],
    "error": {"code": -1, "name": "X", "message": "m", "hint": "h"},
    "since": 3,
}


def test_what_a_newer_sender_has_added_is_left_out_however_deep() -> None:
    event = decode_body("provider_found", NEWER, json.dumps(BODY))
    plain = {
        "providers": [{"component_id": "p", "protocol": "echo/v1", "capacity": 1}],
        "protocols": [{"name": "echo/v1", "methods": {"echo/ping": {"parameters": {"any": "thing"}}}}],
        "error": {"code": -1, "name": "X", "message": "m"},
    }
    assert event == decode_body("provider_found", ENVELOPE, json.dumps(plain))


@pytest.mark.parametrize("envelope", [ENVELOPE, replace(ENVELOPE, wire=WIRE.newest)])
def test_from_others_an_unknown_field_is_an_error(envelope: Envelope) -> None:
    with pytest.raises(MalformedEvent, match="unknown key"):
        decode_body("provider_found", envelope, json.dumps(BODY))


def test_a_newer_sender_may_not_leave_out_or_change_what_there_was() -> None:
    for body in ({"found": []}, {"providers": 3}):
        with pytest.raises(MalformedEvent):
            decode_body("provider_found", NEWER, json.dumps(body))


def test_the_version_of_the_sender_and_what_it_adds_to_the_envelope_survive() -> None:
    plain = envelope_to_plain(NEWER)
    assert plain["_wire"] == WIRE.newest + 1
    assert envelope_from_plain({**plain, "_mood": "good"}, "x") == NEWER


def test_the_first_version_costs_nothing_on_the_wire() -> None:
    assert "_wire" not in envelope_to_plain(ENVELOPE)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [((1, 1), (1, 2), 1), ((1, 2), (2, 3), 2), ((1, 3), (1, 2), 2), ((1, 1), (2, 3), None)],
)
def test_the_newest_version_that_both_speak_is_spoken(
    one: tuple[int, int], other: tuple[int, int], common: int | None
) -> None:
    assert WireRange(*one).common(WireRange(*other)) == common
    assert WireRange(*other).common(WireRange(*one)) == common
