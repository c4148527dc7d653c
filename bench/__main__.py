"""``python -m bench [WORKLOAD ...]``: one JSON line per run on stdout."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
from pathlib import Path

from bench.cold import fill, measure_cold
from bench.workloads import WORKLOADS
from gleitzeitd import __version__
from tests.daemons import Daemons

ALL = {**WORKLOADS, "cold": (measure_cold, [10_000])}


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure the system with real daemons.")
    parser.add_argument("workload", nargs="*", help=f"one of {', '.join(ALL)}; all, if none is named")
    parser.add_argument("--size", type=int, help="tasks, workflows or seconds; each workload has its own")
    parser.add_argument("--repeat", type=int, default=1, help="how often to run each (default 1)")
    parser.add_argument("--synchronous", default="FULL", choices=["FULL", "NORMAL", "OFF"])
    given = parser.parse_args()
    unknown = [name for name in given.workload if name not in ALL]
    if unknown:
        parser.error(f"unknown workload {unknown[0]!r}, expected one of {', '.join(ALL)}")
    return given


async def run(name: str, size: int, synchronous: str) -> None:
    """One workload at one size, in daemons of its own."""
    measure, _ = ALL[name]
    with tempfile.TemporaryDirectory(prefix="gleitzeit-bench-") as directory:
        if name == "cold":
            await fill(Path(directory) / "gleitzeit.db", size)
        environment = {"GLEITZEIT_SQLITE_SYNCHRONOUS": synchronous, "LOG_LEVEL": "warning"}
        async with Daemons(Path(directory), environment=environment) as daemons:
            figures = await measure(daemons, size)
    line = {
        "workload": name,
        "size": size,
        **figures,
        "version": __version__,
        "python": platform.python_version(),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run what was asked for, one after the other."""
    given = arguments()
    for name in given.workload or list(ALL):
        for size in [given.size] if given.size else ALL[name][1]:
            for _ in range(given.repeat):
                asyncio.run(run(name, size, given.synchronous))


main()
