"""What is fed: the hub's handling of frames, and that of every component, both in this process.

What a peer sends may be refused, dropped, or cost it its connection. It may not raise anything else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from gleitzeitd.errors import MalformedEvent, UnknownEvent
from gleitzeitd.events import CATALOGUE, COMPONENTS, FIRST_WIRE, delivered_names, receivers
from gleitzeitd.events.codec import encode_body
from gleitzeitd.events.hub import ComponentRegistered
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.link import Identity, Link
from gleitzeitd.model.access import full_grant
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.runtime.connection import read, unpacked
from gleitzeitd.runtime.fast_json import loads
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.hub_connection import Connection
from gleitzeitd.runtime.session import parsed_event
from tests.drive import AT, envelope
from tests.fuzz.draw import Draw, once_in
from tests.fuzz.frames import event_frame
from tests.test_hostile_events import machine

KEPT = 500
"""Frames that one machine, or one hub, gets before it is replaced."""
SENT = tuple(sorted(CATALOGUE))
SENT_BY = {
    role: tuple(name for name in SENT if any(role in each.senders for each in CATALOGUE[name].routes))
    for role in sorted(COMPONENTS)
}
"""What a role may send."""


class Caught(AssertionError):
    """Something was raised that nobody expects."""


class _Watch(logging.Handler):
    """Remembers what was logged with an exception."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(logging.Formatter().format(record))


@contextmanager
def watched() -> Iterator[_Watch]:
    """The log is quiet meanwhile; errors in it are kept."""
    logger, watch = logging.getLogger("gleitzeitd"), _Watch()
    before = logger.level, logger.propagate, logger.handlers[:]
    logger.handlers[:], logger.propagate = [watch], False
    logger.setLevel(logging.ERROR)
    try:
        yield watch
    finally:
        logger.level, logger.propagate, logger.handlers[:] = before[0], before[1], before[2]


def names_for(draw: Draw, role: Role) -> tuple[str, ...]:
    """What a component of the role sends; once in a while, anything."""
    return SENT if once_in(draw, 4) else SENT_BY[role]


class HubTarget:
    """A hub with two members of each role, one that speaks in envelopes and one in flat objects. Needs a
    running loop, and nothing of it: no timer expires.
    """

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._numbers = count()
        self._fed = 0
        self._server = self._new_server()
        self._members: list[tuple[Role, bool, Connection]] = []
        self.last = ""
        """The frame that was fed."""

    def _new_server(self) -> HubServer:
        settings = Settings(
            outbound_messages=100_000, max_unregistered=100, refusals_per_minute=100_000, refusal_pause=0.001
        )
        return HubServer(settings, gate=Gate.open())

    def _renew(self) -> None:
        self._server = self._new_server()
        self._members = [
            (role, own, self._join(role, own)) for role in sorted(COMPONENTS) for own in (True, False)
        ]

    def _join(self, role: Role, own: bool) -> Connection:
        server, number = self._server, next(self._numbers)
        request = SimpleNamespace(remote="127.0.0.1", transport=None, headers={})
        connection = server.opened(f"e{number}", cast("Any", request))
        name = f"{role.value}-{1 if own else 2}"
        server.hub.connected(connection.number, name, role.value, full_grant("fuzz"))
        connection.admitted = True
        said = {"component_id": name, "component_type": role.value, "epoch": number}
        if own:
            said["capabilities"] = ["envelope", "batch", "bundle"]
        server.frame(connection, f"42{encoded(['register_component', said])}")
        if server.hub.members.named(name) is None:
            raise Caught(f"{name} could not join")
        return connection

    def feed(self, draw: Draw) -> str:
        """One frame, from one of the members; returns it."""
        if not self._members or self._fed % KEPT == 0:
            self._renew()
        self._fed += 1
        at = draw.below(len(self._members))
        role, _, connection = self._members[at]
        self.last = text = event_frame(draw, names_for(draw, role))
        self._send(connection, text)
        self._again(at)
        return text

    def feed_text(self, text: str) -> None:
        """A given frame, from one of the members."""
        if not self._members or self._fed % KEPT == 0:
            self._renew()
        self._fed += 1
        at = self._fed % len(self._members)
        self._send(self._members[at][2], text)
        self._again(at)

    def _again(self, at: int) -> None:
        """The member joins again, if it was cut."""
        role, own, connection = self._members[at]
        if connection.closing or self._server.hub.members.at(connection.number) is None:
            self._members[at] = (role, own, self._join(role, own))

    def replay(self, text: str) -> None:
        """The same frame from everybody."""
        self._renew()
        for _, _, connection in self._members:
            if not connection.closing:
                self._send(connection, text)

    def _send(self, connection: Connection, text: str) -> None:
        self._server.frame(connection, text)
        if self._watch.seen:
            raise Caught(f"{self._watch.seen.pop()}\n{text[:2000]!r}")
        for _, _, each in self._members:
            empty(each)


def empty(connection: Connection) -> None:
    """Take what waits for the peer, as its writer would."""
    while len(connection.outbox):
        taking = connection.outbox.take(batch=True)
        with suppress(StopIteration):
            taking.send(None)


class ComponentTarget:
    """One component of a role: what its hub sends is read, decoded and handled."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.names = tuple(sorted(name for name in delivered_names() if role in receivers(name)))
        self._numbers = count()
        self._fed = 0
        self._now = 0.0
        self._link = self._new()
        self.last = ""
        """The frame that was fed."""

    def _new(self) -> Link:
        me = ComponentId("me")
        link = Link(
            machine(self.role),
            Identity(component_id=me, role=self.role, epoch=1),
            lambda: f"c{next(self._numbers)}",
        )
        link.connected("hub", self._now, AT)
        registered = ComponentRegistered(
            component_id=me,
            component_type=self.role,
            capabilities=["envelope", "batch", "bundle"],
            heartbeat_interval=1.0,
            hub_id="hub",
            wire=FIRST_WIRE,
        )
        about = envelope(registered, message_id="welcome")
        link.received("hub", registered.name, about, encode_body(registered), self._now, AT)
        return link

    def feed(self, draw: Draw) -> str:
        """One frame; returns it."""
        if self._fed % KEPT == 0:
            self._link = self._new()
        self._fed += 1
        self._now += draw.below(4) / 4
        self.last = text = event_frame(draw, self.names or SENT)
        self.replay(text)
        return text

    def replay(self, text: str) -> None:
        """As the connection and the component's inbox do it."""
        try:
            event = parsed_event(text)
            if event is not None:
                self._packet(str(event[0]), event[1:])
            self._link.settle(self._now, AT)
        except Exception as problem:
            raise Caught(f"{self.role}: {type(problem).__name__}: {problem}\n{text[:2000]!r}") from problem

    def _packet(self, name: str, arguments: list[Any]) -> None:
        for one, its_arguments in unpacked(name, arguments):
            with suppress(MalformedEvent):
                for about, body in read(one, its_arguments, lambda: f"m{next(self._numbers)}"):
                    with suppress(MalformedEvent, UnknownEvent):
                        self._link.received("hub", one, about, body, self._now, AT)


def encoded(value: Any) -> str:
    """JSON, as every client would write it."""
    text = json.dumps(value)
    assert loads(text) == value
    return text
