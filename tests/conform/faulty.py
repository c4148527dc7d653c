"""A provider in plain python-socketio that does all that is asked of it, save what it is told to do wrongly."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import socketio

CALL = ("workflow_id", "task_id", "attempt")
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NUMBER = {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]}
EPOCH = 7


def failure(code: int, name: str, message: str, *, retryable: bool = False) -> dict[str, Any]:
    return {"code": code, "name": name, "message": message, "retryable": retryable}


class Faulty:
    """``await run()`` serves until it is cancelled. ``fault`` is a key of ``FAULTS``, or empty."""

    def __init__(self, url: str, token: str, fault: str = "") -> None:
        self.fault, self._url, self._token = fault, url, token
        self._me = {"component_type": "provider", "component_id": "faulty", "epoch": EPOCH}
        self._calls: dict[tuple[Any, ...], asyncio.Task[None] | tuple[str, dict[str, Any]]] = {}
        self._runs = 0
        self._registrations = 0
        self._last: dict[str, Any] = {}
        self._in_service = True
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.sio: socketio.AsyncClient

    async def run(self) -> None:
        try:
            while True:
                await self._connection()
                await asyncio.sleep(0.1)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _connection(self) -> None:
        self.sio = socketio.AsyncClient(reconnection=False)
        self.sio.on("*", self._handle)
        self._ended.clear()
        self.sio.on("disconnect", lambda *_: self._ended.set())
        auth = {"token": "guessed" if self.fault == "stranger" else self._token, **self._me}
        try:
            await self.sio.connect(self._url, auth=auth, transports=["websocket"])
            if self.fault == "hasty":
                await self._register()
            await self.sio.emit("register_component", self._me)
            await self._ended.wait()
        except socketio.exceptions.ConnectionError:
            pass
        finally:
            with suppress(Exception):
                await self.sio.disconnect()

    async def _register(self) -> None:
        name = "text" if self.fault == "without version" else "text/v1"
        methods = {"text/count": {"parameters": TEXT, "returns": {"type": "integer"}}}
        methods["text/wait"] = {"parameters": NUMBER}
        await self.sio.emit("register_protocol", {"protocol": {"name": name, "methods": methods}})
        capacity = 2 if self._in_service and self.fault != "no room" else 0
        await self.sio.emit("register_provider", {"protocol": name, "capacity": capacity, "epoch": EPOCH})

    async def _handle(self, name: str, data: dict[str, Any]) -> None:
        handler = getattr(self, f"on_{name}", None)
        if handler is not None:
            await handler(data)
        elif self.fault == "easily frightened" and name.startswith("event_"):
            await self.sio.disconnect()

    async def on_component_registered(self, _: dict[str, Any]) -> None:
        self._registrations += 1
        if self._registrations == 1 or self.fault != "registers once":
            await self._register()

    async def on_initialize(self, _: dict[str, Any]) -> None:
        self._in_service = True
        if self.fault != "hard of hearing":
            await self._register()

    async def on_shutdown(self, _: dict[str, Any]) -> None:
        self._in_service = self.fault == "tireless"
        await self._register()

    async def on_health_check(self, _: dict[str, Any]) -> None:
        if self.fault != "says nothing of its health":
            await self.sio.emit("health_status", {"health": "ok"})

    async def on_cancel_method(self, order: dict[str, Any]) -> None:
        if self.fault == "stubborn":
            return
        key = tuple(order[part] for part in CALL)
        call = self._calls.get(key)
        if isinstance(call, asyncio.Task):
            call.cancel()
        elif call is None:
            cancelled = failure(-29004, "TASK_CANCELLED", "cancelled")
            await self._finish(order, "provider_error", error=cancelled)
        else:
            await self.sio.emit(*call)

    async def on_execute_method(self, order: dict[str, Any]) -> None:
        key = tuple(order[part] for part in CALL)
        call = None if self.fault == "forgetful" else self._calls.get(key)
        other = order.get("epoch") not in (0, None, EPOCH) and self.fault != "of any epoch"
        self._last = order
        if isinstance(call, tuple):
            await self.sio.emit(*call)
        elif call is not None:
            pass
        elif self.fault == "narrow" and len(str(order)) > 100_000:
            await self.sio.disconnect()
        elif other or not self._in_service:
            error = failure(-30006, "PROVIDER_OVERLOADED", "not here", retryable=True)
            await self.sio.emit("provider_error", {**{part: order[part] for part in CALL}, "error": error})
        else:
            self._calls[key] = task = asyncio.ensure_future(self._work(order))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, order: dict[str, Any]) -> None:
        try:
            answer = await self._outcome(order)
        except asyncio.CancelledError:
            answer = {"error": failure(-29004, "TASK_CANCELLED", "cancelled")}
        if answer:
            order = self._last if self.fault == "absent-minded" else order
            await self._finish(order, "provider_error" if "error" in answer else "method_result", **answer)

    async def _outcome(self, order: dict[str, Any]) -> dict[str, Any]:
        method, given = order["method"], order.get("parameters", {})
        again = self.fault == "hopeful"
        if method == "text/wait":
            patience = None if self.fault == "patient" else order.get("timeout")
            try:
                await asyncio.wait_for(asyncio.sleep(given["seconds"]), patience)
            except TimeoutError:
                return {"error": failure(-29003, "TASK_TIMEOUT", "too long", retryable=True)}
            return {"result": None}
        if method != "text/count":
            if self.fault == "speechless":
                return {}
            return {"error": failure(-30008, "METHOD_NOT_SUPPORTED", "no such method", retryable=again)}
        if type(given.get("text")) is not str and self.fault != "credulous":
            if self.fault == "shapeless":
                return {"error": "wrong"}
            return {"error": failure(-29006, "TASK_PARAMETER_INVALID", "text is missing", retryable=again)}
        await asyncio.sleep(0.05)
        self._runs += 1
        return {"result": str(self._runs) if self.fault == "breaks its schema" else self._runs}

    async def _finish(self, order: dict[str, Any], name: str, **answer: Any) -> None:
        body = {**{part: order[part] for part in CALL}, **answer}
        self._calls[tuple(order[part] for part in CALL)] = (name, body)
        if self.sio.connected:
            await self.sio.emit(name, body)


FAULTS: dict[str, set[str]] = {
    "stranger": {"connect"},
    "hasty": {"accepted"},
    "without version": {"protocol"},
    "no room": {"provider"},
    "hard of hearing": {"initialize", "shutdown"},
    "says nothing of its health": {"health", "unknown-event"},
    "breaks its schema": {"call"},
    "absent-minded": {"parallel"},
    "credulous": {"wrong-parameters"},
    "speechless": {"unknown-method"},
    "hopeful": {"wrong-parameters", "unknown-method"},
    "shapeless": {"wrong-parameters", "accepted"},
    "forgetful": {"repeat", "cancel-first"},
    "stubborn": {"cancel", "cancel-first"},
    "patient": {"timeout"},
    "of any epoch": {"epoch"},
    "narrow": {"large"},
    "easily frightened": {"unknown-event"},
    "tireless": {"shutdown"},
    "registers once": {"reconnect"},
}
"""What can be wrong, and the checks that find it."""
