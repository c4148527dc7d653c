"""What tests of the ledger share: short ways to make changes, and the rules that hold for every store."""

from __future__ import annotations

import json

from gleitzeitd.errors import ExecutionFailed, GleitzeitError
from gleitzeitd.model.change import (
    AcceptWorkflow,
    CompleteTask,
    EndWorkflow,
    Expire,
    FailTask,
    Fence,
    GrantLeases,
    LoseAttempt,
    MakeReady,
    ResolveTask,
    SkipTasks,
    StartTask,
    TakeShards,
    WakeTask,
)
from gleitzeitd.model.ledger import (
    ENDED,
    HELD,
    Attempt,
    Audience,
    Deadline,
    LeaseWish,
    OutputChunk,
    ReadyTask,
    SkippedTask,
    TaskState,
    Verdict,
    Waiting,
    WorkflowState,
)
from gleitzeitd.model.names import SHARDS, ComponentId, Role, Shard, TaskId, WorkflowId, shard_of
from gleitzeitd.model.workflow import Task, Workflow
from gleitzeitd.plain import to_plain

AT = "2026-03-01T08:00:00.000000Z"
LATER = "2026-03-01T08:00:05.000000Z"
ALL = [Shard(number) for number in range(SHARDS)]
W = WorkflowId("w")
A, B, C = TaskId("a"), TaskId("b"), TaskId("c")
E1, E2 = ComponentId("engine-1"), ComponentId("engine-2")
P1 = ComponentId("python-1")
CHAIN = {"a": [], "b": ["a"], "c": ["b"]}
BROKEN = ExecutionFailed("no").info()


def resolver(epoch=1, asker="one"):
    return Fence(role=Role.DEPENDENCY_RESOLVER, asker=ComponentId(asker), epoch=epoch)


def queue_manager(epoch=1, asker="one"):
    return Fence(role=Role.QUEUE_MANAGER, asker=ComponentId(asker), epoch=epoch)


def take(role, shards=ALL, owner="one.1"):
    return TakeShards(role=role, owner=owner, shards=list(shards))


OWNED = [take(Role.DEPENDENCY_RESOLVER), take(Role.QUEUE_MANAGER)]


def document(graph, name="w", within=None, **of_tasks):
    tasks = tuple(
        Task(
            id=TaskId(task),
            name=task.upper(),
            method="python/execute",
            protocol="python/v1",
            dependencies=tuple(TaskId(one) for one in needed),
            **of_tasks,
        )
        for task, needed in graph.items()
    )
    return to_plain(Workflow(name=name, tasks=tasks, timeout=within))


def accept(
    workflow_id=W, graph=CHAIN, *, digest="d", epoch=1, name="w", inputs=None, within=None, **of_tasks
):
    return AcceptWorkflow(
        workflow_id=workflow_id,
        digest=digest,
        document=document(graph, name, within, **of_tasks),
        inputs=inputs or {},
        correlation_id=f"c-{workflow_id}",
        fence=resolver(epoch),
    )


def ready(*tasks, workflow_id=W, cursor=0, epoch=1, name="dependencies_satisfied", parameters=None):
    return MakeReady(
        name=name,
        workflow_id=workflow_id,
        tasks=[ReadyTask(task_id=TaskId(task), parameters=parameters) for task in tasks],
        cursor=cursor,
        fence=resolver(epoch),
    )


def skip(*tasks, workflow_id=W, cursor=0, epoch=1, failed=False, asker="one"):
    return SkipTasks(
        workflow_id=workflow_id,
        tasks=[SkippedTask(task_id=TaskId(task), error=BROKEN, failed=failed) for task in tasks],
        cursor=cursor,
        fence=resolver(epoch, asker),
    )


def grant(*tasks, workflow_id=W, attempt=0, engine=E1, epoch=1, shard=None, asker="one"):
    wishes = [
        LeaseWish(workflow_id=workflow_id, task_id=TaskId(task), attempt=attempt, engine_id=engine)
        for task in tasks
    ]
    of = shard_of(workflow_id) if shard is None else shard
    return GrantLeases(shard=of, leases=wishes, fence=queue_manager(epoch, asker))


def start(task, attempt=1, *, workflow_id=W, engine=E1):
    return StartTask(
        attempt=Attempt(workflow_id, TaskId(task), attempt), engine_id=engine, provider_id=P1, started_at=AT
    )


def complete(task, attempt=1, *, workflow_id=W, engine=E1, result=None, output=()):
    return CompleteTask(
        attempt=Attempt(workflow_id, TaskId(task), attempt),
        engine_id=engine,
        result=result,
        output=[OutputChunk(stream="stdout", text=text) for text in output],
        started_at=AT,
        finished_at=LATER,
    )


def fail(task, attempt=1, *, workflow_id=W, engine=E1, error=BROKEN, output=()):
    return FailTask(
        attempt=Attempt(workflow_id, TaskId(task), attempt),
        engine_id=engine,
        error=error.info() if isinstance(error, GleitzeitError) else error,
        output=[OutputChunk(stream="stdout", text=text) for text in output],
        started_at=AT,
        finished_at=LATER,
    )


def lose(task, attempt=1, *, workflow_id=W):
    return LoseAttempt(attempt=Attempt(workflow_id, TaskId(task), attempt), reason="the engine is gone")


def wake(task, attempt=1, *, workflow_id=W):
    return WakeTask(attempt=Attempt(workflow_id, TaskId(task), attempt))


def resolve(task, verdict=Verdict.RERUN, *, workflow_id=W, attempt=0, result=None):
    return ResolveTask(
        workflow_id=workflow_id,
        task_id=TaskId(task),
        verdict=Verdict(verdict),
        attempt=attempt,
        result=result,
    )


