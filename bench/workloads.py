"""What is measured. Each workload takes a client and its size, and returns its figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from gleitzeitd.client import Client
from gleitzeitd.plain import Json
from tests.daemons import Daemons


async def _run(client: Client, document: Json) -> float:
    """Seconds from the submission to the end.

    Raises:
        RuntimeError: the workflow did not complete, so there is nothing to measure.
    """
    started = time.perf_counter()
    submitted = await client.submit(document)
    async for _ in client.watch(submitted.workflow_id):
        pass
    seconds = time.perf_counter() - started
    report = await client.status(submitted.workflow_id)
    if report.status != "completed":
        raise RuntimeError(f"{submitted.workflow_id} is {report.status}: {report.error}")
    return seconds


def fan_out(tasks: int) -> Json:
    """No-op tasks that depend on nothing."""
    return {"name": f"fan {tasks}", "tasks": [{"id": f"t{i}", "method": "echo/ping"} for i in range(tasks)]}


def chain(tasks: int) -> Json:
    """Each task echoes what the one before returned."""
    steps: list[Json] = [{"id": "t0", "method": "echo/echo", "parameters": {"n": 0}}]
    steps += [
        {"id": f"t{i}", "method": "echo/echo", "parameters": {"n": f"${{t{i - 1}.n}}"}}
        for i in range(1, tasks)
    ]
    return {"name": f"chain {tasks}", "tasks": steps}


def diamond(number: int) -> Json:
    """Five tasks: one, three that take its result, and one that takes theirs."""
    middle = [
        {"id": f"m{i}", "method": "echo/echo", "parameters": {"n": "${first.n}", "i": i}} for i in range(3)
    ]
    return {
        "name": f"diamond {number}",
        "tasks": [
            {"id": "first", "method": "echo/echo", "parameters": {"n": number}},
            *middle,
            {"id": "last", "method": "echo/echo", "parameters": {"all": ["${m0.i}", "${m1.i}", "${m2.i}"]}},
        ],
    }


async def measure_fan_out(daemons: Daemons, size: int) -> Json:
    """Tasks per second."""
    async with daemons.client() as client:
        seconds = await _run(client, fan_out(size))
    return {"seconds": round(seconds, 3), "tasks_per_second": round(size / seconds, 1)}


async def measure_chain(daemons: Daemons, size: int) -> Json:
    """Milliseconds per step."""
    async with daemons.client() as client:
        seconds = await _run(client, chain(size))
    return {"seconds": round(seconds, 3), "ms_per_step": round(1000 * seconds / size, 2)}


async def measure_small(daemons: Daemons, size: int) -> Json:
    """Five-task workflows per second, up to 50 at a time."""
    limit = asyncio.Semaphore(50)

    async def one(client: Client, number: int) -> None:
        async with limit:
            await _run(client, diamond(number))

    async with daemons.client() as client:
        started = time.perf_counter()
        await asyncio.gather(*(one(client, i) for i in range(size)))
        seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 3), "workflows_per_second": round(size / seconds, 1)}


async def measure_single(daemons: Daemons, size: int) -> Json:
    """Milliseconds for one task on an idle system: the median and the 99th percentile."""
    async with daemons.client() as client:
        took = sorted([await _run(client, fan_out(1)) for _ in range(size)])
    return {
        "p50_ms": round(1000 * took[len(took) // 2], 2),
        "p99_ms": round(1000 * took[min(len(took) - 1, len(took) * 99 // 100)], 2),
    }


async def measure_growth(daemons: Daemons, size: int) -> Json:
    """The same fan-out five times in one set of daemons: seconds, and resident memory after each."""
    seconds, memory = [], []
    async with daemons.client() as client:
        for _ in range(5):
            seconds.append(round(await _run(client, fan_out(size)), 3))
            memory.append(daemons.memory())
    first, last = memory[0], memory[-1]
    return {
        "seconds": seconds,
        "last_to_first": round(seconds[-1] / seconds[0], 3),
        "memory_first_mb": first,
        "memory_last_mb": last,
        "memory_ratio": {name: round(last[name] / first[name], 3) for name in first},
    }


async def measure_idle(daemons: Daemons, size: int) -> Json:
    """Percent of one core, and resident memory, over ``size`` seconds in which nothing happens."""
    await asyncio.sleep(2)
    before, started = daemons.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(size)
    seconds = time.perf_counter() - started
    after = daemons.cpu_seconds()
    percent = {name: round(100 * (after[name] - before[name]) / seconds, 2) for name in after}
    return {
        "cpu_percent": percent,
        "cpu_total": round(sum(percent.values()), 2),
        "memory_mb": daemons.memory(),
    }


Measure = Callable[[Daemons, int], Awaitable[Json]]

WORKLOADS: dict[str, tuple[Measure, list[int]]] = {
    "fan-out": (measure_fan_out, [1000, 10_000]),
    "chain": (measure_chain, [200]),
    "small": (measure_small, [500]),
    "single": (measure_single, [200]),
    "growth": (measure_growth, [10_000]),
    "idle": (measure_idle, [10]),
}
"""By name: what measures it, and the sizes when none is given."""
