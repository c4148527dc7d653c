"""Where in the product the points are. The product knows nothing of it: its functions are wrapped."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from gleitzeitd.errors import HubUnreachable
from gleitzeitd.machines.execution_engine import ExecutionEngine
from gleitzeitd.machines.follower import Follower
from gleitzeitd.machines.link import Link
from gleitzeitd.machines.persistence import Persistence
from gleitzeitd.runtime import hub_connection, socketio_client
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.ledger import LedgerPerformer
from gleitzeitd.runtime.work import ProviderPerformer
from gleitzeitd.stores import sqlite
from tests.failpoints.points import Failpoints

BROKEN = HubUnreachable("struck: the connection is broken")
Wrapper = Callable[[Any], Callable[..., Any]]


def wrap(owner: Any, name: str, wrapper: Wrapper) -> None:
    """Put ``wrapper(original)`` in the place of a function.

    Raises:
        AttributeError: the product has no such function any more.
    """
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrapper(original)))


def place(points: Failpoints) -> None:
    """Wrap everything. Once in a process, before the daemon is made."""
    _commits(points)
    _packets_of_components(points)
    _packets_of_hubs(points)
    _work(points)
    _shards(points)
    _connections_and_ends(points)


def _commits(points: Failpoints) -> None:
    def wrapper(transaction: Any) -> Any:
        @contextmanager
        def struck(db: sqlite3.Connection, begin: str) -> Iterator[None]:
            if begin == "BEGIN":  # one that reads
                with transaction(db, begin):
                    yield
                return
            failing = sqlite3.OperationalError("disk I/O error")
            points.hit("before_commit", problem=failing)
            with transaction(db, begin):
                yield
                points.hit("in_commit", problem=failing)
            points.hit("after_commit")  # no error of SQLite's: with those, nothing has happened

        return struck

    wrap(sqlite, "transaction", wrapper)


def _packets_of_components(points: Failpoints) -> None:
    def wrapper(send: Any) -> Any:
        async def struck(self: Any, name: str, arguments: list[Any]) -> None:
            names = _names([name, *arguments])
            for each in names:
                await points.reached("before_send", each)
            await send(self, name, arguments)
            for each in names:
                await points.reached("after_send", each, BROKEN)

        return struck

    wrap(socketio_client.SocketIo, "send", wrapper)


def _packets_of_hubs(points: Failpoints) -> None:
    taken: WeakKeyDictionary[hub_connection.Outbox, list[str]] = WeakKeyDictionary()

    def wrapper(take: Any) -> Any:
        async def struck(self: hub_connection.Outbox, *, batch: bool) -> str | None:
            for each in taken.pop(self, []):  # whoever comes for the next packet has sent the one before
                await points.reached("after_send", each)
            packet: str | None = await take(self, batch=batch)
            if packet is not None:
                taken[self] = _names(json.loads(packet))
                for each in taken[self]:
                    await points.reached("before_send", each)
            return packet

        return struck

    wrap(hub_connection.Outbox, "take", wrapper)


def _names(packet: list[Any]) -> list[str]:
    """Of the events in it, in order."""
    return [item[0] for item in packet[1]] if packet[0] == "batch" else [packet[0]]


def _work(points: Failpoints) -> None:
    def executing(foreign: Any) -> Any:
        async def struck(self: Any, code: Awaitable[Any], call_id: str, limit: Any, about: Any) -> Any:
            async def begun() -> Any:
                try:
                    await points.reached("before_execute")
                except BaseException:
                    close = getattr(code, "close", None)
                    if close is not None:
                        close()
                    raise
                return await code

            return await foreign(self, begun() if call_id else code, call_id, limit, about)

        return struck

    def reporting(report: Any) -> Any:
        def struck(*arguments: Any) -> Any:
            points.hit("before_outbox")
            return report(*arguments)

        return struck

    wrap(ProviderPerformer, "_foreign", executing)
    wrap(ExecutionEngine, "_report", reporting)


def _shards(points: Failpoints) -> None:
    def given(claimed: Any) -> Any:
        def struck(*arguments: Any) -> Any:
            points.hit("during_claim")
            return claimed(*arguments)

        return struck

    def claimed(claim: Any) -> Any:
        def struck(*arguments: Any) -> Any:
            effects = claim(*arguments)
            points.hit("during_claim")
            return effects

        return struck

    def taking_over(snapshot: Any) -> Any:
        def struck(*arguments: Any) -> Any:
            points.hit("during_snapshot")
            return snapshot(*arguments)

        return struck

    def reading(snapshot: Any) -> Any:
        async def struck(*arguments: Any) -> Any:
            page = await snapshot(*arguments)
            await points.reached("during_snapshot")
            return page

        return struck

    wrap(Follower, "on_shard_claimed", given)
    wrap(Persistence, "on_claim_shard", claimed)
    wrap(Follower, "_snapshot", taking_over)
    wrap(LedgerPerformer, "_snapshot", reading)


def _connections_and_ends(points: Failpoints) -> None:
    def connecting(connect: Any) -> Any:
        async def struck(*arguments: Any) -> None:
            await connect(*arguments)
            await points.reached("during_connect", problem=BROKEN)

        return struck

    def admitting(admit: Any) -> Any:
        def struck(*arguments: Any) -> None:
            admit(*arguments)
            points.hit("during_connect")

        return struck

    def draining(drain: Any) -> Any:
        def struck(*arguments: Any) -> Any:
            actions = drain(*arguments)
            points.hit("during_drain")
            return actions

        return struck

    def stopping(stop: Any) -> Any:
        async def struck(*arguments: Any) -> None:
            await points.reached("during_drain")
            await stop(*arguments)

        return struck

    wrap(socketio_client.SocketIo, "connect", connecting)
    wrap(HubServer, "_admit", admitting)
    wrap(Link, "drain", draining)
    wrap(HubServer, "stop", stopping)
