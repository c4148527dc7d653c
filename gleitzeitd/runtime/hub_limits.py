"""What the hub's limits look like where there are connections: who gets which, and what becomes of him.

Until a connection has registered as one of gleitzeit's own components, it is limited as clients are.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from gleitzeitd.errors import GleitzeitError, LimitExceeded
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.limits import LARGE_PACKET, STRUCTURE, Bucket, Pool, structure
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.bundles import LONGEST
from gleitzeitd.runtime.clock import monotonic
from gleitzeitd.runtime.hub_connection import Connection, Outbox
from gleitzeitd.runtime.hub_door import Door, Doors

log = logging.getLogger(__name__)

_WARNINGS = 200  # in all, one per cause and address: whoever repeats himself does not fill the journal


class Warnings:
    """One record in the journal for each cause and address."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, message: str, address: str, reason: str | GleitzeitError, key: str = "") -> None:
        """Say it, if it was not said before; ``key`` is what has to differ, if it is not the reason."""
        cause = f"{message} {address} {key or reason}"
        if cause not in self._given and len(self._given) < _WARNINGS:
            self._given.add(cause)
            said = {"reason" if isinstance(reason, str) else "error": reason}
            log.warning(message, extra={"role": Role.HUB, "address": address, **said})


class HubLimits:
    """Of one hub."""

    def __init__(
        self,
        hub: Hub,
        connections: Mapping[str, Connection],
        warnings: Warnings,
        cut: Callable[[Connection, str | GleitzeitError, str], None],
    ) -> None:
        """``cut`` cuts a connection for a reason, and counts it under a cause."""
        self._hub = hub
        self._connections = connections
        self._warnings = warnings
        self._cut = cut
        self._answers = Bucket(hub.settings.answers_per_second, monotonic())
        self._outbound = Pool(hub.settings.all_clients_outbound_bytes)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.doors = Doors(
            lambda: hub.settings,
            open_files=soft if soft > 0 else hub.settings.max_connections + 256,
            on_refusal=self._refused,
            on_cut=self._cut_door,
        )

    def outbox(self) -> Outbox:
        """Of a new connection."""
        settings = self._hub.settings
        made = Outbox(messages=settings.outbound_messages, characters=settings.outbound_bytes)
        made.share(self._outbound, settings.client_outbound_bytes)
        return made

    def bucket(self, now: float) -> Bucket:
        """Of a new connection."""
        return Bucket(self._hub.settings.client_events_per_second, now)

    def registered(self, connection: Connection, role: Role, now: float) -> None:
        """What a connection is, is known: its own components are trusted more."""
        if role is Role.CLIENT or not connection.envelope or not connection.limited:
            return
        connection.limited = False
        connection.bucket = Bucket(self._hub.settings.events_per_second, now)
        connection.outbox.leave()
        connection.outbox.allow(self._hub.settings.outbound_bytes)
        if connection.door is not None:
            connection.door.trust()

    def packet_problem(self, connection: Connection, packet: str) -> str:
        """Why a packet of events is not even read; else empty."""
        if connection.limited and len(packet) > LARGE_PACKET and structure(packet) > STRUCTURE:
            return f"a message with over {STRUCTURE} lists, tables and separators"
        return ""

    def batch_problem(self, events: int) -> str:
        """Why so many events do not fit into one message; else empty."""
        return f"a message with over {LONGEST} events" if events > LONGEST else ""

    def charge(self, connection: Connection, events: int, now: float) -> None:
        """Count what a connection has sent, and what it made the hub do; it is slowed, and in the end cut."""
        hub = self._hub
        connection.charge(events + hub.spent + hub.answered, now)
        if connection.limited and hub.answered:
            connection.owes = max(connection.owes, self._answers.take(hub.answered, now))
        hub.spent = hub.answered = 0
        if not connection.limited or not connection.owes:
            return
        self._hub.counts.refused["slowed"] += 1
        self._warnings.give("a connection is slowed down", connection.address, "it sends too fast")
        slowed, settings = connection.bucket.slowed_for(now), self._hub.settings
        member = self._hub.members.at(connection.number)
        if slowed > settings.slowed_at_most and (member is None or member.role is Role.CLIENT):
            problem = LimitExceeded(
                f"{slowed:.0f} s without a pause of more than {settings.client_events_per_second} events per "
                "second (hub.client_events_per_second, hub.slowed_at_most)",
                retry_after=10.0,
            )
            self._cut(connection, problem, "rate")

    def gives_way(self, connection: Connection, characters: int) -> Connection:
        """Whom it costs that an event has no room: the client that lets most wait, or whoever it is for."""
        if not connection.limited or self._outbound.used + characters <= self._outbound.limit:
            return connection
        limited = (each for each in self._connections.values() if each.limited and not each.closing)
        return max(limited, key=lambda each: each.outbox.waiting, default=connection)

    def collect(self) -> Iterator[Metric]:
        """Figures."""
        connections = GaugeMetricFamily("gleitzeit_hub_connections", "TCP connections", labels=["state"])
        connections.add_metric(["unasked"], self.doors.unasked)
        connections.add_metric(["unregistered"], self._hub.unregistered)
        connections.add_metric(["all"], self.doors.connections)
        yield connections
        held = GaugeMetricFamily(
            "gleitzeit_hub_clients_bytes", "Bytes that wait for or from clients", labels=["direction"]
        )
        held.add_metric(["in"], self.doors.inbound.used)
        held.add_metric(["out"], self._outbound.used)
        yield held

    def _refused(self, address: str, cause: str, text: str) -> None:
        self._hub.counts.refused[cause] += 1
        self._warnings.give("a connection was refused", address, text, cause)

    def _cut_door(self, door: Door, cause: str, text: str) -> None:
        connection = self._connections.get(door.connection or "")
        if connection is None:
            self._refused(door.address, cause, text)
            door.abort()
        else:
            self._cut(connection, text, cause)
