"""What carries a component's packets: a Socket.IO client, used for one connection to one hub."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import suppress

import aiohttp
import socketio

from gleitzeitd.errors import ConfigError, HubUnreachable, TlsFailed
from gleitzeitd.plain import Json
from gleitzeitd.runtime.connection import GOODBYE, Ended, OnEvent
from gleitzeitd.runtime.fast_json import dumps
from gleitzeitd.runtime.refusals import refusal_of
from gleitzeitd.runtime.session import Session
from gleitzeitd.runtime.tls import Trust
from gleitzeitd.runtime.tls_words import hub_problem

_quiet = logging.getLogger("gleitzeitd.socketio")
_quiet.setLevel(logging.ERROR)  # at INFO the library logs tokens; its warnings say what ours say better
_quiet.addFilter(lambda record: "queue is empty" not in record.getMessage())  # an error after every pause

HANDSHAKE_LOOK = 0.1
"""Seconds between two looks whether the hub has closed the connection instead of answering."""
_EVENT = "42"  # Engine.IO's message, Socket.IO's event; its array follows


class SocketIo:
    """One connection's Socket.IO client. Websocket only; it never reconnects by itself."""

    def __init__(self, connect_seconds: float, trust: Trust) -> None:
        self._seconds = connect_seconds
        self._trust = trust
        self._session = Session(connect_seconds)
        self._client = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            http_session=self._session,
            serializer=_Packet,
            logger=_quiet,
            engineio_logger=_quiet,
        )

    async def connect(self, url: str, auth: dict[str, str], on_event: OnEvent, on_end: Ended) -> None:
        # None, or why the hub refuses us, in any shape.
        outcome: asyncio.Future[Json] = asyncio.get_running_loop().create_future()

        def settled(refusal: Json = "refused without a reason") -> None:
            if not outcome.done():
                outcome.set_result(refusal)

        self._client.on("connect", lambda: settled(None))
        self._client.on("connect_error", settled)
        self._client.on("disconnect", lambda *_: on_end("the hub has closed the connection"))
        self._session.on_event = on_event
        try:
            self._session.tls = self._trust.context(url)
        except ConfigError as problem:
            raise TlsFailed(str(problem)) from problem
        try:
            async with asyncio.timeout(self._seconds):
                # Waiting for the namespace here: older releases wait out their whole limit when refused.
                await self._client.connect(url, auth=auth, transports=["websocket"], wait=False)
                while not outcome.done() and not self.is_closed():
                    await asyncio.wait({outcome}, timeout=HANDSHAKE_LOOK)
        except TimeoutError:
            raise HubUnreachable(f"no answer within {self._seconds:g} s") from None
        except Exception as problem:  # a handshake with what is no hub ends in anything
            files = self._trust.files
            failed = hub_problem(self._session.failure or problem, url, files.ca, files.certificate)
            if failed is not None:
                raise failed from problem
            text = self._session.problem or str(problem) or type(problem).__name__
            raise HubUnreachable(text) from problem
        if not outcome.done():
            raise HubUnreachable("the hub has closed the connection without an answer")
        if outcome.result() is not None:
            raise refusal_of(outcome.result())

    async def send(self, name: str, arguments: list[Json]) -> None:
        try:
            # Not by the library's queue, which has no bound and does not say when it is empty: packets that
            # wait here become one.
            await self._session.send(f"{_EVENT}{dumps([name, *arguments])}")
        except (OSError, aiohttp.ClientError) as problem:
            raise HubUnreachable(f"the hub cannot be written to: {problem}") from problem

    def is_closed(self) -> bool:
        return self._session.is_cut()

    async def close(self) -> None:
        # Whatever state the client is in, nothing of it may stay: neither tasks, nor sockets, nor entries in
        # the library's list of connected clients.
        try:
            with suppress(Exception):  # the connection may be broken in any way
                async with asyncio.timeout(GOODBYE):
                    await self._client.disconnect()
        finally:  # also when whoever closes is cancelled
            await self._let_go()

    async def _let_go(self) -> None:
        engine = self._client.eio
        for task in (getattr(engine, "read_loop_task", None), getattr(engine, "write_loop_task", None)):
            if task is not None:
                task.cancel()
        for module in ("engineio.base_client", "engineio.client"):
            listed = getattr(sys.modules.get(module), "connected_clients", [])
            if engine in listed:
                listed.remove(engine)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._session.close()


class _Packet(socketio.packet.Packet):  # type: ignore[misc] # the library has no type hints
    # The stock class walks every payload in search of bytes; our events have none.
    uses_binary_events = False
