"""``python -m bench [WORKLOAD ...]``: one JSON line per run on stdout."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.cold import COLD
from bench.flow import FLOW
from bench.meter import summary
from bench.profiles import PROFILERS, available
from bench.resources import RESOURCES
from bench.system import System
from bench.warm import WARM
from bench.workload import Workload
from gleitzeitd import __version__
from gleitzeitd.plain import Json

HERE = Path(__file__).resolve().parent
WORKLOADS: dict[str, Workload] = {**FLOW, **RESOURCES, **WARM, **COLD}


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    listed = "\n".join(f"  {name:16} {workload.about}" for name, workload in WORKLOADS.items())
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure the system with real daemons. Each run is one line of JSON.",
        epilog=f"workloads:\n{listed}\n\nbench/README.md says how to read the figures.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workload", nargs="*", help="which, see below; all, if none is named")
    parser.add_argument("--size", type=int, help="each workload has its own unit, and its own default")
    parser.add_argument(
        "--repeat", type=int, default=1, help="runs of each, each in new daemons; then a line of medians"
    )
    parser.add_argument(
        "--limit", type=float, default=900.0, help="seconds that a run may take (default 900)"
    )
    parser.add_argument("--watch", action="store_true", help="clients follow every fact of their workflows")
    parser.add_argument("--synchronous", default="FULL", choices=["FULL", "NORMAL", "OFF"], help="of SQLite")
    parser.add_argument(
        "--profile",
        metavar="FOLDER",
        type=Path,
        help="write a profile of each daemon; a run for each profiler, whose figures mean little",
    )
    parser.add_argument("--profiler", choices=list(PROFILERS), help="only this one (default: all there are)")
    parser.add_argument(
        "--compare", metavar="FOLDER", type=Path, help="another checkout: runs of both in turn, and ratios"
    )
    given = parser.parse_args()
    for name in given.workload:
        if name not in WORKLOADS:
            parser.error(f"unknown workload {name!r}, expected one of {', '.join(WORKLOADS)}")
    if given.compare and not (given.compare / "gleitzeitd").is_dir():
        parser.error(f"{given.compare} is no checkout: it has no folder gleitzeitd")
    if given.compare and given.profile:
        parser.error("--compare and --profile do not go together")
    if given.profiler == "py-spy" and "py-spy" not in available():
        parser.error("py-spy is not installed: .venv/bin/pip install py-spy")
    return given


async def run(name: str, size: int, given: argparse.Namespace, profiler: str = "") -> dict[str, Json]:
    """One workload at one size, in daemons of its own."""
    workload = WORKLOADS[name]
    writer = PROFILERS[profiler](given.profile / f"{name}-{size}-{profiler}") if profiler else None
    with tempfile.TemporaryDirectory(prefix="gleitzeit-bench-") as directory:
        if workload.prepare is not None:
            await workload.prepare(Path(directory) / "gleitzeit.db", size)
        system = System(
            Path(directory),
            providers=workload.providers,
            modules=workload.modules,
            all_in_one=workload.all_in_one,
            environment={"GLEITZEIT_SQLITE_SYNCHRONOUS": given.synchronous, **workload.environment},
            profiler=writer,
            watch=given.watch,
        )
        async with system:
            figures = await asyncio.wait_for(workload.measure(system, size), given.limit)
    line = {"workload": name, "size": size, **figures}
    if profiler:
        line["profile"] = str(given.profile / f"{name}-{size}-{profiler}")
    return {**line, "version": __version__, "python": platform.python_version()}


def say(line: dict[str, Json]) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def wanted(given: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """The workloads that were asked for, with their sizes."""
    for name in given.workload or list(WORKLOADS):
        for size in [given.size] if given.size else WORKLOADS[name].sizes:
            yield name, size


def measure(given: argparse.Namespace) -> None:
    """Run what was asked for, one after the other."""
    profilers = ([given.profiler] if given.profiler else available()) if given.profile else [""]
    for name, size in wanted(given):
        for profiler in profilers:
            lines = []
            for _ in range(given.repeat):
                lines.append(asyncio.run(run(name, size, given, profiler)))
                say(lines[-1])
            if given.repeat > 1:
                say({"workload": name, "size": size, "runs": given.repeat, "of": summary(_figures(lines))})


def _figures(lines: list[dict[str, Json]]) -> list[dict[str, Json]]:
    return [{name: value for name, value in line.items() if name not in _NAMES} for line in lines]


_NAMES = ("workload", "size", "version", "python", "profile", "tree")


def compare(given: argparse.Namespace) -> None:
    """Runs of this checkout and of another one in turn, measured by this one's bench; then the ratios."""
    trees = {"this": HERE.parent, "other": given.compare.resolve()}
    with tempfile.TemporaryDirectory(prefix="gleitzeit-bench-") as directory:
        (Path(directory) / "bench").symlink_to(HERE)  # without the rest of this checkout
        for name, size in wanted(given):
            lines: dict[str, list[dict[str, Json]]] = {tree: [] for tree in trees}
            for number in range(given.repeat):
                for tree in sorted(trees, reverse=number % 2 == 0):
                    line = _run_in(trees[tree], directory, name, size, given)
                    lines[tree].append(line)
                    say({"tree": tree, **line})
            say(_ratios(name, size, lines))


def _run_in(tree: Path, bench: str, name: str, size: int, given: argparse.Namespace) -> dict[str, Json]:
    command = [sys.executable, "-m", "bench", name, "--size", str(size), "--synchronous", given.synchronous]
    done = subprocess.run(
        [*command, *(["--watch"] if given.watch else [])],
        cwd=bench,
        env={**os.environ, "PYTHONPATH": f"{bench}:{tree}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    line: dict[str, Json] = json.loads(done.stdout)
    return line


def _ratios(name: str, size: int, lines: dict[str, list[dict[str, Json]]]) -> dict[str, Json]:
    """This one's medians, divided by the other's."""
    this, other = (summary(_figures(lines[tree])) for tree in ("this", "other"))
    return {
        "workload": name,
        "size": size,
        "runs": len(lines["this"]),
        "this_to_other": _divided(this, other),
    }


def _divided(this: dict[str, Json], other: dict[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in this.items():
        base = other.get(name)
        if base is None:
            continue
        if "median" not in value:
            found[name] = _divided(value, base)
        elif base["median"]:
            found[name] = round(value["median"] / base["median"], 3)
    return found


if __name__ == "__main__":
    asked = arguments()
    (compare if asked.compare else measure)(asked)
