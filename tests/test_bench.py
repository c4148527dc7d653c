"""Every workload of the bench can be measured. Its figures at these sizes mean nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.__main__ import WORKLOADS
from bench.meter import percentile, summary
from bench.profiles import flame_graph, read_stacks
from bench.system import System
from tests.daemons import ROOT

LEAVES_WORK = ("queued",)
"""Measured after the others: what they submit is never done."""


@pytest.mark.slow
async def test_every_workload_of_seven_daemons_can_be_measured(tmp_path: Path) -> None:
    chosen = [name for name, one in WORKLOADS.items() if not one.all_in_one and one.prepare is None]
    modules = {name: spec for each in chosen for name, spec in WORKLOADS[each].modules.items()}
    providers = {name for each in chosen for name in WORKLOADS[each].providers}
    environment = {name: value for each in chosen for name, value in WORKLOADS[each].environment.items()}
    async with System(tmp_path, providers=providers, modules=modules, environment=environment) as system:
        system.settle_seconds = 0.1
        for name in sorted(chosen, key=lambda name: name in LEAVES_WORK):
            async with asyncio.timeout(30):
                figures = await WORKLOADS[name].measure(system, WORKLOADS[name].smoke)
            json.dumps(figures)
            assert WORKLOADS[name].figure in figures, name


@pytest.mark.slow
async def test_every_workload_of_one_process_can_be_measured(tmp_path: Path) -> None:
    async with System(tmp_path, all_in_one=True) as system:
        system.settle_seconds = 0.1
        for name, one in WORKLOADS.items():
            if one.all_in_one:
                assert one.figure in await one.measure(system, one.smoke), name


@pytest.mark.slow
async def test_every_workload_with_a_prepared_database_can_be_measured(tmp_path: Path) -> None:
    for name, one in WORKLOADS.items():
        if one.prepare is not None:
            await one.prepare(tmp_path / "gleitzeit.db", one.smoke)
            async with System(tmp_path) as system:
                assert one.figure in await one.measure(system, one.smoke), name


@pytest.mark.slow
async def test_a_run_is_a_line_and_leaves_a_profile_of_each_daemon(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "chain", "--size", "2", "--profile", str(tmp_path)]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--profiler", "cprofile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [json.loads(each) for each in done.stdout.splitlines()]
    assert (line["workload"], line["size"]) == ("chain", 2)
    folder = Path(line["profile"])
    assert {path.stem for path in folder.glob("*.pstats")} == {*line["cpu_seconds"]} - {"client"}
    assert "functions (under the profiler)" in (folder / "top.txt").read_text()


def test_a_summary_has_the_median_of_every_figure_and_of_those_in_groups() -> None:
    runs = [{"rate": value, "cpu": {"hub": 2 * value}, "name": "x"} for value in (3.0, 1.0, 2.0)]
    rate = {"median": 2.0, "least": 1.0, "most": 3.0}
    assert summary(runs) == {"rate": rate, "cpu": {"hub": {"median": 4.0, "least": 2.0, "most": 6.0}}}


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 51.0), (99, 100.0), (100, 100.0)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], percent) == value


def test_a_flame_graph_shows_every_function_above_its_caller(tmp_path: Path) -> None:
    folded = tmp_path / "hub.folded"
    folded.write_text("main (a.py);run (b.py) 3\nmain (a.py);<stop> (b.py) 1\n")
    stacks = read_stacks(folded)
    assert stacks == Counter({("main (a.py)", "run (b.py)"): 3, ("main (a.py)", "<stop> (b.py)"): 1})
    graph = flame_graph("hub", stacks)
    assert "<title>main (a.py): 100.0 %</title>" in graph
    assert "<title>run (b.py): 75.0 %</title>" in graph
    assert "<title>&lt;stop&gt; (b.py): 25.0 %</title>" in graph
