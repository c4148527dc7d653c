"""What waits for a hub, and how events look on the wire."""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import GleitzeitError, HubUnreachable, MalformedData, MalformedEvent
from gleitzeitd.events import Envelope
from gleitzeitd.events.codec import envelope_to_plain
from gleitzeitd.machines.link import Transmit
from gleitzeitd.model.names import ComponentId
from gleitzeitd.runtime import connection as connection_module
from gleitzeitd.runtime.connection import (
    BATCH_BYTES,
    BATCH_EVENTS,
    LAST_DELAY,
    Connection,
    HubLink,
    LinkSettings,
    Outbox,
    read,
    retry_delay,
    unpacked,
)

ENVELOPE = Envelope(message_id="m", correlation_id="c", source_component=ComponentId("me"))


def item(name: str, body: str = "{}", *, control: bool = False) -> Transmit:
    return Transmit("hub", name, ENVELOPE, body, control)


def outbox(*items: Transmit, batches: bool = True, limit: int = 10_000) -> Outbox:
    made = Outbox(limit, 1 << 30)
    made.batches = batches
    for one in items:
        made.put(one)
    return made


@given(st.lists(st.tuples(st.booleans(), st.integers(0, BATCH_BYTES // 2)), max_size=30), st.booleans())
def test_everything_leaves_once_in_the_order_of_its_lane_in_bounded_packets(
    waiting: list[tuple[bool, int]], batches: bool
) -> None:
    items = [item(str(n), "x" * size, control=control) for n, (control, size) in enumerate(waiting)]

    async def drained() -> list[list[str]]:
        box = outbox(*items, batches=batches)
        packets = []
        while len(box):
            name, arguments = await box.take()
            events = arguments[0] if name == "batch" else [[name, *arguments]]
            assert len(events) <= BATCH_EVENTS
            assert len(events) == 1 or sum(len(e[2]) for e in events) <= BATCH_BYTES
            assert batches or len(events) == 1
            packets.append([e[0] for e in events])
        return packets

    sent = [name for packet in asyncio.run(drained()) for name in packet]
    control = [str(n) for n, (is_control, _) in enumerate(waiting) if is_control]
    bulk = [str(n) for n, (is_control, _) in enumerate(waiting) if not is_control]
    assert sent == control + bulk


async def test_a_full_outbox_takes_nothing_more() -> None:
    box = outbox(item("a"), limit=1)
    assert not box.put(item("b"))
    assert [len(box), (await box.take())[0]] == [1, "a"]
    assert box.put(item("c"))


async def test_the_size_of_what_waits_is_bounded_too() -> None:
    box = Outbox(10, 100)
    assert box.put(item("a", "x" * 60))
    assert not box.put(item("b", "x" * 60))


async def test_an_outbox_is_idle_when_what_was_taken_is_sent() -> None:
    box = outbox(item("a"))
    await box.take()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(box.idle(), 0.01)  # it is under way
    taking = asyncio.gather(box.take())
    await asyncio.wait_for(box.idle(), 1)
    box.put(item("b"))
    assert (await taking)[0][0] == "b"
    box.abandon()
    await asyncio.wait_for(box.idle(), 1)


@given(
    st.one_of(
        st.none(),
        st.text(),
        st.lists(st.one_of(st.text(), st.lists(st.text()))),
        st.dictionaries(st.text(), st.text()),
    )
)
def test_whatever_comes_is_read_or_refused(payload: Any) -> None:
    for name, arguments in unpacked("batch", [payload]):
        try:
            read(name, arguments, lambda: "id")
        except MalformedEvent as problem:
            assert str(problem)


def test_our_own_form_and_the_public_one_say_the_same() -> None:
    ours = read("e", [envelope_to_plain(ENVELOPE), '{"a":1}'], lambda: "new")
    assert ours == [(ENVELOPE, '{"a":1}')]
    assert read("e", [{"a": 1, **envelope_to_plain(ENVELOPE)}], lambda: "new") == ours
    assert read("e", [{}], lambda: "new")[0][0].message_id == "new"


@given(st.integers(0, 10_000))
def test_no_delay_is_longer_than_the_last(failures: int) -> None:
    assert 0 <= retry_delay(failures) <= LAST_DELAY


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://hub", "http://", "https:///", ""])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(MalformedData, match="hub_urls: expected addresses like http://hub:8000, found"):
        LinkSettings(hub_urls=["http://good:1", url])


class Nobody:
    """An owner to whom nothing matters."""

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def received(self, connection: Connection, name: str, arguments: Any) -> None: ...

    def fail(self, problem: GleitzeitError) -> None: ...


class DeafWire:
    """Cannot connect, or goes on as if nobody had cancelled what waits for it."""

    def __init__(self, *, connects: bool) -> None:
        self.connects = connects
        self.closing = asyncio.Event()
        self.closed = False
        self.sending = asyncio.Event()
        self.stubborn = asyncio.Event()

    async def connect(self, url: str, auth: Any, on_event: Any, on_end: Any) -> None:
        if not self.connects:
            raise HubUnreachable("nobody there")

    async def send(self, name: str, arguments: list[Any]) -> None:
        self.sending.set()
        while not self.stubborn.is_set():
            with suppress(asyncio.CancelledError):
                await self.stubborn.wait()

    def is_closed(self) -> bool:
        return False

    async def close(self) -> None:
        self.closing.set()
        if not self.connects:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        self.closed = True


async def test_a_link_that_is_cancelled_while_it_closes_a_connection_ends() -> None:
    wire = DeafWire(connects=False)
    link = HubLink("http://hub:1", Nobody(), {}, LinkSettings(), new_wire=lambda: wire, is_client=False)
    running = asyncio.ensure_future(link.run())
    await wire.closing.wait()
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=5)
    assert done == {running}
    assert running.cancelled()
    assert wire.closed


async def test_a_connection_that_is_cancelled_twice_closes_its_wire() -> None:
    wire = DeafWire(connects=True)
    connection = Connection("http://hub:1", Nobody(), wire, LinkSettings(), lambda: None)
    connection.outbox.put(item("x"))
    running = asyncio.ensure_future(connection.run({}))
    await wire.sending.wait()
    running.cancel()  # now it waits for its writer, which is deaf
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running}, timeout=5)
    wire.stubborn.set()
    assert wire.closed


class BrokenWire(DeafWire):
    """Has a bug."""

    async def send(self, name: str, arguments: list[Any]) -> None:
        raise ZeroDivisionError


async def test_a_bug_in_writing_ends_the_connection_and_is_not_kept_secret() -> None:
    wire = BrokenWire(connects=True)
    connection = Connection("http://hub:1", Nobody(), wire, LinkSettings(), lambda: None)
    connection.outbox.put(item("x"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(connection.run({}), 2)
    assert wire.closed


class ScriptedWire(DeafWire):
    """A hub that registers us, and then goes: with a goodbye, or without."""

    def __init__(self, end: str) -> None:
        super().__init__(connects=end != "absent")
        self.end = end

    async def close(self) -> None:
        self.closed = True


class Guest(Nobody):
    """Whose hub does what the wires say; after the last one it is cancelled."""

    def __init__(self, *ends: str) -> None:
        self.wires = [ScriptedWire(end) for end in ends]
        self.left = asyncio.Event()

    def wire(self) -> ScriptedWire:
        self.now = self.wires.pop(0) if self.wires else ScriptedWire("absent")
        if not self.wires:
            self.left.set()
        return self.now

    def connected(self, connection: Connection) -> None:
        connection.accepted(frozenset())
        if self.now.end == "goodbye":
            connection.goodbye("the hub is stopping")
        else:
            connection.leave("the connection is closed")


async def told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, away: float, *ends: str
) -> list[tuple[str, str]]:
    """Levels and messages, when a hub behaves so, and each look at the clock takes ``away`` seconds."""
    caplog.set_level(logging.INFO)
    ticks = itertools.count(0.0, away)
    monkeypatch.setattr(connection_module, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(connection_module, "retry_delay", lambda failures: 0.0)
    guest = Guest(*ends)
    link = HubLink("http://hub:1", guest, {}, LinkSettings(), new_wire=guest.wire, is_client=False)
    running = asyncio.ensure_future(link.run())
    await asyncio.wait_for(guest.left.wait(), 5)
    running.cancel()
    await asyncio.wait({running}, timeout=5)
    return [(r.levelname, r.message) for r in caplog.records if r.name == connection_module.__name__]


async def test_a_hub_that_said_goodbye_and_comes_back_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = await told_of(monkeypatch, caplog, 0.5, "goodbye", "absent", "absent", "goodbye", "absent")
    assert {level for level, _ in told} == {"INFO"}
    assert [m for _, m in told] == ["connected to a hub", "a hub has said goodbye"] * 2


async def test_a_hub_that_said_goodbye_and_stays_away_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = await told_of(monkeypatch, caplog, 6.0, "goodbye", *["absent"] * 8)
    assert [m for level, m in told if level == "WARNING"] == ["a hub is not connected"]


async def test_a_hub_that_goes_without_a_word_is_a_warning_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = await told_of(monkeypatch, caplog, 0.01, "crash", "absent", "absent")
    assert told[:2] == [("INFO", "connected to a hub"), ("WARNING", "a hub is not connected")]