def waits(kind, task="", attempt=0, *, workflow_id=W):
    return Deadline(Waiting(kind), workflow_id, TaskId(task), attempt)


def expire(kind, task="", attempt=0, *, workflow_id=W):
    return Expire(deadline=waits(kind, task, attempt, workflow_id=workflow_id))


def end(state=WorkflowState.COMPLETED, *, workflow_id=W, error=None, epoch=1):
    return EndWorkflow(workflow_id=workflow_id, state=state, error=error, fence=resolver(epoch))


def done(task, *, workflow_id=W, result=None):
    """From PENDING, its dependencies done, to DONE."""
    return [
        ready(task, workflow_id=workflow_id),
        grant(task, workflow_id=workflow_id),
        complete(task, workflow_id=workflow_id, result=result),
    ]


_PAST_PENDING = (TaskState.READY, TaskState.RETRY, TaskState.DONE, TaskState.UNKNOWN)


async def all_workflows(store):
    rows, before = [], None
    while page := await store.workflows(status=None, name_contains=None, before=before, limit=3):
        rows += page
        before = f"{page[-1].submitted_at}/{page[-1].workflow_id}"
    return rows


async def all_tasks(store, workflow_id):
    rows, after = [], -1
    while page := await store.tasks(workflow_id, after, 4):
        rows += page
        after = page[-1].position
    return rows


async def whole_feed(store, shard, audience=Audience.NONE):
    facts, after = [], 0
    while page := (await store.feed(shard, audience, after, 50))[0]:
        facts += page
        after = page[-1].stamp.number
    return facts


async def contents(store):
    """All that can be read of a store, page by page."""
    found = {"counts": await store.counts()}
    for shard in ALL:
        found["feed", shard] = await whole_feed(store, shard)
        found["open", shard] = await store.open_workflows(shard, None, 1000)
        found["ready", shard] = await store.ready_tasks(shard, None, 1000)
    for row in await all_workflows(store):
        workflow_id = row.workflow_id
        found[workflow_id] = (
            row,
            await store.workflow(workflow_id),
            await all_tasks(store, workflow_id),
            await store.results(workflow_id, []),
            await store.output(workflow_id, []),
            await store.history(workflow_id, 0, 10_000),
        )
    return found


async def check_rules(store):
    """Raise if the store's content breaks a rule of the ledger."""
    workflows = await all_workflows(store)
    assert len({row.workflow_id for row in workflows}) == len(workflows)
    assert sum((await store.counts()).values()) == len(workflows)
    for row in workflows:
        await _check_workflow(store, row)
    histories = {row.workflow_id: [] for row in workflows}
    for shard in ALL:
        facts = await whole_feed(store, shard)
        _, horizon = await store.feed(shard, Audience.NONE, 0, 1)
        _check_stamps(facts, horizon)
        for fact in facts:
            assert shard_of(fact.workflow_id) == fact.shard == shard
            histories[fact.workflow_id].append(fact)
        for audience in (Audience.RESOLVER, Audience.QUEUE_MANAGER):
            followed = [fact for fact in facts if fact.audience & audience]
            assert await whole_feed(store, shard, audience) == followed
    for row in workflows:
        expected = histories[row.workflow_id]
        assert row.last_number == (expected[-1].stamp.number if expected else 0)
        found = await store.history(row.workflow_id, 0, 100_000)
        assert [fact.stamp for fact in found] == [fact.stamp for fact in expected]
        assert all("result" not in fact.body for fact in found)
        ends = [fact.body["task_id"] for fact in expected if fact.name == "task_completed"]
        assert len(ends) == len(set(ends)), "a task was DONE twice"


def _check_stamps(facts, horizon):
    """Numbers are dense, and each entry names the one before it, for each audience and the workflow.

    Up to the horizon some are missing; then one that is named may be.
    """
    assert [fact.stamp.number for fact in facts if fact.stamp.number <= horizon] == sorted(
        {fact.stamp.number for fact in facts if fact.stamp.number <= horizon}
    )
    over = [fact.stamp.number for fact in facts if fact.stamp.number > horizon]
    assert over == list(range(horizon + 1, horizon + 1 + len(over)))
    last = {Audience.RESOLVER: 0, Audience.QUEUE_MANAGER: 0}
    of_workflow = {}
    for fact in facts:
        stamp = fact.stamp
        named = (stamp.after_resolver, stamp.after_queue_manager)
        for before, kept in zip(named, last.values(), strict=True):
            assert before == kept or kept < before <= horizon
        assert stamp.after_workflow == of_workflow.get(fact.workflow_id, 0)
        of_workflow[fact.workflow_id] = stamp.number
        last.update({audience: stamp.number for audience in last if fact.audience & audience})
        json.dumps(fact.body, allow_nan=False)


async def _check_workflow(store, row):
    tasks = await all_tasks(store, row.workflow_id)
    assert [task.position for task in tasks] == list(range(row.tasks))
    assert row.open_tasks == sum(task.state not in ENDED for task in tasks)
    states = {task.task_id: task.state for task in tasks}
    completed = {task_id for task_id, state in states.items() if state is TaskState.DONE}
    assert set(await store.results(row.workflow_id, [])) == completed
    for task in tasks:
        if task.state in HELD or task.state in _PAST_PENDING:
            assert completed >= set(task.dependencies), f"{task.task_id} came before its dependencies"
        assert (task.attempt == 0) == (task.owner is None)
    if row.finished_at:
        assert row.open_tasks == 0
