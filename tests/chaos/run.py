"""One run: daemons, links through proxies, clients, faults, the time after them, and the audit."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gleitzeitd.client import Client
from tests.chaos.audit import Auditor, Execution, Findings, read_record
from tests.chaos.faults import CLOSE, CUT, KILL, PAUSE, RESTART, Fault, drawn
from tests.chaos.proxy import Proxy
from tests.chaos.watchman import Watchman
from tests.chaos.workload import Plan, Shapes, Workload
from tests.daemons import ROLES, STOP_SECONDS, Daemons

CLIENTS = ("client-1", "client-2")
HUBS = 2
DRAIN_SECONDS = 60.0
"""Within which everything accepted has to end, after the last fault."""
LOOK_SECONDS = 2.0
AFTERMATH = 20.0
"""Seconds after its end in which a fault may still have effects: a lost hub, a lease."""
BIRTH_SECONDS = 5.0
"""In which a process, on a busy machine, may not have come to listening to signals."""
COLLAPSE = "a bug has ended this process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    seconds: float
    seed: int
    per_minute: float = 60.0
    under_way: int = 4
    """Workflows under way at once, per client. What runs in a process that is killed runs again, so this
    decides how many executions each fault costs."""
    pause: float = 0.2
    """Seconds between the end of one and the next."""


@dataclass(slots=True)
class Account:
    """What has come of it."""

    options: Options
    faults: Counter[str] = field(default_factory=Counter)
    plans: list[Plan] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    drained: float | None = None
    """Seconds from the end of the last fault to the end of the last workflow."""
    watchman: Watchman = field(default_factory=Watchman)
    violations: list[str] = field(default_factory=list)
    """Those that the auditor does not see."""

    @property
    def all_violations(self) -> list[str]:
        """Everything that should not be."""
        return [*self.violations, *self.findings.violations]


@dataclass(slots=True)
class Interval:
    """When something was the matter with a daemon or with its links."""

    name: str
    began: float
    ended: float


class Run:
    """See the module."""

    def __init__(self, directory: Path, options: Options) -> None:
        self.directory = directory
        self.options = options
        self.record = directory / "executions.txt"
        self.proxies: dict[tuple[str, str], Proxy] = {}
        self.daemons = Daemons(
            directory,
            providers=(),
            modules={"ledgered": "tests.chaos.provider:Ledgered"},
            twice={*ROLES, "provider-ledgered"} - {"persistence"},
            hubs=HUBS,
            hub_urls_of=self._urls,
            environment={
                "GLEITZEIT_PROVIDER_RECORD": str(self.record),
                "GLEITZEIT_SQLITE_SYNCHRONOUS": "FULL",
            },
            ready_method="ledgered/ready",
        )
        self.account = Account(options)
        self._troubles: list[Interval] = []
        self._names: dict[int, str] = {}  # process id -> daemon
        self._started: dict[int, float] = {}  # process id -> monotonic time, of those started by faults
        self._away: set[str] = set()  # ended by us, and to be started again by us
        self._paused: set[str] = set()
        self._log = (directory / "faults.log").open("a")

    def _urls(self, name: str) -> list[str]:
        return [f"http://127.0.0.1:{self.proxies[name, hub].port}" for hub in self.daemons.ports]

    async def run(self) -> Account:
        """All of it; the daemons are ended in any case."""
        ends = [name for name in self.daemons.names if name not in self.daemons.ports]
        for name in [*ends, *CLIENTS]:
            for hub, port in self.daemons.ports.items():
                self.proxies[name, hub] = Proxy(port)
                await self.proxies[name, hub].start()
        try:
            async with self.daemons:
                self._remember()
                await self._storm()
                await asyncio.to_thread(self._audit)
        finally:
            for proxy in self.proxies.values():
                await proxy.stop()
            self._log.close()
        return self.account

    # --- the three parts --------------------------------------------------------------------------

    async def _storm(self) -> None:
        workload = Workload(Shapes(self.options.seed))
        self.account.plans = workload.plans
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for name in CLIENTS:
                client = Client(hub_urls=self._urls(name), token=self.daemons.token, name=name, timeout=10)
                clients.append(await stack.enter_async_context(client))
            work = asyncio.ensure_future(workload.keep(clients, self.options.under_way, self.options.pause))
            guard = asyncio.ensure_future(self._guard())
            try:
                await self._misfortune()
                workload.stopping = True
                await self._drain(work, workload)
            finally:
                for task in (work, guard):
                    task.cancel()
                await asyncio.wait({work, guard})
                for task in (work, guard):
                    if not task.cancelled() and task.exception() is not None:
                        raise task.exception()  # type: ignore[misc]
        self.account.violations += workload.problems

    async def _misfortune(self) -> None:
        """All faults, each in its time, and healed."""
        began = time.monotonic()
        links = list(self.proxies)
        plan = drawn(
            self.options.seed, self.options.seconds, self.options.per_minute, self.daemons.names, links
        )
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(began + fault.at - time.monotonic())
                self._say(str(fault))
                group.create_task(self._suffer(fault))
            await asyncio.sleep(began + self.options.seconds - time.monotonic())
        self._say("all faults are over")

    async def _drain(self, work: asyncio.Future[None], workload: Workload) -> None:
        began = time.monotonic()
        await asyncio.wait({work}, timeout=DRAIN_SECONDS)
        if work.done():
            self.account.drained = max([plan.ended_at - began for plan in workload.plans] or [0.0])
            return
        left = workload.open()
        names = ", ".join(f"{p.workflow_id}{'' if p.accepted_at else ' (not accepted)'}" for p in left[:20])
        self.account.violations.append(
            f"{len(left)} workflows have not ended {DRAIN_SECONDS:g} s after the last fault, as far as their "
            f"clients know: {names}"
        )

    def _audit(self) -> None:
        for name, process in self.daemons.processes.items():
            if process.poll() is not None:
                self.account.violations.append(f"{name} has ended with {process.returncode}")
            if COLLAPSE in (log := self.daemons.log(name)) or "Traceback" in log:
                self.account.violations.append(f"{name} logged a bug: see {name}.log")
        auditor = Auditor(self.directory / "gleitzeit.db", read_record(self.record))
        try:
            self.account.findings = auditor.audit(
                self.account.plans, self.account.faults.total(), self._is_excused
            )
        finally:
            auditor.close()
        self.account.violations += self.account.watchman.growth()

    def _is_excused(self, first: Execution, second: Execution) -> bool:
        names = {self._names.get(first.pid, "?"), *self.daemons.ports}
        return any(
            trouble.name in names
            and trouble.began <= second.began
            and first.began <= trouble.ended + AFTERMATH
            for trouble in self._troubles
        )

    # --- one fault --------------------------------------------------------------------------------

    async def _suffer(self, fault: Fault) -> None:
        trouble = Interval(fault.target, time.monotonic(), float("inf"))
        self._troubles.append(trouble)
        self.account.faults[fault.kind] += 1
        proxy = self.proxies.get((fault.target, fault.hub))
        if fault.kind in (KILL, RESTART):
            await self._restart(fault)
        elif fault.kind == PAUSE:
            if self._lives(fault.target):
                self.daemons.pause(fault.target)
                self._paused.add(fault.target)
                await asyncio.sleep(fault.seconds)
                self._paused.discard(fault.target)
                self.daemons.go_on(fault.target)
        elif proxy is not None and fault.kind == CUT:
            proxy.cut("swallow" if fault.how == "swallow" else "hold", fault.lanes)
            await asyncio.sleep(fault.seconds)
            proxy.heal()
        elif proxy is not None and fault.kind == CLOSE:
            proxy.close()
        trouble.ended = time.monotonic()

    def _lives(self, name: str) -> bool:
        return self.daemons.processes[name].poll() is None

    async def _restart(self, fault: Fault) -> None:
        name, process = fault.target, self.daemons.processes[fault.target]
        self._away.add(name)
        if fault.kind == KILL:
            process.kill()
        else:
            began = time.monotonic()
            young = began - self._started.get(process.pid, -BIRTH_SECONDS) < BIRTH_SECONDS
            process.terminate()
            while process.poll() is None and time.monotonic() - began < STOP_SECONDS:
                await asyncio.sleep(0.05)
            self._say(
                f"           {name} ended with {process.returncode} after {time.monotonic() - began:.1f} s"
            )
            # One that has hardly begun does not listen to signals yet; systemd takes that for a good end, too.
            unborn = process.returncode == -signal.SIGTERM and young
            if process.returncode != 0 and not unborn:
                self.account.violations.append(
                    f"{name} was asked to end, and its exit code is {process.returncode} (None: it did not end "
                    f"within {STOP_SECONDS:g} s)"
                )
                process.kill()
        await asyncio.to_thread(process.wait)
        await asyncio.sleep(fault.seconds)
        self._start(name)
        self._away.discard(name)

    def _start(self, name: str) -> None:
        self.daemons.start(name)
        self._names[self.daemons.processes[name].pid] = name
        self._started[self.daemons.processes[name].pid] = time.monotonic()

    def _remember(self) -> None:
        self._names |= {process.pid: name for name, process in self.daemons.processes.items()}

    async def _guard(self) -> None:
        """As systemd does: start what has ended by itself. And look at all of them now and then."""
        while True:
            for name, process in self.daemons.processes.items():
                if name in self._away:
                    continue
                if (code := process.poll()) is not None:
                    self._say(f"           {name} ended by itself with {code}")
                    self.account.violations.append(f"{name} ended by itself with {code}: see {name}.log")
                    self._start(name)
                elif name not in self._paused:
                    self.account.watchman.look(name, process.pid)
            await asyncio.sleep(LOOK_SECONDS)

    def _say(self, line: str) -> None:
        print(line, file=self._log, flush=True)
        print(line, file=sys.stderr, flush=True)
