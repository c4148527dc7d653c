"""What the hub says over plain HTTP: is it alive, is the system complete, and the figures.

``/healthz`` is for anybody. ``/readyz`` and ``/metrics`` are for whoever shows the token of a user
(``Authorization: Bearer ...``), of whatever role.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gleitzeitd.errors import GleitzeitError, NotAuthenticated, NotPermitted
from gleitzeitd.machines.hub import Hub
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub_limits import HubLimits
from gleitzeitd.runtime.hub_request import SECURITY_HEADERS

NEEDED = (
    Role.DEPENDENCY_RESOLVER,
    Role.QUEUE_MANAGER,
    Role.EXECUTION_ENGINE,
    Role.PROTOCOL_REGISTRY,
    Role.PERSISTENCE,
)
"""Roles of which at least one has to be there for a workflow to run."""

_BUCKETS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)


class Latencies:
    """How long events take from being read to waiting for their receivers: a histogram, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one event."""
        self._counts[bisect_left(_BUCKETS, seconds)] += 1
        self._sum += seconds

    def family(self) -> Metric:
        """As Prometheus wants it: cumulative."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(
            "gleitzeit_hub_routing_seconds",
            "Time from reading an event to queueing it for its receivers",
            buckets=buckets,
            sum_value=self._sum,
        )


class HubFigures(Collector):
    """The machine's counts, read when Prometheus asks: routing an event costs nothing more for them."""

    def __init__(self, hub: Hub, latencies: Latencies, limits: HubLimits) -> None:
        self._hub = hub
        self._limits = limits
        self._latencies = latencies

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        counts = self._hub.counts
        for name, text, label, values in (
            ("gleitzeit_hub_events", "Events routed", "event", counts.routed),
            ("gleitzeit_hub_event_bytes", "Bytes of bodies routed", "event", counts.routed_bytes),
            ("gleitzeit_hub_refusals", "Events and connections refused", "cause", counts.refused),
            (
                "gleitzeit_hub_undeliverable",
                "Events that nobody was there for",
                "event",
                counts.undeliverable,
            ),
        ):
            counter = CounterMetricFamily(name, text, labels=[label])
            for value, count in sorted(values.items()):
                counter.add_metric([value], count)
            yield counter
        yield CounterMetricFamily(
            "gleitzeit_hub_heartbeats_missed",
            "Components cut because nothing came from them",
            value=counts.heartbeats_missed,
        )
        connected = GaugeMetricFamily("gleitzeit_hub_components", "Components connected", labels=["role"])
        for role, number in self._hub.members.by_role().items():
            connected.add_metric([role.value], number)
        yield connected
        yield from self._limits.collect()
        yield from self._queues()
        yield self._latencies.family()

    def _queues(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily(
            "gleitzeit_queue", "A queue manager's own figures", labels=["component_id", "figure"]
        )
        by_protocol = GaugeMetricFamily(
            "gleitzeit_queue_waiting_by_protocol", "Ready tasks", labels=["component_id", "protocol"]
        )
        for component_id, stats in self._hub.members.queue_stats().items():
            for figure, value in _numbers(stats):
                depth.add_metric([component_id, figure], value)
            for protocol, value in _numbers(stats.get("by_protocol")):
                by_protocol.add_metric([component_id, protocol], value)
        yield depth
        yield by_protocol


def _numbers(table: Json) -> list[tuple[str, float]]:
    if type(table) is not dict:
        return []
    return [(str(key), float(value)) for key, value in table.items() if type(value) in (int, float)]


async def _seal(request: web.Request, response: web.StreamResponse) -> None:
    """No other site gets to see an answer, and none leaves its connection open."""
    del request
    if response.status != 101:  # a websocket has no headers that a browser would heed
        response.headers.update(SECURITY_HEADERS)
        response.headers["Connection"] = "close"
        response.force_close()


class HubPages:
    """The three pages."""

    def __init__(self, hub: Hub, gate: Gate, limits: HubLimits) -> None:
        self._hub = hub
        self._gate = gate
        self.latencies = Latencies()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(HubFigures(hub, self.latencies, limits))
        ProcessCollector(registry=self._registry)

    def add_to(self, app: web.Application) -> None:
        """Serve them."""
        app.on_response_prepare.append(_seal)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        self._check(request)
        connected = self._hub.members.by_role()
        missing = [role.file_name for role in NEEDED if not connected[role]]
        if missing:
            return web.Response(status=503, text=f"not connected: {', '.join(missing)}\n")
        return web.Response(text="ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        self._check(request)
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    def _check(self, request: web.Request) -> None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        shown = token.strip() if kind.lower() == "bearer" else ""
        try:
            grant = self._gate.admit(shown, request.remote or "", request.headers.get("Host"))
        except NotAuthenticated as problem:
            self._refused(problem)
            headers = {"WWW-Authenticate": "Bearer"}
            raise web.HTTPUnauthorized(text=f"[{problem.name}] {problem}\n", headers=headers) from None
        if not grant.allows(UserRole.VIEWER):
            refusal = NotPermitted(
                f"the token of {grant.subject} is of no user: gleitzeit token create --role viewer"
            )
            self._refused(refusal)
            raise web.HTTPForbidden(text=f"[{refusal.name}] {refusal}\n")

    def _refused(self, problem: GleitzeitError) -> None:
        self._hub.counts.refused[problem.name] += 1
