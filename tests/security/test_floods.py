"""Floods: whatever comes over a hub's port, a workflow goes through meanwhile and the hub's memory is bounded.

With real processes. What is normal is measured in the same run; attackers have processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.daemons import ROOT, Daemons

pytestmark = [pytest.mark.slow, pytest.mark.alone]

MEMORY = 200e6
"""Bytes: the most that a hub may ever have had."""
SLOWER = 2.0
"""Times as long as normally."""
TIMER_SECONDS = 0.01
"""What the measuring itself may be off."""
TRIES = 3
"""The machine may be busy with something else: only what is slow each time is slow because of a flood."""
SOME = {
    "name": "some",
    "tasks": [
        {"id": "a", "method": "echo/ping"},
        {"id": "b", "method": "echo/ping", "dependencies": ["a"]},
        {"id": "c", "method": "echo/ping", "dependencies": ["a"]},
        {"id": "d", "method": "echo/ping", "dependencies": ["b", "c"]},
    ],
}
FLOODS = {"silent": 5000, "unknown": 5000, "huge": 8, "deaf": 10, "curious": 10}
"""Kinds of attackers and their connections."""


async def median_seconds(client, runs):
    """Of a workflow's run."""
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        await client.run(SOME)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


class Flood:
    """An attacker, as a context manager."""

    def __init__(self, daemons, kind, size):
        self._arguments = [kind, str(daemons.port), daemons.token, str(size)]
        self.seen = {}

    async def __aenter__(self):
        command = [sys.executable, "-m", "tests.security.attacker", *self._arguments]
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
        assert await asyncio.wait_for(self._process.stdout.readline(), 30) == b"ready\n"
        return self

    async def __aexit__(self, *_):
        if self._process.returncode is None:
            self._process.stdin.close()
            try:
                said = await asyncio.wait_for(self._process.stdout.readline(), 5)
                self.seen = json.loads(said or b"{}")
            finally:
                if self._process.returncode is None:
                    self._process.kill()
                await self._process.wait()


def highest_memory(pid):
    """Resident, in bytes, since the process began."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


@pytest.fixture(autouse=True)
def many_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    if before[1] != resource.RLIM_INFINITY and before[1] < 6000:
        pytest.skip("too few files may be open")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_workflow_goes_through_every_flood_in_twice_its_time_and_the_hubs_memory_is_bounded(
    tmp_path, capsys
):
    asyncio.run(_floods(tmp_path, capsys))


async def _floods(tmp_path, capsys):
    async with Daemons(tmp_path) as daemons, daemons.client() as client:
        hub = psutil.Process(daemons.processes["hub"].pid)
        await median_seconds(client, 5)
        lines = []
        for kind, size in FLOODS.items():
            for _ in range(TRIES):
                slower, line = await flooded(daemons, client, hub, kind, size)
                lines.append(line)
                with capsys.disabled():
                    print("\n" + line, end="")
                if slower <= SLOWER:
                    break
            assert slower <= SLOWER, "\n".join(lines)
            assert highest_memory(hub.pid) < MEMORY, "\n".join(lines)
        assert "Traceback" not in daemons.log("hub")


async def flooded(daemons, client, hub, kind, size):
    """How many times as long a workflow took, and all figures for people."""
    normal = await median_seconds(client, 9)
    used = sum(hub.cpu_times()[:2])
    async with Flood(daemons, kind, size) as flood:
        strong = time.perf_counter()
        meanwhile = await median_seconds(client, 15)
        now = hub.memory_info().rss
        # A newcomer gets in, too.
        async with daemons.client() as another:
            await another.run(SOME)
        lasted = time.perf_counter() - strong
    slower = max(0.0, meanwhile - TIMER_SECONDS) / normal
    return slower, (
        f"{kind:8} {size:5} connections: {1000 * normal:.0f} ms -> {1000 * meanwhile:.0f} ms; hub: {now / 1e6:.0f} "
        f"MB, at most {highest_memory(hub.pid) / 1e6:.0f} MB, {sum(hub.cpu_times()[:2]) - used:.1f} s of CPU "
        f"({lasted:.1f} s at full strength); {flood.seen}"
    )
