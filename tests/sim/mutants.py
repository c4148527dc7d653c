"""Planted bugs: each takes one guarantee away from the production classes, by replacing a method or a rule.

An oracle that finds none of them would be worth nothing. Each has a profile in which it shows, and a
budget: the number of seeds within which it has to be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from gleitzeitd.events import persistence as p
from gleitzeitd.machines import client, execution_engine, follower, link, persistence, provider
from gleitzeitd.machines.base import Call, Reply, SetTimer, Tell
from gleitzeitd.machines.dependency_resolver import DependencyResolver
from gleitzeitd.machines.owners import Owners
from gleitzeitd.machines.run import name_of
from gleitzeitd.model import change as c
from gleitzeitd.model.course import Course
from gleitzeitd.model.ledger import HELD, TaskState
from gleitzeitd.model.transition import deletion, rules, tasks, workflows

Patches = list[Any]
"""Context managers that replace something."""


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    plant: Callable[[], Patches]
    profile: str
    budget: int
    """Seeds."""


MUTANTS: dict[str, Mutant] = {}


def mutant(profile: str, budget: int) -> Callable[[Callable[[], Patches]], Callable[[], Patches]]:
    def register(plant: Callable[[], Patches]) -> Callable[[], Patches]:
        MUTANTS[plant.__name__.replace("_", "-")] = Mutant(plant, profile, budget)
        return plant

    return register


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """The production classes with a bug in them; None: as they are."""
    with ExitStack() as stack:
        for each in MUTANTS[name].plant() if name else []:
            stack.enter_context(each)
        yield


@contextmanager
def rule(change: type[c.Change], replaced: Callable[..., c.Outcome]) -> Iterator[None]:
    """Another rule for a change."""
    before = rules.apply.dispatch(change)
    rules.apply.register(change, replaced)
    try:
        yield
    finally:
        rules.apply.register(change, before)


# --- deletion ---------------------------------------------------------------------------------------


@mutant("deletion", 10)
def deletes_what_runs() -> Patches:
    """A workflow is deleted when somebody wants it, whether it has ended or not."""
    return [patch.object(deletion, "OPEN", frozenset())]


@mutant("deletion", 60)
def no_horizon() -> Patches:
    """Followers read on over what has been deleted."""
    page = follower.Follower._page

    def read_on(self: Any, shard: Any, state: Any, found: Any, now: float) -> Any:
        return page(self, shard, state, replace(found, horizon=0), now)

    return [patch.object(follower.Follower, "_page", read_on)]


# --- the ledger's rules -----------------------------------------------------------------------------


@mutant("all", 20)
def no_fence() -> Patches:
    """A report counts whatever its attempt."""

    def reportable(row: Any, attempt: Any, engine: Any) -> c.Status:
        return c.Status.STALE if row is None or row.state not in HELD else c.Status.OK

    return [patch.object(tasks, "_reportable", reportable)]


@mutant("all", 20)
def no_owner_check() -> Patches:
    """Who owned a shard once may decide for it for ever."""
    fenced: Callable[..., bool] = lambda rows, shard, fence: False  # noqa: E731
    return [patch.object(tasks, "fenced", fenced), patch.object(workflows, "fenced", fenced)]


@mutant("all", 20)
def no_compare_and_set_on_lease() -> Patches:
    """A task is leased to whoever asks, also if it has been leased."""
    before = rules.apply.dispatch(c.GrantLeases)

    def grant(change: c.GrantLeases, rows: Any, at: str) -> c.Outcome:
        for wish in change.leases:
            row = rows.task(tasks.TaskKey(wish.workflow_id, wish.task_id))
            if row is not None and row.state in HELD:
                row.state, row.attempt = TaskState.READY, wish.attempt
                rows.put_task(row)
        return before(change, rows, at)

    return [rule(c.GrantLeases, grant)]


@mutant("calm", 5)
def same_attempt_again() -> Patches:
    """A lease makes no new attempt."""
    before = rules.apply.dispatch(c.GrantLeases)

    def grant(change: c.GrantLeases, rows: Any, at: str) -> c.Outcome:
        outcome = before(change, rows, at)
        for each in outcome.executions:
            row = rows.task(tasks.TaskKey(each.workflow_id, each.task_id))
            row.attempt -= 1
            rows.put_task(row)
        return outcome

    return [rule(c.GrantLeases, grant)]


@mutant("loss", 60)
def submission_not_idempotent() -> Patches:
    """A workflow that is submitted again is accepted again."""
    before = rules.apply.dispatch(c.AcceptWorkflow)

    class Blind:
        def __init__(self, rows: Any) -> None:
            self._rows = rows

        def workflow(self, workflow_id: str) -> None:
            return None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._rows, name)

    def accept(change: c.AcceptWorkflow, rows: Any, at: str) -> c.Outcome:
        return before(change, Blind(rows), at)

    return [rule(c.AcceptWorkflow, accept)]


@mutant("calm", 5)
def dependencies_unchecked() -> Patches:
    """A task is ready when the first of its dependencies is done."""
    done = Course.completed

    def completed(self: Course, task_id: Any, result: Any) -> None:
        done(self, task_id, result)
        for dependent in self._dependents.get(task_id, ()):
            if self._states[dependent] is TaskState.PENDING and dependent not in self._freed:
                self._freed.append(dependent)

    def make_ready(change: c.MakeReady, rows: Any, at: str) -> c.Outcome:
        with patch.object(type(rows), "all_done", lambda *_: True):
            return before(change, rows, at)

    before = rules.apply.dispatch(c.MakeReady)
    return [
        patch.object(Course, "completed", completed),
        patch.object(Course, "missing_results", lambda *_: []),
        patch("gleitzeitd.machines.dependency_resolver.substitute", lambda parameters, *_, **__: parameters),
        rule(c.MakeReady, make_ready),
    ]


# --- the ledger's machine ---------------------------------------------------------------------------


@mutant("calm", 5)
def answer_before_commit() -> Patches:
    """The ledger answers when it has heard, not when it has written."""
    Persistence = persistence.Persistence

    def ask(self: Any, change: Any, ctx: Any) -> Any:
        if not isinstance(change, (c.CompleteTask, c.AcceptWorkflow)):
            return before(self, change, ctx)
        self._pending.append(persistence._Pending(change))
        return [Reply(p.DataSaved(status="ok"), ctx.envelope)]

    before = Persistence._ask
    return [patch.object(Persistence, "_ask", ask)]


@mutant("all", 60)
def inventory_ignored() -> Patches:
    """Any sign of life of an engine keeps all its leases."""
    heard = persistence.Persistence.on_heartbeat_response

    def on_heartbeat_response(self: Any, event: Any, ctx: Any) -> Any:
        engine = ctx.envelope.source_component
        everything = [list(attempt) for attempt in self._held_by.get(engine, ())]
        if event.inventory is not None:
            event = event.__class__(number=event.number, inventory=everything)
        return heard(self, event, ctx)

    return [patch.object(persistence.Persistence, "on_heartbeat_response", on_heartbeat_response)]


@mutant("storm", 60)
def leases_do_not_expire() -> Patches:
    """What an engine held that does not come back, it holds for ever."""
    expired = persistence.Persistence.timer_expired

    def timer_expired(self: Any, key: str, now: float, at: str) -> Any:
        return [] if key == persistence._SWEEP else expired(self, key, now, at)

    return [patch.object(persistence.Persistence, "timer_expired", timer_expired)]


@mutant("storm", 60)
def leases_forgotten_at_restart() -> Patches:
    """A ledger that starts does not look at what was leased."""
    return [patch.object(persistence.Persistence, "_opened", _without("held"))]


@mutant("storm", 60)
def retries_forgotten_at_restart() -> Patches:
    """A ledger that starts does not look at what waits for another attempt."""
    return [patch.object(persistence.Persistence, "_opened", _without("waking"))]


def _without(kind: str) -> Callable[..., Any]:
    opened = persistence.Persistence._opened

    def forgetful(self: Any, recovered: Any, now: float) -> Any:
        return opened(self, replace(recovered, **{kind: []}), now)

    return forgetful


@mutant("all", 60)
def owners_for_ever() -> Patches:
    """An owner that is gone keeps its shards."""
    claim = Owners.claim

    def stubborn(self: Any, role: Any, owner: str, component_id: Any, now: float, seconds: float) -> Any:
        return claim(self, role, owner, component_id, now, seconds + 1e6)

    return [
        patch.object(Owners, "claim", stubborn),
        patch.object(Owners, "disconnected", lambda *_: None),
    ]


# --- followers --------------------------------------------------------------------------------------


@mutant("loss", 60)
def gaps_ignored() -> Patches:
    """Entries of the feed are taken as they come."""
    return [
        patch.object(DependencyResolver, "previous", lambda self, stamp: 0),
        patch("gleitzeitd.machines.queue_manager.QueueManager.previous", lambda self, stamp: 0),
    ]


@mutant("all", 60)
def snapshot_without_number() -> Patches:
    """A new owner follows the feed from whatever comes first after its snapshot."""
    snapshot = follower.Follower._snapshot

    def taken(self: Any, shard: Any, state: Any, page: Any, now: float) -> Any:
        effects = snapshot(self, shard, state, page, now)
        if state.loaded:
            state.cursor += 1
        return effects

    return [patch.object(follower.Follower, "_snapshot", taken)]


@mutant("storm", 60)
def lost_shards_kept() -> Patches:
    """Who lost a shard goes on as if it had not."""
    claimed = follower.Follower.on_shard_claimed

    def on_shard_claimed(self: Any, event: Any, ctx: Any) -> Any:
        with patch.object(follower.Follower, "begin_anew", lambda *_: []):
            return claimed(self, event, ctx)

    return [patch.object(follower.Follower, "on_shard_claimed", on_shard_claimed)]


# --- the link, engines, providers, clients -------------------------------------------------------------


@mutant("loss", 20)
def asks_not_repeated() -> Patches:
    """What is asked is asked once."""

    def repeat(self: Any, entries: Any, now: float, at: str) -> None:
        for entry in entries:
            entry.repeat_at = now + 1e9

    return [patch.object(link.Link, "_repeat", repeat)]


@mutant("loss", 20)
def fire_and_forget() -> Patches:
    """An engine says once what came of a task, and has forgotten it."""
    report = execution_engine.ExecutionEngine._report

    def told(self: Any, run: Any, event: Any, at: str) -> Any:
        effects = report(self, run, event, at)
        self._runs.pop(run.attempt, None)
        end = f"end/{name_of(run.attempt)}"
        return [Tell(each.event) if getattr(each, "key", "") == end else each for each in effects]

    return [patch.object(execution_engine.ExecutionEngine, "_report", told)]


@mutant("loss", 40)
def calls_not_idempotent() -> Patches:
    """A provider that is asked again does the work again."""
    execute = provider.ProviderMachine.on_execute_method

    def on_execute_method(self: Any, event: Any, ctx: Any) -> Any:
        call_id = provider._call_id(event, ctx)
        self._forget(call_id)
        running = self._running.pop(call_id, None)
        effects = execute(self, event, ctx)
        if running is not None and not any(isinstance(each, Call) for each in effects):
            self._running[call_id] = running
        return effects

    return [patch.object(provider.ProviderMachine, "on_execute_method", on_execute_method)]


@mutant("loss", 20)
def watchers_miss_some() -> Patches:
    """A client passes on what comes, without looking for what is missing."""
    published = client.Client._published

    def careless(self: Any, event: Any, ctx: Any) -> Any:
        stamp = client.stamp_of(event)
        watch = self._watches.get(event.topic() or "")
        if watch is None or stamp is None:
            return published(self, event, ctx)
        return self._pass_on(event.topic(), watch, event, ctx.envelope.correlation_id)

    return [patch.object(client.Client, "_published", careless)]


@mutant("all", 40)
def claims_once() -> Patches:
    """Resolvers and queue managers claim shards when they start, and never again."""
    expired = follower.Follower.timer_expired

    def timer_expired(self: Any, key: str, now: float, at: str) -> Any:
        if key == follower._CLAIM and self.unanswered == 0:
            return [SetTimer(key, follower.CLAIM_SECONDS)]
        return expired(self, key, now, at)

    return [patch.object(follower.Follower, "timer_expired", timer_expired)]


__all__ = ["MUTANTS", "Mutant", "planted"]
