"""Workflows of many shapes, each with the results that it has to have, and who submits them.

Every task adds up what its dependencies have found and a number of its own, so that a result that
was taken from another task, another workflow, or an old attempt shows.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gleitzeitd.client import Client
from gleitzeitd.errors import GleitzeitError, WorkflowConflict, WorkflowInvalid

MODULUS = 1_000_003
REPEAT_SECONDS = 0.2
"""Between two attempts to submit, and to read, when one has failed."""


def added(values: list[int], plus: int) -> int:
    """What a task makes of what its dependencies have found."""
    total = plus
    for value in values:
        total = (total * 31 + value) % MODULUS
    return total


@dataclass(slots=True)
class Plan:
    """A workflow, what must become of it, and what has become of it so far."""

    workflow_id: str
    shape: str
    tasks: list[dict[str, Any]] = field(default_factory=list)
    expected: dict[str, int | str] = field(default_factory=dict)
    """The value of each task, or ``failed`` or ``skipped``."""
    begun_at: float = 0.0
    """Monotonic, as all times here."""
    accepted_at: float = 0.0
    ended_at: float = 0.0
    submissions: int = 0
    seen: str = ""
    """The end that the client was told."""

    @property
    def status(self) -> str:
        """How it must end."""
        return "completed" if all(isinstance(v, int) for v in self.expected.values()) else "failed"

    @property
    def document(self) -> dict[str, Any]:
        """What is submitted."""
        return {"name": self.shape, "tasks": self.tasks}

    def add(
        self, task_id: str, *after: str, plus: int, seconds: float, fails: int = 0, gives_up: bool = False
    ) -> None:
        """A task that depends on those; it fails so often, and then for good if ``gives_up``."""
        parameters: dict[str, Any] = {
            "values": [f"${{{each}.value}}" for each in after],
            "plus": plus,
            "seconds": seconds,
        }
        task: dict[str, Any] = {"id": task_id, "method": "ledgered/add", "parameters": parameters}
        if fails:
            # Attempts that were lost count for the provider and not for the policy: it is never short of one.
            parameters["times"] = 1000 if gives_up else fails
            attempts = fails if gives_up else fails + 1
            task["method"] = "ledgered/flaky"
            task["retry"] = {"max_attempts": attempts, "base_delay": 0.2, "backoff": "fixed"}
        self.tasks.append(task)
        found = [self.expected[each] for each in after]
        if any(isinstance(value, str) for value in found):
            self.expected[task_id] = "skipped"
        elif gives_up:
            self.expected[task_id] = "failed"
        else:
            self.expected[task_id] = added([value for value in found if isinstance(value, int)], plus)


class Shapes:
    """Draws plans from one source of chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"shapes {seed}")
        self._made = 0
        self._shapes: list[Callable[[Plan], None]] = [
            self._chain, self._fan, self._diamond, self._retries, self._failure, self._waits, self._graph,
        ]  # fmt: skip

    def draw(self) -> Plan:
        """The next plan."""
        shape = self._random.choice(self._shapes)
        self._made += 1
        plan = Plan(f"{shape.__name__.strip('_')}-{self._made:05}", shape.__name__.strip("_"))
        shape(plan)
        return plan

    def _add(self, plan: Plan, task_id: str, *after: str, fails: int = 0, gives_up: bool = False) -> str:
        seconds = round(self._random.choice([0, 0, 0.01, 0.05, 0.1]), 3)
        plus = self._random.randrange(MODULUS)
        plan.add(task_id, *after, plus=plus, seconds=seconds, fails=fails, gives_up=gives_up)
        return task_id

    def _chain(self, plan: Plan) -> None:
        last = self._add(plan, "s0")
        for n in range(1, self._random.randint(3, 8)):
            last = self._add(plan, f"s{n}", last)

    def _fan(self, plan: Plan) -> None:
        root = self._add(plan, "root")
        branches = [self._add(plan, f"b{n}", root) for n in range(self._random.randint(3, 12))]
        self._add(plan, "join", *branches)

    def _diamond(self, plan: Plan) -> None:
        top = self._add(plan, "top")
        self._add(plan, "bottom", self._add(plan, "left", top), self._add(plan, "right", top))

    def _retries(self, plan: Plan) -> None:
        first = self._add(plan, "first", fails=self._random.randint(1, 2))
        self._add(plan, "last", self._add(plan, "middle", first), first)

    def _failure(self, plan: Plan) -> None:
        first = self._add(plan, "first")
        bad = self._add(plan, "bad", first, fails=self._random.randint(1, 2), gives_up=True)
        self._add(plan, "never", self._add(plan, "after", bad), first)
        self._add(plan, "beside", first)

    def _waits(self, plan: Plan) -> None:
        for n in range(2):
            seconds = round(self._random.uniform(0.1, 0.4), 3)
            plan.add(f"w{n}", plus=self._random.randrange(MODULUS), seconds=seconds)

    def _graph(self, plan: Plan) -> None:
        made: list[str] = []
        for n in range(self._random.randint(4, 10)):
            after = self._random.sample(made, min(len(made), self._random.randint(0, 3)))
            made.append(self._add(plan, f"g{n}", *after))


@dataclass(slots=True)
class Workload:
    """Clients that submit one workflow after another, and follow each to its end."""

    shapes: Shapes
    plans: list[Plan] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopping: bool = False

    async def keep(self, clients: list[Client], each: int, pause: float) -> None:
        """Until told to stop, and all that was begun has ended. Each client has so many under way."""
        async with asyncio.TaskGroup() as group:
            for client in clients:
                for _ in range(each):
                    group.create_task(self._one_after_another(client, pause))

    async def _one_after_another(self, client: Client, pause: float) -> None:
        while not self.stopping:
            plan = self.shapes.draw()
            self.plans.append(plan)
            plan.begun_at = time.monotonic()
            if await self._submitted(client, plan):
                await self._followed(client, plan)
            await asyncio.sleep(pause)

    async def _submitted(self, client: Client, plan: Plan) -> bool:
        """Whether it was accepted: only a bug refuses these."""
        while True:
            plan.submissions += 1
            try:
                await client.submit(plan.document, workflow_id=plan.workflow_id)
            except (WorkflowInvalid, WorkflowConflict) as refused:
                self.problems.append(f"{plan.workflow_id} was refused: {type(refused).__name__}: {refused}")
                return False
            except GleitzeitError:
                await asyncio.sleep(REPEAT_SECONDS)
            else:
                plan.accepted_at = time.monotonic()
                return True

    async def _followed(self, client: Client, plan: Plan) -> None:
        last, number = "", 0
        while True:
            try:
                async for published in client.watch(plan.workflow_id, number):
                    last = published.event.name
                    stamp = getattr(published.event, "feed", None)
                    if stamp is not None and stamp.number <= number:
                        self.problems.append(
                            f"{plan.workflow_id}: watching gave {stamp.number} after {number}"
                        )
                    number = stamp.number if stamp is not None else number
            except GleitzeitError:
                await asyncio.sleep(REPEAT_SECONDS)
            else:
                plan.seen, plan.ended_at = last, time.monotonic()
                return

    def open(self) -> list[Plan]:
        """Those whose end no client has seen."""
        return [plan for plan in self.plans if not plan.ended_at]
