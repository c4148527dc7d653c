"""One provider under test: what is known of it, and what it can be asked."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gleitzeitd.conform.arena import Arena, Seen
from gleitzeitd.conform.samples import sample
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.machines.members import Member
from gleitzeitd.model.names import Role, TaskId, WorkflowId
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.plain import Json, from_plain

WORKFLOW = WorkflowId("conform")
END_SECONDS = 3.0
"""For a process to end when it is over; then it is killed."""
LIMIT_SECONDS = 300.0
"""That calls may take, unless their end is what is looked at."""
_SLOW = ("wait", "sleep")
_QUIET = 0.5


class Failed(Exception):
    """A check has found something; the text says what was seen."""


class Skipped(Exception):
    """A check could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A call that can be made."""

    method: str
    parameters: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the provider's author can say."""

    seconds: float = 5.0
    """For every answer."""
    start_seconds: float = 60.0
    """Until it has registered."""
    away_seconds: float = 2.0
    """For which the hub is away when it is started again."""
    calls: tuple[Sample, ...] = ()
    """Calls to make; none: one is made up."""
    slow: Sample | None = None
    """A call that takes long enough to be cancelled."""
    large_bytes: int = 2**20


@dataclass(slots=True)
class Driver:
    """Sends what engines, registries and clients would, and waits for what comes back."""

    arena: Arena
    settings: Settings
    command: Sequence[str] = ()
    """Starts the provider; without one, it starts by itself."""
    component_id: str = ""
    protocol: Protocol = field(default_factory=lambda: Protocol(name=""))
    process: asyncio.subprocess.Process | None = None
    kept: dict[TaskId, tuple[Sample, Json]] = field(default_factory=dict)
    """Task ids of calls that were answered, with what was asked and the answer."""
    _numbers: int = 0

    # --- its process ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start its process, if it is ours to start.

        Raises:
            ConfigError: that is not possible.
        """
        if not self.command:
            return
        told = {"GLEITZEIT_HUB_URL": self.arena.hub_url, "GLEITZEIT_TOKEN": self.arena.token}
        try:
            # What it prints must not get between our lines on standard output.
            self.process = await asyncio.create_subprocess_exec(
                *self.command, env={**os.environ, **told}, stdin=asyncio.subprocess.DEVNULL, stdout=2,
                start_new_session=True,
            )  # fmt: skip
        except OSError as problem:
            raise ConfigError(f"{self.command[0]}: {problem.strerror}") from problem

    def ended(self) -> bool:
        """Whether its process is no more."""
        return self.process is not None and self.process.returncode is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes, as systemd does."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    async def stop(self) -> None:
        """End it, by force if need be."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ended():
                break
            self.signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
        self.signal(signal.SIGKILL)  # what it has left behind

    # --- what is known of it ----------------------------------------------------------------------

    def mark(self) -> int:
        """Now, as a place in the record."""
        return len(self.arena.record.seen)

    def member(self) -> Member:
        """Its connection. Raises Failed: there is none."""
        found = self.arena.provider(self.component_id)
        if found is None:
            raise Failed("it is not connected" + self._end())
        return found

    def _end(self) -> str:
        return (
            f"; its process has ended with {self.process.returncode}" if self.ended() and self.process else ""
        )

    async def registered(self, since: int, *, other_than: str = "") -> None:
        """Wait until it is a component, has declared its protocol and says that it serves it.

        ``other_than`` is a connection that does not count.

        Raises:
            Failed: something of it does not come.
        """
        seconds, refusals = self.settings.seconds, len(self.arena.record.refusals)

        for name in ("register_component", "register_protocol", "register_provider"):
            if await self.event(name, since, seconds, other_than=other_than) is None:
                raise Failed(self.nothing(f"{name} did not come within {seconds:g} s", refusals))

    async def event(
        self, name: str, since: int, seconds: float | None = None, *, other_than: str = ""
    ) -> Seen | None:
        """The first event of this name from the provider."""

        def wanted(each: Seen) -> bool:
            mine = self.component_id in ("", each.source)
            return mine and each.name == name and each.connection != other_than

        return await self.arena.record.first(wanted, since, seconds or self.settings.seconds)

    def nothing(self, what: str, refusals: int) -> str:
        """``what``, and what else happened meanwhile that may explain it."""
        found = self.arena.record.refusals[refusals:]
        more = [f"the hub refused {found[0]}"] if found else []
        if self.arena.provider(self.component_id) is None:
            more.append("it is not connected" + self._end())
        return "; ".join([what, *more])

    # --- calls ------------------------------------------------------------------------------------

    def samples(self) -> tuple[Sample, ...]:
        """Calls that it should be able to answer. Raises Skipped: none could be made up."""
        if self.settings.calls:
            return self.settings.calls
        why = "it has no methods"
        for name, method in self.protocol.methods.items():
            if name.rpartition("/")[2] in _SLOW:
                continue
            try:
                return (Sample(name, sample(method.parameters)),)
            except MalformedData as problem:
                why = f"{name}: {problem}"
        raise Skipped(f"no call could be made up ({why}): give one with --call")

    def slow_sample(self) -> Sample:
        """A call that takes its time. Raises Skipped: none is known."""
        if self.settings.slow is not None:
            return self.settings.slow
        for name, method in self.protocol.methods.items():
            known = method.parameters.get("properties", {})
            if name.rpartition("/")[2] in _SLOW and "seconds" in known:
                return Sample(name, {"seconds": 60})
        raise Skipped("no call is known that can be cancelled: give one with --slow")

    def task(self, label: str) -> TaskId:
        """An id that was not used before."""
        self._numbers += 1
        return TaskId(f"{label}-{self._numbers}")

    def epoch(self) -> int:
        """The one that it has registered with last; 0: none."""
        said = [each for each in self.arena.record.seen if each.name == "register_provider"]
        return from_plain(r.RegisterProvider, said[-1].body).epoch if said else 0

    def order(
        self, task: TaskId, call: Sample, *, epoch: int | None = None, timeout: float = LIMIT_SECONDS
    ) -> None:
        """Have the engine send a call; to its present process, if it has said which one that is."""
        event = v.ExecuteMethod(
            workflow_id=WORKFLOW,
            task_id=task,
            attempt=1,
            method=call.method,
            parameters=call.parameters,
            timeout=timeout,
            epoch=self.epoch() if epoch is None else epoch,
            keep=600.0,
        )
        self.arena.tell(Role.EXECUTION_ENGINE, event, self.member().component_id)

    def cancel(self, task: TaskId) -> None:
        """Have the engine take a call back."""
        event = v.CancelMethod(workflow_id=WORKFLOW, task_id=task, attempt=1, reason="a trial")
        self.arena.tell(Role.EXECUTION_ENGINE, event, self.member().component_id)

    def answers(self, task: str, since: int) -> list[Seen]:
        """What has come for a call."""
        key = (WORKFLOW, task, 1)
        return [
            each
            for each in self.arena.record.seen[since:]
            if each.name in ("method_result", "provider_error")
            and tuple(each.body.get(part) for part in ("workflow_id", "task_id", "attempt")) == key
        ]

    async def answer(self, task: TaskId, since: int) -> Seen:
        """The first that comes for a call. Raises Failed: none does."""
        refusals = len(self.arena.record.refusals)
        there = await self.arena.record.until(lambda: bool(self.answers(task, since)), self.settings.seconds)
        if not there:
            others = {each.body.get("task_id") for each in self.arena.record.seen[since:]} - {None, task}
            why = f"no answer within {self.settings.seconds:g} s"
            why += f"; one came for task_id {others.pop()!r}" if others else ""
            raise Failed(self.nothing(why, max(0, refusals - 1)))
        return self.answers(task, since)[0]

    async def ask(self, label: str, call: Sample, *, epoch: int | None = None) -> Seen:
        """Make a call under a new key, and wait for its answer."""
        task, since = self.task(label), self.mark()
        self.order(task, call, epoch=epoch)
        return await self.answer(task, since)

    async def quiet(self) -> None:
        """Time for what should not come."""
        await asyncio.sleep(min(_QUIET, self.settings.seconds))
