"""What the simulated cluster is made of: its weather, its store that checks every commit, its processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gleitzeitd.machines.base import (
    Machine,
)
from gleitzeitd.machines.link import Link
from gleitzeitd.model.change import Change, Outcome
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.runtime.connection import LOOKS
from gleitzeitd.stores.memory import MemoryStore

ECHO = Protocol(name="echo/v1", methods={"echo/echo": Method(), "echo/fail": Method()})
AT = "2026-01-01T00:00:00.000Z"
LOOK = 5.0 / LOOKS
"""Seconds between two looks at a hub: as the component's settings have it."""


def ran(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


@dataclass(frozen=True)
class Network:
    """What goes wrong on the way; probabilities per message and leg."""

    delay: float = 0.002
    """Seconds, at most."""
    loss: float = 0.0
    duplicates: float = 0.0


@dataclass(frozen=True)
class Disk:
    """How the store does."""

    fastest: float = 0.0005
    """Seconds until a commit or a page is there."""
    slowest: float = 0.004
    fails: float = 0.0
    """Probability that it cannot: nothing has happened then."""


@dataclass(frozen=True)
class Cut:
    """No way from a node to a hub, or back."""

    until: float
    loses: bool
    """What is sent meanwhile is lost; else it comes late."""


class Violation(AssertionError):
    """An invariant is broken."""


class WatchedStore(MemoryStore):
    """Checks each commit against what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.completed: Counter[tuple[str, str]] = Counter()
        self.leased: Counter[tuple[str, str, int]] = Counter()
        self.ended: Counter[str] = Counter()
        self.numbers: dict[int, int] = {}
        self.cancelling: set[str] = set()

    async def commit(self, changes: list[Change], at: str) -> list[Outcome]:  # type: ignore[override]
        outcomes = await super().commit(changes, at)
        for outcome in outcomes:
            for execution in outcome.executions:
                self.leased[execution.workflow_id, execution.task_id, execution.attempt] += 1
                if execution.workflow_id in self.cancelling:
                    raise Violation(f"{execution.workflow_id} is cancelled: {execution.task_id} was leased")
            for fact in outcome.facts:
                if fact.stamp.number != self.numbers.get(fact.shard, 0) + 1:
                    raise Violation(f"the feed of shard {fact.shard} has a hole before {fact.stamp.number}")
                self.numbers[fact.shard] = fact.stamp.number
                if fact.name == "workflow_cancelling":
                    self.cancelling.add(fact.workflow_id)
                if fact.name == "task_completed":
                    key = (fact.workflow_id, fact.body["task_id"])
                    self.completed[key] += 1
                    if self.completed[key] > 1:
                        raise Violation(f"{key} completed twice")
                if fact.name in ("workflow_completed", "workflow_failed", "workflow_cancelled"):
                    self.ended[fact.workflow_id] += 1
                    if self.ended[fact.workflow_id] > 1:
                        raise Violation(f"{fact.workflow_id} ended twice")
        return outcomes


@dataclass
class Node:
    """One process."""

    name: str
    make: Callable[[int], Machine]
    link: Link
    epoch: int
    alive: bool = True
    timers: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    connections: dict[str, str] = field(default_factory=dict)  # hub -> connection
    cancelled: set[tuple[str, str, int]] = field(default_factory=set)
    """Attempts that this process has been told to end."""
    silent: dict[str, int] = field(default_factory=dict)  # connection -> looks at it since something came
    failures: dict[str, int] = field(default_factory=dict)  # hub -> connections in a row that did not last

    @property
    def machine(self) -> Machine:
        return self.link.machine
