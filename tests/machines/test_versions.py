"""A release, the one before it, and the one after it, on one wire: in every direction."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gleitzeitd.errors import WireUnsupported
from gleitzeitd.events import Envelope, WireRange
from gleitzeitd.events import hub as h
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events.codec import dumps, encode_body
from gleitzeitd.machines.base import Ask, Deliver, Disconnect, Send
from gleitzeitd.machines.clocks import clock_offset
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.link import Identity, Link, Refused, Registered, Transmit
from gleitzeitd.model.access import full_grant
from gleitzeitd.model.names import ComponentId, Role
from tests.machines.link_session import FIND, Puppet

AT = "2026-01-01T00:00:00.000Z"
BEFORE, NOW, NEXT = WireRange(1, 1), WireRange(1, 2), WireRange(2, 3)
A = "http://a"


def hub(speaks: WireRange) -> Hub:
    made = Hub(ComponentId("hub-1"), Settings(), version="5", wire=speaks)
    made.start(100.0, AT)
    return made


def join(made: Hub, wire: list[int] | None, **more: Any) -> list[Any]:
    """A component registers; what it says is put by hand, as another release would."""
    made.opened("1", "127.0.0.1")
    made.connected("1", None, None, full_grant("us"))
    said = {"component_id": "c", "component_type": "execution_engine", "capabilities": ["envelope"], **more}
    envelope: dict[str, Any] = {"_message_id": "m", "_correlation_id": "c" * 32}
    if wire is not None:
        said["wire"] = wire
        if wire[1:] and wire[1] > 1:
            envelope["_wire"] = wire[1]
    return made.received("1", "register_component", envelope, dumps(said), 100.0, AT)


def answer(effects: list[Any], kind: type) -> Any:
    (found,) = [each.event for each in effects if isinstance(each, Send) and isinstance(each.event, kind)]
    return found


def link(speaks: WireRange) -> Link:
    me = Identity(component_id=ComponentId("c"), role=Role.EXECUTION_ENGINE, epoch=1, wire=speaks)
    return Link(Puppet(), me, lambda: "c" * 32)


def hear(of: Link, event: Any, **envelope: Any) -> list[Any]:
    made = Envelope(
        message_id=f"m{event.name}", correlation_id="d", source_component=ComponentId("x"), **envelope
    )
    return of.received(A, event.name, made, encode_body(event), 0.0, AT)


@pytest.mark.parametrize(
    ("ours", "theirs", "spoken"),
    [
        (BEFORE, None, 1),
        (BEFORE, [1, 2], 1),
        (NOW, None, 1),
        (NOW, [1, 1], 1),
        (NOW, [1, 2], 2),
        (NOW, [2, 3], 2),
        (NEXT, [1, 2], 2),
    ],
)
def test_a_hub_and_a_component_speak_the_newest_that_both_know(
    ours: WireRange, theirs: list[int] | None, spoken: int
) -> None:
    made = hub(ours)
    assert answer(join(made, theirs), h.ComponentRegistered).wire == spoken
    member = made.members.at("1")
    assert member is not None
    assert member.info(100.0).wire == spoken


@pytest.mark.parametrize(
    ("ours", "theirs", "who"),
    [
        (NEXT, None, "the component"),
        (NEXT, [1, 1], "the component"),
        (BEFORE, [2, 3], "the hub"),
        (NOW, [3, 4], "the hub"),
    ],
)
def test_a_component_too_old_or_too_new_is_refused_and_told_what_to_upgrade(
    ours: WireRange, theirs: list[int] | None, who: str
) -> None:
    effects = join(hub(ours), theirs, version="4.9")
    error = answer(effects, h.RegistrationRefused).error
    assert (error.code, error.name) == (-25007, "WIRE_VERSION_UNSUPPORTED")
    assert "(version 4.9)" in error.message
    assert error.message.endswith(f"upgrade {who}")
    assert isinstance(effects[-1], Disconnect)


@pytest.mark.parametrize("theirs", [[2, 1], [0, 1], [1], [1, 2, 3]])
def test_what_is_no_range_of_versions_is_refused(theirs: list[int]) -> None:
    error = answer(join(hub(NOW), theirs), h.RegistrationRefused).error
    assert error.code == WireUnsupported.code


def test_a_hub_registers_a_newer_component_that_says_more_than_it_knows() -> None:
    effects = join(hub(NOW), [2, 3], mood="good")
    assert answer(effects, h.ComponentRegistered).wire == 2


def test_a_component_says_what_it_speaks_and_stamps_what_it_sends() -> None:
    (hello,) = link(NEXT).connected(A, 0.0, AT)
    assert isinstance(hello, Transmit)
    assert json.loads(hello.body)["wire"] == [2, 3]
    assert hello.envelope.wire == 3
    (older,) = link(BEFORE).connected(A, 0.0, AT)
    assert isinstance(older, Transmit)
    assert older.envelope.wire is None


@pytest.mark.parametrize(("speaks", "spoken", "well"), [(NOW, 1, True), (NEXT, 2, True), (NEXT, 1, False)])
def test_a_component_does_not_work_with_a_hub_that_is_too_old(
    speaks: WireRange, spoken: int, well: bool
) -> None:
    one = link(speaks)
    one.connected(A, 0.0, AT)
    registered = h.ComponentRegistered(
        component_id=ComponentId("c"),
        component_type=Role.EXECUTION_ENGINE,
        heartbeat_interval=1.0,
        hub_id="hub-1",
        wire=spoken,
    )
    actions = hear(one, registered)
    assert one.is_registered() is well
    assert isinstance(actions[0], Registered if well else Refused)
    if not well:
        assert actions[0].error.code == WireUnsupported.code


def test_a_newer_component_is_understood_by_an_older_one_by_way_of_an_older_hub() -> None:
    made = hub(NOW)
    join(made, [2, 3])
    made.opened("2", "127.0.0.1")
    made.connected("2", None, None, full_grant("us"))
    said = {"component_id": "r", "component_type": "protocol_registry", "capabilities": ["envelope"]}
    first = {"_message_id": "m2", "_correlation_id": "c" * 32}
    made.received("2", "register_component", first, dumps(said), 100.0, AT)
    envelope: dict[str, Any] = {
        "_message_id": "m3",
        "_correlation_id": "c" * 32,
        "_reply_to": "c",
        "_wire": 3,
    }
    body = dumps({"providers": [], "news": True})
    effects = made.received("2", "provider_found", envelope, body, 100.0, AT)
    assert [each.to for each in effects if isinstance(each, Deliver)] == [("1",)]
    assert envelope["_wire"] == 3  # it goes on with the body, unread

    older = link(NOW)
    older.connected(A, 0.0, AT)
    registered = h.ComponentRegistered(
        component_id=ComponentId("c"),
        component_type=Role.EXECUTION_ENGINE,
        heartbeat_interval=1.0,
        hub_id="hub-1",
    )
    hear(older, registered)
    older.perform([Ask("f", FIND)], 0.0, AT)
    got = Envelope(message_id="m3", correlation_id="d", source_component=ComponentId("r"), wire=3)
    older.received(A, "provider_found", got, body, 0.0, AT)
    machine = older.machine
    assert isinstance(machine, Puppet)
    assert [what[1] for what in machine.heard if isinstance(what, tuple)] == [r.ProviderFound(providers=[])]


# --- clocks


@pytest.mark.parametrize(
    ("stamp", "offset"),
    [
        ("2026-01-01T00:00:01.500Z", 0.0),  # between question and answer
        ("2026-01-01T00:00:05.000Z", 3.0),
        ("2025-12-31T23:59:31.000+00:00", -30.0),
        ("2026-01-01T00:00:05.000", 3.0),
        ("", None),
        ("noon", None),
    ],
)
def test_a_clock_differs_by_what_the_way_there_and_back_cannot_explain(
    stamp: str, offset: float | None
) -> None:
    assert clock_offset(stamp, "2026-01-01T00:00:01.000Z", "2026-01-01T00:00:02.000Z") == offset


def test_the_hub_knows_whose_clock_is_off_from_answers_to_its_last_heartbeat() -> None:
    made = hub(NOW)
    join(made, [1, 1])
    made.timer_expired("beat", 101.0, "2026-01-01T00:00:01.000Z")
    made.timer_expired("beat", 102.0, "2026-01-01T00:00:02.000Z")
    for number, stamp in ((1, "2026-01-01T01:00:00.000Z"), (2, "2026-01-01T00:00:09.000Z")):
        envelope = {"_message_id": f"b{number}", "_correlation_id": "c" * 32, "_timestamp": stamp}
        body = dumps({"number": number})
        made.received("1", "heartbeat_response", envelope, body, 102.1, "2026-01-01T00:00:02.100Z")
        member = made.members.at("1")
        assert member is not None
        assert member.info(102.1).clock_offset == (None if number == 1 else 6.9)
