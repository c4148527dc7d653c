"""Events of one kind for one receiver travel as one piece, and arrive as they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import MalformedEvent
from gleitzeitd.events import Envelope
from gleitzeitd.events.codec import envelope_from_plain
from gleitzeitd.machines.link import Transmit
from gleitzeitd.model.names import ComponentId
from gleitzeitd.runtime.bundles import LONGEST, is_sound, pieces, read_bundle, singles
from gleitzeitd.runtime.connection import read, size_of, unpacked

NAMES = st.sampled_from(["task_started", "task_completed", "data_saved", "heartbeat_response"])
RECEIVERS = st.sampled_from([None, "a", "b"])


def transmit(number: int, name: str, to: str | None, topic: str | None, cause: str | None) -> Transmit:
    envelope = Envelope(
        message_id=f"m{number}",
        correlation_id=f"c{number % 2}",
        source_component=ComponentId("me"),
        timestamp="now",
        causation_id=cause,
        reply_to=None if to is None else ComponentId(to),
        topic=topic,
    )
    return Transmit("hub", name, envelope, f'{{"n":{number}}}', control=False)


transmits = st.lists(
    st.tuples(NAMES, RECEIVERS, st.sampled_from([None, "w"]), st.sampled_from([None, "x"])), max_size=30
).map(lambda made: [transmit(number, *each) for number, each in enumerate(made)])


def received(packet: list[Any]) -> list[Transmit]:
    """As a receiver reads it."""
    return [
        Transmit("hub", name, envelope, body, control=False)
        for name, arguments in unpacked("batch", [packet])
        for envelope, body in read(name, arguments, lambda: "new")
    ]


@given(transmits)
def test_all_arrive_and_those_for_one_receiver_in_their_order(items: list[Transmit]) -> None:
    packet = pieces(items)
    found = received(packet)
    assert len(found) == len(items) == size_of("batch", [packet])[0]
    for to in {item.envelope.reply_to for item in items}:
        mine = [item for item in items if item.envelope.reply_to == to]
        assert [item for item in found if item.envelope.reply_to == to] == mine


@given(transmits)
def test_a_hub_that_takes_a_piece_apart_finds_what_a_receiver_finds(items: list[Transmit]) -> None:
    for name, *rest in pieces(items):
        if len(rest) == 3:
            apart = [(envelope_from_plain(own, name), body) for own, body in singles(*rest)]
            assert apart == read_bundle(name, rest)


def test_what_belongs_together_is_one_piece() -> None:
    items = [
        transmit(n, "task_completed" if n % 2 else "data_saved", "e" if n % 2 else None, None, None)
        for n in range(8)
    ]
    assert [(piece[0], len(piece[2])) for piece in pieces(items)] == [
        ("data_saved", 4),
        ("task_completed", 4),
    ]


def test_what_is_for_the_hub_itself_stays_by_itself() -> None:
    items = [transmit(n, "register_component", None, None, None) for n in range(3)]
    assert [len(piece) for piece in pieces(items)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("bodies", "heads"),
    [
        ([], []),
        (["{}"], []),
        (["{}"], [["m", "c"]]),
        ([1], [["m", "c", None]]),
        (["{}"], [["m", "", None]]),
        (["{}"], [["m" * 2000, "c", None]]),
        (["{}"] * (LONGEST + 1), [["m", "c", None]] * (LONGEST + 1)),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(bodies: list[Any], heads: list[Any]) -> None:
    assert not is_sound(bodies, heads)
    envelope = {"_message_id": "m", "_correlation_id": "c", "_source_component": "s"}
    with pytest.raises(MalformedEvent):
        read_bundle("task_started", [envelope, bodies, heads])
