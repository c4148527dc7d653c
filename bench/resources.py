"""What the system takes: memory and processor time when idle, when full, and after much work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.meter import CLIENT, memory, percentile, total
from bench.system import System, check, ended, run_all
from bench.workflows import fan_out, payloads, unserved
from bench.workload import Workload, one_task, warm_up
from gleitzeitd.client import Client
from gleitzeitd.plain import Json

FAN = 5000
"""Tasks in a workflow of a long row of them."""


def memory_of(system: System) -> dict[str, dict[str, float]]:
    """Of each daemon."""
    return {name: memory(process.pid) for name, process in system.processes.items()}


def resident(system: System) -> dict[str, dict[str, float]]:
    """The same without ``pss``, which takes long to read."""
    return {name: {"rss": rss} for name, rss in system.memory().items()}


def memory_figures(
    before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]
) -> dict[str, Json]:
    """Resident memory at two times, and by how much it grew, in megabytes."""
    grown = {name: round(after[name]["rss"] - before[name]["rss"], 1) for name in after}
    return {
        "rss_mb_before": {name: each["rss"] for name, each in before.items()},
        "rss_mb_after": {name: each["rss"] for name, each in after.items()},
        "rss_mb_total_after": total((each["rss"] for each in after.values()), 1),
        "grown_mb": grown,
        "grown_mb_most": max(grown.values()),
    }


async def measure_idle(system: System, size: int) -> dict[str, Json]:
    """Percent of one core, and memory, over ``size`` seconds in which nothing happens."""
    await asyncio.sleep(system.settle_seconds)
    with system.meter() as meter:
        await asyncio.sleep(size)
    percent = {
        name: round(100 * used / meter.seconds, 2) for name, used in meter.cpu.items() if name != CLIENT
    }
    found = memory_of(system)
    return {
        "cpu_percent": total(percent.values(), 2),
        "cpu_percent_by_daemon": percent,
        "pss_mb": total((each["pss"] for each in found.values()), 1),
        "pss_mb_most": max(each["pss"] for each in found.values()),
        "pss_mb_by_daemon": {name: each["pss"] for name, each in found.items()},
        "rss_mb_by_daemon": {name: each["rss"] for name, each in found.items()},
    }


async def measure_start(system: System, size: int) -> dict[str, Json]:
    """Seconds from the start of all processes until a workflow has run through them, and once more after
    all were stopped, with the database as it is, ``size`` times.
    """
    first = system.ready_seconds
    again = []
    for _ in range(size):
        system.stop()
        started = time.perf_counter()
        for name in system.names:
            system.start(name)
        await asyncio.wait_for(system.ready(), 60)
        again.append(round(time.perf_counter() - started, 3))
    return {"ready_seconds": first, "again_seconds": sorted(again)[len(again) // 2], "again_all": again}


async def measure_queued(system: System, size: int) -> dict[str, Json]:
    """Memory with ``size`` tasks that wait for a provider that is not there; and the latency of a status."""
    async with system.client() as client:
        await warm_up(system, client)
        before = memory_of(system)
        with system.meter() as meter:
            submitted = [(await client.submit(unserved(each))).workflow_id for each in _portions(size)]
            while not await _all_ready(client, submitted):  # noqa: ASYNC110 - in other processes
                await asyncio.sleep(0.1)
        await asyncio.sleep(system.settle_seconds)
        after = memory_of(system)
        looks = []
        for _ in range(50):
            started = time.perf_counter()
            await client.status(submitted[0])
            looks.append(1000 * (time.perf_counter() - started))
    return {
        **memory_figures(before, after),
        "bytes_per_task": round(1e6 * sum(each["rss"] for each in after.values()) / size)
        - round(1e6 * sum(each["rss"] for each in before.values()) / size),
        "status_p50_ms": round(percentile(sorted(looks), 50), 2),
        **meter.figures(size),
    }


async def _all_ready(client: Client, submitted: Sequence[str]) -> bool:
    for workflow_id in submitted:
        counts = (await client.progress(workflow_id)).counts
        if not counts or counts.get("pending"):
            return False
    return True


def _portions(size: int) -> list[int]:
    full, rest = divmod(size, 1000)
    return [1000] * full + ([rest] if rest else [])


async def measure_growth(system: System, size: int) -> dict[str, Json]:
    """``size`` tasks in a row, in workflows of 5,000: the rate, processor time and memory of the first tenth
    and of the last.
    """
    fan = max(1, min(FAN, size // 10))
    seconds: list[float] = []
    used: list[float] = []
    async with system.client() as client:
        await warm_up(system, client)
        memories = [memory_of(system)]
        for _ in range(max(2, size // fan)):
            with system.meter() as meter:
                await run_all(system, client, [fan_out(fan)], meter)
            seconds.append(meter.seconds)
            used.append(sum(value for name, value in meter.cpu.items() if name != CLIENT))
            memories.append(memory_of(system))
    tenth = max(1, len(seconds) // 10)
    first, last = sum(seconds[:tenth]), sum(seconds[-tenth:])
    return {
        "tasks_per_second_first": round(fan * tenth / first, 1),
        "tasks_per_second_last": round(fan * tenth / last, 1),
        "rate_last_to_first": round(first / last, 3),
        "cpu_us_per_task_first": round(1e6 * sum(used[:tenth]) / tenth / fan, 1),
        "cpu_us_per_task_last": round(1e6 * sum(used[-tenth:]) / tenth / fan, 1),
        **memory_figures(memories[tenth], memories[-1]),
        "rss_last_to_first": {
            name: round(memories[-1][name]["rss"] / memories[tenth][name]["rss"], 3) for name in memories[-1]
        },
    }


async def measure_payload(system: System, size: int) -> dict[str, Json]:
    """Milliseconds per step of a chain of 20 that hands on a text of ``size`` bytes, and memory."""
    async with system.client() as client:
        await warm_up(system, client)
        before = memory_of(system)
        with system.meter() as meter:
            await run_all(system, client, [payloads(20, size)], meter)
    return {
        "ms_per_step": round(1000 * meter.seconds / 20, 2),
        **memory_figures(before, memory_of(system)),
        **meter.figures(20),
    }


async def measure_crowd(system: System, size: int) -> dict[str, Json]:
    """What ``size`` connected, idle components cost, and how fast the system is beside them."""
    before = memory_of(system)
    with _crowd(system, size) as seconds:
        await asyncio.sleep(system.settle_seconds)
        with system.meter() as idle:
            await asyncio.sleep(3 * system.settle_seconds)
        after = memory_of(system)
        async with system.client() as client:
            await warm_up(system, client)
            took = sorted([1000 * (await one_task(client))[0] for _ in range(50)])
            with system.meter() as meter:
                await run_all(system, client, [fan_out(2000)], meter)
    return {
        "connected_seconds": round(seconds, 2),
        "idle_cpu_percent": {
            name: round(100 * used / idle.seconds, 2) for name, used in idle.cpu.items() if name != CLIENT
        },
        "hub_kb_per_component": round(1000 * (after["hub"]["rss"] - before["hub"]["rss"]) / size, 1),
        "p50_ms": round(percentile(took, 50), 2),
        "tasks_per_second": round(2000 / meter.seconds, 1),
        **memory_figures(before, after),
        **meter.figures(2000),
    }


@contextmanager
def _crowd(system: System, size: int) -> Iterator[float]:
    """Connected components in a process of their own; the seconds that it took."""
    started = time.perf_counter()
    crowd = subprocess.Popen(
        [sys.executable, "-m", "bench.crowd", str(size), system.hub_url],
        env=system.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert crowd.stdout is not None
    try:
        if crowd.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{size} components could not connect")
        yield time.perf_counter() - started
    finally:
        crowd.kill()
        crowd.communicate()


async def measure_stopped(system: System, size: int) -> dict[str, Json]:
    """Half of ``size`` tasks for a provider that is stopped for 30 seconds (less for fewer tasks), and half
    for another one: the other one's rate beside that of a run of its own, and by how much memory grew.
    """
    pause = min(30.0, size / 2000)
    half = _portions(size // 2)
    async with system.client() as client:
        await warm_up(system, client)
        with system.meter() as alone:
            await run_all(system, client, [fan_out(each) for each in half], alone)
        before = resident(system)
        most = before
        started = time.perf_counter()
        system.pause("provider-second")
        try:
            stopped = [(await client.submit(fan_out(each, "second/ping"))).workflow_id for each in half]
            with system.meter() as meter:
                running = [(await client.submit(fan_out(each))).workflow_id for each in half]
                for workflow_id in running:
                    while not (await client.status(workflow_id)).has_ended:
                        await asyncio.sleep(0.1)
                        most = _higher(most, resident(system))
            while time.perf_counter() - started < pause:
                await asyncio.sleep(0.1)
                most = _higher(most, resident(system))
        finally:
            system.go_on("provider-second")
        resumed = time.perf_counter()
        await ended(client)
        recovered = time.perf_counter() - resumed
        await check(client, [*stopped, *running])
    done = sum(half)
    return {
        "stopped_seconds": round(resumed - started, 1),
        "tasks_per_second_alone": round(done / alone.seconds, 1),
        "tasks_per_second_beside": round(done / meter.seconds, 1),
        "beside_to_alone": round(alone.seconds / meter.seconds, 3),
        "rest_seconds": round(recovered, 2),
        **memory_figures(before, most),
        **meter.figures(done),
    }


def _higher(
    one: dict[str, dict[str, float]], other: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    return {name: {kind: max(one[name][kind], other[name][kind]) for kind in one[name]} for name in one}


RESOURCES = {
    "idle": Workload(
        about="seven daemons in which nothing happens for SIZE seconds",
        measure=measure_idle,
        sizes=[30],
        smoke=1,
        figure="cpu_percent",
    ),
    "idle-all": Workload(
        about="the same of gleitzeitd all: all roles and providers in one process",
        measure=measure_idle,
        sizes=[30],
        smoke=1,
        figure="cpu_percent",
        all_in_one=True,
    ),
    "start": Workload(
        about="from the start of all processes until a workflow has run; and again, SIZE times",
        measure=measure_start,
        sizes=[5],
        smoke=1,
        figure="ready_seconds",
    ),
    "start-all": Workload(
        about="the same of gleitzeitd all",
        measure=measure_start,
        sizes=[5],
        smoke=1,
        figure="ready_seconds",
        all_in_one=True,
    ),
    "queued": Workload(
        about="memory with SIZE tasks that wait",
        measure=measure_queued,
        sizes=[100_000],
        smoke=50,
        figure="rss_mb_total_after",
    ),
    "growth": Workload(
        about="SIZE tasks in a row: rate and memory at the start and at the end",
        measure=measure_growth,
        sizes=[200_000],
        smoke=40,
        figure="rate_last_to_first",
    ),
    "payload": Workload(
        about="a chain of 20 that hands on a text of SIZE bytes",
        measure=measure_payload,
        sizes=[100, 10_000, 1_000_000],
        smoke=1000,
        figure="ms_per_step",
    ),
    "crowd": Workload(
        about="SIZE connected components that do nothing",
        measure=measure_crowd,
        sizes=[100, 1000],
        smoke=3,
        figure="hub_kb_per_component",
    ),
    "stopped": Workload(
        about="SIZE tasks for two providers, one of which is stopped for 30 s",
        measure=measure_stopped,
        sizes=[100_000],
        smoke=40,
        figure="beside_to_alone",
        modules={"second": "bench.second:Second"},
    ),
}
