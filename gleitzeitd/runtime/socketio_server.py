"""The Socket.IO server of a hub, which lets through what components have to say, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import socketio
from socketio.packet import Packet

from gleitzeitd.plain import Json
from gleitzeitd.runtime.fast_json import loads
from gleitzeitd.runtime.hub_connection import KEY, Connection

if TYPE_CHECKING:
    from gleitzeitd.runtime.hub import HubServer

_CONNECT_CHARACTERS = 8192  # of the packet with the token


class _Packet(Packet):  # type: ignore[misc]  # python-socketio has no types
    """Without the search for bytes in every payload."""

    uses_binary_events = False


class GuardedServer(socketio.AsyncServer):  # type: ignore[misc]  # python-socketio has no types
    """Lets through connecting and disconnecting; events are handed to the hub, and all else is abuse."""

    def __init__(self, hub: HubServer, **options: Any) -> None:
        super().__init__(**options)
        self.packet_class = _Packet
        self._hub = hub
        self._connections: dict[str, Connection] = {}

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> bool | None:
        connection = self._hub.opened(eio_sid, environ["aiohttp.request"])
        if connection.closing:
            return False
        environ[KEY] = connection
        self._connections[eio_sid] = connection
        await super()._handle_eio_connect(eio_sid, environ)
        return None

    async def _handle_eio_message(self, eio_sid: str, data: str) -> None:
        connection = self._connections.get(eio_sid)
        if connection is None or connection.closing:
            return
        kind = data[:1]
        if kind == "0" and not connection.asked and data[1:2] != "/" and len(data) <= _CONNECT_CHARACTERS:
            connection.asked = True
            if type(parsed(data[1:] or "{}", fast=False)) is dict:
                await super()._handle_eio_message(eio_sid, data)
                return
        elif kind == "1" and data == "1":
            self._hub.ended(connection, "it said goodbye")
            connection.close()
            return
        elif kind == "2" and data[1:2].isdigit():
            # An event that asks for an acknowledgement. The hub acknowledges for nobody.
            array = data.find("[")
            if 0 < array <= 20 and data[1:array].isdigit():
                self._hub.frame(connection, f"42{data[array:]}")
                return
        elif kind == "3":
            return  # an acknowledgement of what we did not ask to be acknowledged
        self._hub.abused(connection, "a packet that no client sends")

    async def _handle_eio_disconnect(self, eio_sid: str, *reason: str) -> None:
        connection = self._connections.pop(eio_sid, None)
        if connection is not None:
            self._hub.ended(connection, reason[0] if reason else "the connection ended")
        await super()._handle_eio_disconnect(eio_sid, *reason)


def parsed(text: str, *, fast: bool) -> Json:
    """The JSON in ``text``; None if it is none, or too deep."""
    try:
        return loads(text) if fast else json.loads(text)
    except (ValueError, RecursionError):
        return None
