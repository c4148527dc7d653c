"""The hub's doors: every TCP connection, from being accepted until its websocket has an owner.

A connection is *new* until its HTTP request is complete, which this module reads itself, so that whoever
sends nothing, or half a header, costs a few kilobytes for a few seconds. Then it is handed to aiohttp. A
*page* ends with its answer. A *websocket* may send little until its token was accepted, and after that no
message longer than allowed; what has come of messages that are not complete is counted, for each connection
and for all of the limited ones (clients, foreign components) together.

The door stays the transport's protocol, in front of aiohttp's: writing does not pass it, and reading costs
one call for each piece that the system hands over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.limits import Bucket, Pool
from gleitzeitd.runtime.clock import monotonic
from gleitzeitd.runtime.hub_address import is_loopback
from gleitzeitd.runtime.hub_request import Refusal, answer, page_problem, read_head

_FRAMING = 512 * 1024  # headers of a message's fragments, and what was read together with its end
_PIECE = (
    16 * 1024
)  # read at once from who is limited: small messages weigh much more once they are taken apart
_END = b"\r\n\r\n"
_LATER = 2  # seconds
_TLS = b"\x16"  # how a handshake begins: RFC 8446, 5.1
_TURN_SECONDS = 0.02


class Door(asyncio.Protocol):
    """Of one connection."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._request: bytes | None = None
        self._upgrade = False
        self._inner: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._limit = 0
        self._piece: int | None = None
        self.address = ""
        self.connection: str | None = None
        """The number of the connection that its websocket has become."""
        self.limited = True
        """Whether what has come of its unfinished message counts towards what all may hold."""
        self.held = 0
        """Bytes that have come since the last message was taken."""

    # -- new

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._piece = getattr(transport, "max_size", None)  # asyncio's own; others have none to set
        if self._piece is not None:
            transport.max_size = _PIECE  # type: ignore[attr-defined]
        refusal = self._doors.enter(self)
        if refusal is not None:
            self.refuse(refusal, retry_after=_LATER)
            return
        self._set_timer(self._doors.settings().request_within, self._late)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._request is not None:
            self._request += data  # before it was answered: nobody has to, and nobody may much
            if len(self._request) > self._doors.settings().request_bytes:
                self.refuse(Refusal(431, "request_bytes", "too much behind a request (hub.request_bytes)"))
            return
        start = max(0, len(self._head) - len(_END) + 1)
        self._head += data
        if self._head[:1] == _TLS:
            self.refuse(Refusal(400, "tls", "this port speaks no TLS: use http:// in the URL"))
            return
        end = self._head.find(_END, start)
        if end > self._doors.settings().request_bytes or (
            end < 0 and len(self._head) > self._doors.settings().request_bytes
        ):
            self.refuse(Refusal(431, "request_bytes", "a request's head is too long (hub.request_bytes)"))
        elif end >= 0:
            self._asked(bytes(self._head[:end]))

    def _asked(self, head: bytes) -> None:
        asked = read_head(head)
        if isinstance(asked, Refusal):
            self.refuse(asked)
            return
        settings, local = self._doors.settings(), self._transport.get_extra_info("sockname")
        problem = page_problem(
            asked,
            allowed=settings.allowed_origins,
            names=settings.host_names,
            tls=self._transport.get_extra_info("sslcontext") is not None,
            loopback=isinstance(local, tuple) and is_loopback(str(local[0])),
        )
        if problem is not None:
            self.refuse(problem)
            return
        self._request, self._head = bytes(self._head), bytearray()
        self._upgrade = asked.upgrade
        self._doors.asked(self)

    def serve(self) -> None:
        """It is its turn."""
        assert self._request is not None, "it has asked"
        if self._transport.is_closing():
            return
        data, self._request = self._request, None
        self._cancel_timer()
        settings = self._doors.settings()
        self._inner = self._doors.make()
        if self._upgrade:
            self._limit = settings.unregistered_bytes
            self._read_by(self._websocket_received)
        else:
            self._set_timer(settings.request_within, self._late_page)
            self._read_by(self._page_received)
        self._inner.connection_made(self._transport)
        self._inner.data_received(data)

    def _read_by(self, received: Callable[[bytes], None]) -> None:
        self.data_received = received  # type: ignore[method-assign, assignment]
        if not self._transport.is_closing():
            self._transport.set_protocol(self)  # some transports keep the method that they have found

    def _page_received(self, data: bytes) -> None:
        """A second request, or a body: neither is answered."""

    # -- a websocket

    def _websocket_received(self, data: bytes) -> None:
        self.held += len(data)
        if self.limited:
            self._doors.inbound.used += len(data)
            if self._doors.inbound.is_over:
                self._doors.relieve()
        if self.held > self._limit:
            self._doors.too_long(self)
            return
        cast("asyncio.Protocol", self._inner).data_received(data)

    def taken(self) -> None:
        """A message was complete, and was taken."""
        if self.limited:
            self._doors.inbound.used -= self.held
        self.held = 0

    def admit(self) -> None:
        """Its token was accepted: from now on its messages may be as long as any."""
        self._limit = self._doors.settings().max_frame_bytes + _FRAMING

    def trust(self) -> None:
        """It is one of gleitzeit's own components."""
        self.taken()
        self.limited = False
        if self._piece is not None:
            self._transport.max_size = self._piece  # type: ignore[attr-defined]

    def pause(self) -> None:
        """Read nothing for now: its peer has to wait."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again; unless aiohttp has paused it, too, which then resumes by itself."""
        if not self._transport.is_closing() and not getattr(self._inner, "_reading_paused", False):
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()
            self._set_timer(self._doors.settings().reads_within, self._stalled)

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._cancel_timer()
            self._inner.resume_writing()

    # -- the end

    def refuse(self, refusal: Refusal, retry_after: int | None = None) -> None:
        """Answer, and cut."""
        self._doors.refused(self, refusal)
        self._transport.write(answer(refusal, retry_after))
        self._transport.close()
        self._set_timer(1.0, self._transport.abort)  # for who does not even read that

    def abort(self) -> None:
        """Cut it now."""
        self._transport.abort()

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def connection_lost(self, problem: Exception | None) -> None:
        self._cancel_timer()
        self.taken()
        self._doors.leave(self)
        if self._inner is not None:
            # Not now: aiohttp's task of a connection that was served in this very turn has not begun yet, and
            # takes it ill if there is none any more when it does.
            asyncio.get_running_loop().call_soon(self._inner.connection_lost, problem)

    def _late(self) -> None:
        if self._request is None:
            self.refuse(Refusal(408, "request_time", "no request within hub.request_within"))
        else:
            busy = Refusal(503, "requests", "too many requests (hub.requests_per_second): try again later")
            self.refuse(busy, retry_after=_LATER)

    def _late_page(self) -> None:
        self._doors.refused(
            self, Refusal(408, "request_time", "its page was not read within hub.request_within")
        )
        self._transport.abort()

    def _stalled(self) -> None:
        self._doors.stalled(self)

    def _set_timer(self, seconds: float, work: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, work)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Doors:
    """Makes the door of each connection that the listening sockets accept, and keeps count of them."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        *,
        open_files: int,
        on_refusal: Callable[[str, str, str], None],
        on_cut: Callable[[Door, str, str], None],
    ) -> None:
        """``on_refusal`` gets the peer's address, the cause and a text. ``on_cut`` gets a door whose
        connection is to be cut, the cause and a text; it aborts it.
        """
        self.settings = settings
        self.make: Callable[[], Any]
        """Makes the protocol that serves a complete request: aiohttp's."""
        self.inbound = Pool(settings().inbound_bytes)
        self._room = max(10, open_files - 256)
        self._on_refusal = on_refusal
        self._on_cut = on_cut
        self._all: set[Door] = set()
        self._new: dict[Door, None] = {}
        self._ready: dict[Door, None] = {}  # of the new ones, those that have asked
        self._rate = Bucket(settings().requests_per_second, monotonic())
        self._next: asyncio.TimerHandle | None = None
        self._by_address: Counter[str] = Counter()

    def __call__(self) -> Door:
        return Door(self)

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._all)

    @property
    def unasked(self) -> int:
        """How many of them have not finished their request."""
        return len(self._new)

    def enter(self, door: Door) -> Refusal | None:
        """A connection was accepted; why it cannot stay."""
        settings = self.settings()
        self._all.add(door)
        self._by_address[door.address] += 1
        if len(self._all) > min(settings.max_connections, self._room) and not self._make_room():
            return Refusal(503, "connections", "too many connections (hub.max_connections): try again later")
        if self._by_address[door.address] > settings.max_connections_per_address:
            return Refusal(
                503,
                "connections_per_address",
                "too many connections from this address (hub.max_connections_per_address): try again later",
            )
        if len(self._new) >= settings.max_requests:
            self._make_room()
        self._new[door] = None
        return None

    def _make_room(self) -> bool:
        """Cut the connection that has been asking for longest; whether there was one."""
        for oldest in self._new:
            del self._new[oldest]
            self._ready.pop(oldest, None)
            self._on_refusal(oldest.address, "requests", "too many unfinished requests (hub.max_requests)")
            oldest.abort()
            return True
        return False

    def asked(self, door: Door) -> None:
        """Its request is complete: it is served now, or later, or never if there are too many."""
        self._ready[door] = None
        self._serve()

    def _serve(self) -> None:
        now = monotonic()
        while self._ready and not self._rate.owes(now):
            newest, _ = self._ready.popitem()  # the others have waited, and so are more likely in vain
            self._new.pop(newest, None)
            self._rate.take(1, now)
            newest.serve()
        if self._ready and self._next is None:
            self._next = asyncio.get_running_loop().call_later(_TURN_SECONDS, self._later)

    def _later(self) -> None:
        self._next = None
        self._serve()

    def leave(self, door: Door) -> None:
        """Its connection has ended."""
        self._new.pop(door, None)
        self._ready.pop(door, None)
        if door in self._all:
            self._all.remove(door)
            self._by_address[door.address] -= 1
            if not self._by_address[door.address]:
                del self._by_address[door.address]

    def refused(self, door: Door, refusal: Refusal) -> None:
        """It gets this answer."""
        self._on_refusal(door.address, refusal.cause, refusal.text)

    def too_long(self, door: Door) -> None:
        """More has come than a message may have."""
        self._on_cut(door, "frame_bytes", "a message over max_frame_bytes")

    def stalled(self, door: Door) -> None:
        """Nothing of what is sent to it is taken."""
        self._on_cut(door, "stalled", "it has read nothing for hub.reads_within")

    def relieve(self) -> None:
        """Too much has come of unfinished messages: whoever has sent most of it gives way."""
        most = max((each for each in self._all if each.limited), key=lambda each: each.held, default=None)
        if most is not None and most.held:
            self._on_cut(most, "inbound", "too much of unfinished messages has come (hub.inbound_bytes)")
            most.taken()
