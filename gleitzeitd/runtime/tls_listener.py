"""Listens for TLS: takes connections, does the handshake, and hands over what came about.

An ``asyncio.Server`` forgets whose handshake has failed, and why, and does not send what TLS would tell the
peer about it. Here both are known: the peer gets its alert (or, if it speaks plain HTTP, an answer in that),
and the hub's journal the reason with the address. Handshakes are limited, in number and in time; a new
context is used from the next connection on.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tls_words import USE_TLS, peer_problem

log = logging.getLogger(__name__)

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 1.0  # seconds, when there is no room for another connection
_LINGER = 0.5  # seconds for the peer to read why it is refused
_BODY = b"this port speaks TLS: use https:// in the URL\n"
_PLAIN_ANSWER = (
    b"HTTP/1.1 %d Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: TLS/1.2\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (USE_TLS, len(_BODY), _BODY)
)


class _Handshake:
    """What TLS has to say to a peer beside what asyncio sends of it."""

    outgoing: ssl.MemoryBIO | None = None
    alert: bytes = b""


_handshake: ContextVar[_Handshake | None] = ContextVar("handshake", default=None)


class _Answering(ssl.SSLObject):
    """Keeps the alert of a handshake that fails: asyncio has closed the connection when it comes to that."""

    handshake: _Handshake | None = None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.handshake is not None and self.handshake.outgoing is not None:
                self.handshake.alert = self.handshake.outgoing.read()
            raise


class ListenerContext(ssl.SSLContext):
    """Lets a failed handshake be answered."""

    sslobject_class = _Answering

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **more: Any
    ) -> ssl.SSLObject:
        """As ever; what is to be sent is remembered for the handshake at hand."""
        made = super().wrap_bio(incoming, outgoing, *args, **more)
        current = _handshake.get()
        if current is not None and isinstance(made, _Answering):
            made.handshake, current.outgoing = current, outgoing
        return made


def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets for every address of ``host``; an empty one is all of this host.

    Raises:
        OSError: an address is in use, or not of this host.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            made.append(socket.socket(family, kind, protocol))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made[-1].bind(address)
            made[-1].setblocking(False)
    except OSError:
        for each in made:
            each.close()
        raise
    return made


class TlsListener:
    """As much of an ``asyncio.Server`` as a hub uses."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Callable[[], Any],
        context: Callable[[], ssl.SSLContext],
        *,
        handshake_seconds: Callable[[], float],
        most_handshakes: Callable[[], int],
        on_refused: Callable[[str, str], None],
    ) -> None:
        """``on_refused`` gets the address of a peer, and why there is no connection to it."""
        self.sockets = list(sockets)
        self._protocol = protocol
        self._context = context
        self._seconds = handshake_seconds
        self._most = most_handshakes
        self._on_refused = on_refused
        self._tasks: Tasks | None = None
        self._accepting: list[asyncio.Task[None]] = []
        self._under_way: dict[int, socket.socket] = {}
        self._numbers = 0

    def start(self, tasks: Tasks, backlog: int) -> None:
        """Listen, with tasks in this group."""
        self._tasks = tasks
        for each in self.sockets:
            each.listen(backlog)
            self._accepting.append(tasks.spawn(self._accept(each), name="tls listener"))

    def close(self) -> None:
        """Take no more connections."""
        for task in self._accepting:
            task.cancel()
        for each in self.sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        assert self._tasks is not None
        while listening.fileno() >= 0:
            try:
                made, address = await loop.sock_accept(listening)
            except OSError as problem:
                if problem.errno in _EXHAUSTED:
                    log.warning("no room for another connection", extra={"error": problem})
                    await asyncio.sleep(_PAUSE)
                continue  # whoever it was has gone
            peer = str(address[0]) if isinstance(address, tuple) else "localhost"
            try:
                spare = made.dup()  # the loop closes the other one when the handshake fails
            except OSError as problem:
                made.close()
                log.warning("no room for another connection", extra={"error": problem})
                continue
            if len(self._under_way) >= self._most():
                self._give_way()
            self._numbers += 1
            self._under_way[self._numbers] = spare
            self._tasks.spawn(self._serve(made, spare, peer, self._numbers), name="tls handshake")

    def _give_way(self) -> None:
        """End the oldest handshake: who means to speak TLS is done in a moment."""
        oldest = self._under_way.pop(next(iter(self._under_way)))
        with suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)

    async def _serve(self, made: socket.socket, spare: socket.socket, peer: str, number: int) -> None:
        handshake = _Handshake()
        _handshake.set(handshake)
        loop, seconds = asyncio.get_running_loop(), self._seconds()
        try:
            await loop.connect_accepted_socket(
                self._protocol, made, ssl=self._context(), ssl_handshake_timeout=seconds
            )
        except OSError as problem:  # that of TLS, of the connection, and of time
            if why := peer_problem(problem):
                self._on_refused(peer, why)
            await _answer(spare, problem, handshake)
        finally:
            self._under_way.pop(number, None)
            spare.close()


async def _answer(spare: socket.socket, problem: OSError, handshake: _Handshake) -> None:
    """Say why, and let it be read: what the peer has sent meanwhile would else have it thrown away."""
    spoke_http = isinstance(problem, ssl.SSLError) and problem.reason == "HTTP_REQUEST"
    words = _PLAIN_ANSWER if spoke_http else handshake.alert
    if not words or not isinstance(problem, ssl.SSLError):
        return
    loop = asyncio.get_running_loop()
    with suppress(OSError, TimeoutError):
        spare.setblocking(False)
        spare.send(words)
        spare.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_LINGER):
            while await loop.sock_recv(spare, 65536):
                pass
