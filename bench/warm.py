"""What it costs that work runs in Python: scripts in workers that are warm, functions in processes that stay.

Once from the provider's call to its answer, in this process; and once through the whole system, where single
tasks and those of ``echo/ping`` take turns, and the difference of the medians is what the work itself adds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.meter import percentile
from bench.system import System
from bench.workload import Workload, one_task, warm_up
from gleitzeitd.plain import Json
from gleitzeitd.providers import MethodCall, Provider, builtin, load

CODE = "result = 1"
PAUSE_SECONDS = 0.01
"""Between two calls of a provider that has nothing else to do."""
FIRST = 10
"""Calls that are not counted."""


async def measure_python(system: System, size: int) -> dict[str, Json]:
    """Milliseconds that ``python/execute`` takes for a script of one assignment."""
    provider = builtin("python")()
    return await _both(system, provider, {"python/execute": {"code": CODE}}, size)


async def measure_functions(system: System, size: int) -> dict[str, Json]:
    """Milliseconds that a function takes, in a process and in a thread."""
    provider = load("bench.functions")()
    return await _both(system, provider, {"functions/in_process": {}, "functions/in_thread": {}}, size)


async def _both(
    system: System, provider: Provider, calls: dict[str, dict[str, Json]], size: int
) -> dict[str, Json]:
    found: dict[str, Json] = {}
    await provider.start()
    try:
        for method, parameters in calls.items():
            for kind, pause in (("provider_", PAUSE_SECONDS), ("provider_in_a_row_", 0.0)):
                took = await _provider_alone(provider, method, parameters, size, pause)
                found |= _of(took, f"{_short(method)}{kind}")
    finally:
        await provider.stop()
    async with system.client() as client:
        await warm_up(system, client)
        tasks: list[dict[str, Json]] = [{"method": "echo/ping"}]
        tasks += [{"method": method, "parameters": parameters} for method, parameters in calls.items()]
        took_by: dict[str, list[float]] = {task["method"]: [] for task in tasks}
        with system.meter() as meter:
            for number in range(size + FIRST):
                for task in tasks:
                    document = {"name": "one", "tasks": [{"id": "one", **task}]}
                    end, _ = await one_task(client, document)
                    if number >= FIRST:
                        took_by[task["method"]].append(1000 * end)
    echo = _of(took_by["echo/ping"], "echo_")
    found |= echo
    for method in calls:
        whole = _of(took_by[method], f"{_short(method)}system_")
        found |= whole
        for p in (10, 50):
            added = whole[f"{_short(method)}system_p{p}_ms"] - echo[f"echo_p{p}_ms"]
            found[f"{_short(method)}added_p{p}_ms"] = round(added, 3)
    return {**found, **meter.figures((size + FIRST) * len(tasks))}


def _short(method: str) -> str:
    name = method.partition("/")[2]
    return "" if name == "execute" else f"{name}_"


async def _provider_alone(
    provider: Provider, method: str, parameters: dict[str, Json], size: int, pause: float
) -> Sequence[float]:
    """Milliseconds of each call, with ``pause`` seconds before it."""
    call = MethodCall(
        method=method, parameters=parameters, timeout=60.0, workflow_id="w", task_id="t", attempt=1
    )
    took = []
    for number in range(size + FIRST):
        await asyncio.sleep(pause)
        started = time.perf_counter()
        await provider.call(call)
        if number >= FIRST:
            took.append(1000 * (time.perf_counter() - started))
    return took


def _of(took: Sequence[float], prefix: str) -> dict[str, Json]:
    ordered = sorted(took)
    return {f"{prefix}p{p}_ms": round(percentile(ordered, p), 3) for p in (10, 50, 99)}


WARM = {
    "python": Workload(
        about="python/execute, SIZE times",
        measure=measure_python,
        sizes=[200],
        smoke=3,
        figure="provider_p50_ms",
        providers=("echo", "python"),
    ),
    "functions": Workload(
        about="functions of a module, in a process and in a thread, SIZE times",
        measure=measure_functions,
        sizes=[200],
        smoke=3,
        figure="in_process_provider_p50_ms",
        modules={"functions": "bench.functions"},
    ),
}
