"""How fast work flows: tasks per second, milliseconds per step, latency."""

from __future__ import annotations

from bench.meter import percentile
from bench.system import System, run_all
from bench.workflows import chain, diamond, fan_out
from bench.workload import Workload, one_task, warm_up
from gleitzeitd.plain import Json


async def measure_fan_out(system: System, size: int) -> dict[str, Json]:
    """One workflow of ``size`` tasks: tasks per second, from before it is sent until it has completed."""
    async with system.client() as client:
        await warm_up(system, client)
        with system.meter() as meter:
            accepted = await run_all(system, client, [fan_out(size)], meter)
    return {
        "tasks_per_second": round(size / meter.seconds, 1),
        "accepted_seconds": round(accepted, 4),
        **meter.figures(size),
    }


async def measure_chain(system: System, size: int) -> dict[str, Json]:
    """Milliseconds per step of a chain."""
    async with system.client() as client:
        await warm_up(system, client)
        with system.meter() as meter:
            await run_all(system, client, [chain(size)], meter)
    return {"ms_per_step": round(1000 * meter.seconds / size, 3), **meter.figures(size)}


async def measure_diamonds(system: System, size: int) -> dict[str, Json]:
    """Workflows of five tasks per second, and tasks."""
    async with system.client() as client:
        await warm_up(system, client)
        with system.meter() as meter:
            accepted = await run_all(system, client, [diamond(number) for number in range(size)], meter)
    return {
        "workflows_per_second": round(size / meter.seconds, 1),
        "tasks_per_second": round(5 * size / meter.seconds, 1),
        "accepted_seconds": round(accepted, 4),
        **meter.figures(5 * size),
    }


async def measure_single(system: System, size: int) -> dict[str, Json]:
    """Milliseconds for one task on an idle system, of ``size`` runs one after the other.

    ``to_end``: from before the submission until the client hears of the end. ``to_result``: until it has
    fetched the result as well, which takes three more questions.
    """
    to_end: list[float] = []
    to_result: list[float] = []
    async with system.client() as client:
        await warm_up(system, client)
        with system.meter() as meter:
            for _ in range(size):
                end, result = await one_task(client)
                to_end.append(1000 * end)
                to_result.append(1000 * result)
    to_end.sort()
    to_result.sort()
    return {
        "p50_ms": round(percentile(to_end, 50), 3),
        "p99_ms": round(percentile(to_end, 99), 3),
        "to_result_p50_ms": round(percentile(to_result, 50), 3),
        "to_result_p99_ms": round(percentile(to_result, 99), 3),
        **meter.figures(size),
    }


FLOW = {
    "fan-out": Workload(
        about="one workflow of SIZE no-op tasks",
        measure=measure_fan_out,
        sizes=[1000, 10_000, 50_000],
        smoke=50,
        figure="tasks_per_second",
    ),
    "chain": Workload(
        about="one workflow of SIZE tasks, each of which takes the result of the one before",
        measure=measure_chain,
        sizes=[200],
        smoke=5,
        figure="ms_per_step",
    ),
    "diamonds": Workload(
        about="SIZE workflows of five tasks that pass results, submitted up to 50 at a time",
        measure=measure_diamonds,
        sizes=[500],
        smoke=5,
        figure="workflows_per_second",
    ),
    "single": Workload(
        about="one task on an idle system, SIZE times",
        measure=measure_single,
        sizes=[200],
        smoke=5,
        figure="p50_ms",
    ),
}
