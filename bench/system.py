"""The daemons that are measured: real processes on loopback, with a durable database of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from bench.meter import Meter
from bench.profiles import Profiler
from gleitzeitd.client import Client
from gleitzeitd.plain import Json
from tests.daemons import Daemons

LOOK_SECONDS = 0.02
"""How often it is looked whether all has ended."""
SETTLE_SECONDS = 3.0
"""After something has changed, until it is measured what the system takes when idle."""
AT_ONCE = 50
"""Submissions that wait for their answers at the same time."""


class System(Daemons):
    """All roles, each in its own process, the provider ``echo``, and whatever else a workload asks for."""

    def __init__(
        self,
        directory: Path,
        *,
        providers: Collection[str] = ("echo",),
        modules: Mapping[str, str] | None = None,
        twice: Collection[str] = (),
        environment: Mapping[str, str] | None = None,
        profiler: Profiler | None = None,
        watch: bool = False,
        all_in_one: bool = False,
    ) -> None:
        """``watch``: clients follow every fact of what they have submitted, as ``gleitzeit run`` does.
        ``all_in_one``: one process plays all roles, with all providers of gleitzeitd.
        """
        super().__init__(
            directory,
            providers=providers,
            modules=modules,
            twice=twice,
            environment={"GLEITZEIT_SQLITE_SYNCHRONOUS": "FULL", "LOG_LEVEL": "warning"}
            | dict(environment or {}),
            program=profiler.program if profiler else "gleitzeitd",
            environment_of=profiler.environment if profiler else None,
        )
        self.watch = watch
        self.settle_seconds = SETTLE_SECONDS
        if all_in_one:
            self._arguments = {"hub": ["all"]}
        self._profiler = profiler

    def meter(self) -> Meter:
        """Measures processor time, and writes profiles if that was asked for."""
        return Meter(self)

    def unprofiled_meter(self) -> Meter:
        """For what is done before the measurement."""
        return Meter(self, profiles=False)

    def begin_profiles(self) -> None:
        """From here on."""
        if self._profiler:
            self._profiler.begin({name: process.pid for name, process in self.processes.items()})

    def end_profiles(self) -> None:
        """Up to here; they are written."""
        if self._profiler:
            self._profiler.end()


async def ended(client: Client) -> None:
    """Wait until no workflow runs any more."""
    while await client.list(status="running", limit=1):  # noqa: ASYNC110 - in other processes
        await asyncio.sleep(LOOK_SECONDS)


async def check(client: Client, submitted: Collection[str]) -> None:
    """Make sure that what was measured has happened.

    Raises:
        RuntimeError: one of these workflows did not complete.
    """
    wanted = set(submitted)
    found = [one for one in await client.list() if one.workflow_id in wanted]
    bad = [f"{one.workflow_id} {one.status}: {one.error}" for one in found if one.status != "completed"]
    if bad or len(found) != len(wanted):
        raise RuntimeError(f"of {len(wanted)} workflows, {len(found)} are there; not completed: {bad[:3]}")


async def run_all(system: System, client: Client, documents: Collection[Json], meter: Meter) -> float:
    """Submit, and wait for the end of all, which stops ``meter``. Seconds until the last was accepted.

    Raises:
        RuntimeError: one did not complete.
    """
    limit = asyncio.Semaphore(AT_ONCE)
    started = time.perf_counter()

    async def submit(document: Json) -> str:
        async with limit:
            submitted = await client.submit(document)
            if system.watch:
                async for _ in client.watch(submitted.workflow_id):
                    pass
            return submitted.workflow_id

    if len(documents) == 1:
        submitted = [await submit(document) for document in documents]
    else:
        submitted = await asyncio.gather(*(submit(document) for document in documents))
    accepted = time.perf_counter() - started
    await ended(client)
    meter.stop()
    await check(client, submitted)
    return accepted
