"""What a workload is, and what several of them do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.system import System, run_all
from bench.workflows import fan_out
from gleitzeitd.client import Client, Published
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.plain import Json

Measure = Callable[[System, int], Awaitable[dict[str, Json]]]
WARM_TASKS = 200
"""Done before anything is measured: connections are open then, and providers known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One thing to measure."""

    about: str
    """With the unit of the size."""
    measure: Measure
    sizes: list[int]
    """Measured, if none is given."""
    smoke: int
    """The size that shows whether it works at all."""
    figure: str
    """The most important of its figures."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of its daemons."""
    providers: tuple[str, ...] = ("echo",)
    modules: Mapping[str, str] = field(default_factory=dict)
    """Providers of its own, ``MODULE:CLASS`` by name."""
    all_in_one: bool = False
    """One process plays all roles."""
    prepare: Callable[[Path, int], Awaitable[None]] | None = None
    """Fills the database, given its path and the size, before any daemon is started."""


async def warm_up(system: System, client: Client) -> None:
    """Have everything done once, so that a run measures no first time."""
    await run_all(system, client, [fan_out(WARM_TASKS)], system.unprofiled_meter())


async def one_task(client: Client, document: Json = None) -> tuple[float, float]:
    """Run a workflow of one task, a no-op if none is given. Seconds until the client hears of its end, and
    until it has its result.
    """
    heard = 0.0

    def look(published: Published) -> None:
        nonlocal heard
        if isinstance(published.event, d.WorkflowCompleted):
            heard = time.perf_counter()

    started = time.perf_counter()
    result = await client.run(document or fan_out(1), on_event=look)
    done = time.perf_counter()
    if result.status != "completed":
        raise RuntimeError(f"a workflow of one task is {result.status}")
    return (heard or done) - started, done - started
