"""What every store must do. A backend joins with one line in ``test_stores.BACKENDS``."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import ExecutionFailed
from gleitzeitd.model.change import CancelWorkflow, Change, ChangePriority, Status
from gleitzeitd.model.ledger import Attempt, Audience, OutputChunk, TaskState, WorkflowState
from gleitzeitd.model.names import Role, WorkflowId, shard_of
from gleitzeitd.model.retry import Backoff, RetryPolicy
from gleitzeitd.model.workflow import OnLost, Timeouts
from tests.stores.audit_contract import AuditContract
from tests.stores.deletion_contract import DeletionContract
from tests.stores.ledger import (
    ALL,
    AT,
    E1,
    E2,
    LATER,
    OWNED,
    A,
    B,
    C,
    W,
    accept,
    check_rules,
    complete,
    contents,
    document,
    done,
    end,
    expire,
    fail,
    grant,
    lose,
    ready,
    resolve,
    start,
    take,
    waits,
    wake,
    whole_feed,
)

S = shard_of(W)
RETRY = RetryPolicy(max_attempts=3, backoff=Backoff.FIXED, base_delay=2, jitter=False)


class Unheard(Change):
    """No transition has a rule for it: applying it raises."""


def same_shard(count):
    """Workflow ids of W's shard, in order."""
    return sorted(WorkflowId(f"w{n}") for n in range(count * 40) if shard_of(f"w{n}") == S)[:count]


class StoreContract(DeletionContract, AuditContract):
    async def test_a_new_store_is_empty(self, store):
        assert await store.counts() == {}
        assert await store.workflow(W) is None
        assert await store.tasks(W, -1, 10) == []
        assert await store.history(W, 0, 10) == []
        assert await store.results(W, []) == {}
        assert await store.output(W, [A]) == {}
        assert await store.feed(S, Audience.RESOLVER, 0, 10) == ([], 0)
        assert await store.ready_tasks(S, None, 10) == ([], 0)
        assert await store.open_workflows(S, None, 10) == ([], 0)

    async def test_a_workflow_and_its_tasks_are_read_as_they_were_accepted(self, store):
        inputs = {"names": ["ä", None, 1.5, 2**60, {"deep": {"er": True}}]}
        change = accept(name="Ä w", inputs=inputs, retry=RETRY, timeout=5, on_lost=OnLost.FAIL, priority=4)
        await store.commit([*OWNED, change], AT)
        row = await store.workflow(W)
        assert (row.name, row.shard, row.digest, row.correlation_id) == ("Ä w", S, "d", "c-w")
        assert row.document == change.document
        assert row.inputs == inputs
        assert (row.state, row.tasks, row.open_tasks) == (WorkflowState.RUNNING, 3, 3)
        assert (row.submitted_at, row.finished_at) == (AT, "")
        tasks = await store.tasks(W, -1, 10)
        assert [(t.task_id, t.name, t.position) for t in tasks] == [
            ("a", "A", 0),
            ("b", "B", 1),
            ("c", "C", 2),
        ]
        assert [t.dependencies for t in tasks] == [(), ("a",), ("b",)]
        assert {(t.method, t.protocol, t.retry, t.timeout, t.on_lost, t.priority) for t in tasks} == {
            ("python/execute", "python/v1", RETRY, 5.0, OnLost.FAIL, 4)
        }
        await check_rules(store)

    async def test_an_exception_inside_undoes_everything(self, store):
        await store.commit([*OWNED, accept(), *done("a", result=1)], AT)
        before = await contents(store)
        changes = [*done("b", result=2), accept(WorkflowId("other")), take(Role.QUEUE_MANAGER), Unheard()]
        with pytest.raises(AssertionError, match="no rule"):
            await store.commit(changes, LATER)
        assert await contents(store) == before
        outcomes = await store.commit(done("b", result=2), LATER)
        assert {outcome.status for outcome in outcomes} == {Status.OK}
        await check_rules(store)

    async def test_a_change_sees_those_before_it_in_the_same_commit(self, store):
        changes = [*OWNED, accept(), *done("a"), *done("b"), *done("c"), end()]
        outcomes = await store.commit(changes, AT)
        assert {outcome.status for outcome in outcomes} == {Status.OK}
        row = await store.workflow(W)
        assert (row.state, row.open_tasks, row.finished_at) == (WorkflowState.COMPLETED, 0, AT)
        await check_rules(store)

    async def test_cancelling_sees_the_tasks_of_the_same_commit(self, store):
        cancel = CancelWorkflow(workflow_id=W, reason="enough")
        graph = {"a": [], "b": [], "c": ["b"]}
        outcomes = await store.commit([*OWNED, accept(graph=graph), ready("a", "b"), grant("a"), cancel], AT)
        assert outcomes[-1].cancel == [(Attempt(W, A, 1), E1)]
        states = {task.task_id: task.state for task in await store.tasks(W, -1, 10)}
        assert states == {A: TaskState.LEASED, B: TaskState.CANCELLED, C: TaskState.CANCELLED}
        assert (await store.workflow(W)).reason == "enough"
        assert await store.counts() == {"cancelling": 1}
        await check_rules(store)

    async def test_a_join_of_thousands_is_ready_once_all_are_done(self, store):
        wide = [f"t{n}" for n in range(2000)]
        graph = {**dict.fromkeys(wide, []), "join": wide}
        await store.commit([*OWNED, accept(graph=graph), ready(*wide), grant(*wide)], AT)
        await store.commit([complete(task) for task in wide[:-1]], AT)
        (early,) = await store.commit([ready("join")], AT)
        assert early.status is Status.DUPLICATE
        _, late = await store.commit([complete(wide[-1]), ready("join")], AT)
        assert late.status is Status.OK
        assert [e.task.task_id for e in (await store.ready_tasks(S, None, 10))[0]] == ["join"]

    async def test_parameters_reach_the_lease(self, store):
        parameters = {"code": "1", "args": [1, {"x": "\u00e4\ud800\x00"}]}
        await store.commit([*OWNED, accept(), ready("a", parameters=parameters)], AT)
        (outcome,) = await store.commit([grant("a")], AT)
        assert outcome.executions[0].parameters == parameters

    async def test_results_are_in_the_feed_but_not_in_the_history(self, store):
        result = {"rows": [1, 2, 3], "text": "ö"}
        await store.commit([*OWNED, accept(), *done("a", result=result)], AT)
        ((fact,), _) = await store.feed(S, Audience.RESOLVER, 0, 10)
        assert fact.name == "task_completed"
        assert fact.body["result"] == result
        names = [fact.name for fact in await store.history(W, 0, 10)]
        assert names == ["dependencies_satisfied", "task_completed"]
        assert "result" not in (await store.history(W, 0, 10))[1].body
        assert await store.results(W, []) == await store.results(W, [A, B]) == {A: result}
        assert await store.results(W, [B]) == {}

    async def test_a_result_of_null_is_a_result(self, store):
        await store.commit([*OWNED, accept(), *done("a", result=None)], AT)
        assert await store.results(W, []) == {A: None}
        ((fact,), _) = await store.feed(S, Audience.RESOLVER, 0, 10)
        assert fact.body["result"] is None

    async def test_outcomes_publish_what_the_feed_replays(self, store):
        outcomes = await store.commit([*OWNED, accept(), *done("a", result=[1]), ready("b"), grant("b")], AT)
        outcomes += await store.commit([start("b"), complete("b", result={"x": 1}), ready("c")], LATER)
        published = [fact for outcome in outcomes for fact in outcome.facts]
        assert await whole_feed(store, S) == published

    async def test_a_follower_reads_only_its_entries_from_where_it_is(self, store):
        await store.commit([*OWNED, accept(), *done("a"), ready("b"), grant("b"), start("b")], AT)
        everything, _ = await store.feed(S, Audience.NONE, 0, 10)
        assert [fact.name for fact in everything] == [
            "dependencies_satisfied",
            "task_completed",
            "dependencies_satisfied",
            "task_started",
        ]
        assert [f.stamp.number for f in (await store.feed(S, Audience.RESOLVER, 0, 10))[0]] == [2]
        assert [f.stamp.number for f in (await store.feed(S, Audience.QUEUE_MANAGER, 0, 10))[0]] == [1, 3]
        assert [f.stamp.number for f in (await store.feed(S, Audience.QUEUE_MANAGER, 1, 1))[0]] == [3]
        assert await store.feed(S, Audience.QUEUE_MANAGER, 3, 10) == ([], 0)
        assert [f.stamp.number for f in await store.history(W, 2, 1)] == [3]
        assert await store.feed(next(s for s in ALL if s != S), Audience.NONE, 0, 10) == ([], 0)

    async def test_output_is_that_of_the_last_attempt_that_ended(self, store):
        await store.commit([*OWNED, accept(retry=RETRY), ready("a"), grant("a"), fail("a", output=["x"])], AT)
        assert await store.output(W, []) == {A: [OutputChunk(stream="stdout", text="x")]}
        await store.commit([wake("a"), grant("a", attempt=1), fail("a", 2, output=["y", "z"])], AT)
        assert [chunk.text for chunk in (await store.output(W, [A, B]))[A]] == ["y", "z"]
        await store.commit([wake("a", 2), grant("a", attempt=2), complete("a", 3)], AT)
        assert await store.output(W, []) == {}

    async def test_all_columns_of_a_task_that_failed_are_kept(self, store):
        error = ExecutionFailed("no", retry_after=9)
        changes = [
            accept(retry=RETRY),
            ready("a"),
            grant("a"),
            start("a"),
            lose("a"),
            grant("a", attempt=1, engine=E2),
        ]
        await store.commit(
            [*OWNED, *changes, start("a", 2, engine=E2), fail("a", 2, engine=E2, error=error)], AT
        )
        (task,) = await store.tasks(W, -1, 1)
        assert (task.state, task.attempt, task.owner, task.provider) == (TaskState.RETRY, 2, E2, "python-1")
        assert (task.failures, task.crashes, task.error, task.retry_delay) == (1, 1, error.info(), 9)
        assert (task.ready_at, task.started_at, task.finished_at) == (AT, AT, LATER)

    async def test_ready_tasks_come_by_workflow_and_position_page_by_page(self, store):
        first, second, third = same_shard(3)
        graph = {"z": [], "m": [], "a": [], "later": ["z"]}
        await store.commit(OWNED, AT)
        for one in (third, first, second):
            await store.commit([accept(one, graph), ready("a", "m", "z", workflow_id=one)], AT)
        await store.commit([grant("m", workflow_id=second)], AT)
        expected = [
            (w, t) for w in (first, second, third) for t in ("z", "m", "a") if (w, t) != (second, "m")
        ]
        found, after = [], None
        while page := (await store.ready_tasks(S, after, 2))[0]:
            found += [(entry.workflow_id, entry.task.task_id) for entry in page]
            assert all(entry.correlation_id == f"c-{entry.workflow_id}" for entry in page)
            after = found[-1]
        assert found == expected
        number = (await store.ready_tasks(S, None, 1))[1]
        assert number == len(await whole_feed(store, S)) == 3
        # The last one of a page may have been leased before the next page is read.
        assert [e.task.task_id for e in (await store.ready_tasks(S, (second, "m"), 1))[0]] == ["a"]

    async def test_open_workflows_come_by_id_with_the_states_of_their_tasks(self, store):
        first, second, third = same_shard(3)
        await store.commit([*OWNED, *(accept(one) for one in (third, second, first))], AT)
        single = accept(WorkflowId(f"{first}-x"), {"a": []})
        await store.commit([*done("a", workflow_id=second, result=1), single], AT)
        await store.commit([CancelWorkflow(workflow_id=third, reason="")], AT)
        page, number = await store.open_workflows(S, None, 2)
        assert [each.row.workflow_id for each in page] == [first, second]
        assert number == len(await whole_feed(store, S))
        assert page[1].states == {A: TaskState.DONE, B: TaskState.PENDING, C: TaskState.PENDING}
        assert page[1].row == await store.workflow(second)
        assert page[1].row.document == document({"a": [], "b": ["a"], "c": ["b"]})
        page, _ = await store.open_workflows(S, second, 2)
        assert [each.row.workflow_id for each in page] == [third]
        await store.commit([end(WorkflowState.CANCELLED, workflow_id=third)], AT)
        assert (await store.open_workflows(S, second, 2))[0] == []

    async def test_listings_are_newest_first_and_can_be_filtered(self, store):
        await store.commit(OWNED, AT)
        for second, (one, name) in enumerate([("x", "nightly"), ("y", "Weekly 100%"), ("z", "nightly _2")]):
            await store.commit([accept(WorkflowId(one), name=name)], f"2026-03-01T08:00:0{second}Z")
        await store.commit([CancelWorkflow(workflow_id=WorkflowId("x"), reason="")], LATER)

        async def listed(status=None, name_contains=None, before=None, limit=10):
            rows = await store.workflows(
                status=status, name_contains=name_contains, before=before, limit=limit
            )
            assert all(row.document is None for row in rows)
            return [row.workflow_id for row in rows]

        assert await listed() == ["z", "y", "x"]
        assert await listed(limit=2) == ["z", "y"]
        assert await listed(before="2026-03-01T08:00:01Z/y") == ["x"]
        assert await listed(status="cancelling") == ["x"]
        assert await listed(status="completed") == []
        assert await listed(name_contains="nightly") == ["z", "x"]
        assert await listed(name_contains="%") == ["y"]
        assert await listed(name_contains="_") == ["z"]
        assert await listed(status="running", name_contains="ly", before="2026-03-01T08:00:02Z/z") == ["y"]
        assert await store.counts() == {"running": 2, "cancelling": 1}

    async def test_a_listing_of_a_namespace_holds_what_is_in_it_and_nothing_else(self, store):
        names = ["team-a:one", "team-b:one", "team-a:two", "team-ab:one", "team-a", "team_a:one"]
        await store.commit([*OWNED, *(accept(WorkflowId(one)) for one in names)], AT)

        async def listed(prefix, before=None):
            rows = await store.workflows(
                status=None, name_contains=None, before=before, limit=9, id_prefix=prefix
            )
            return sorted(row.workflow_id for row in rows)

        assert await listed("team-a:") == ["team-a:one", "team-a:two"]
        assert await listed("team-a:", before=f"{AT}/team-a:two") == ["team-a:one"]
        assert await listed("nobody:") == []
        assert await listed("") == sorted(names)

    async def test_workflows_of_one_instant_are_listed_once_each(self, store):
        names = [WorkflowId(f"w{n}") for n in range(5)]
        await store.commit([*OWNED, *(accept(one) for one in names)], AT)
        first = await store.workflows(status=None, name_contains=None, before=None, limit=3)
        rest = await store.workflows(
            status=None, name_contains=None, before=f"{AT}/{first[-1].workflow_id}", limit=3
        )
        assert [row.workflow_id for row in first + rest] == sorted(names, reverse=True)

    async def test_tasks_come_in_document_order_page_by_page(self, store):
        graph = {f"t{n}": [] for n in (5, 3, 9, 1)}
        await store.commit([*OWNED, accept(graph=graph), accept(WorkflowId("other"))], AT)
        assert [t.task_id for t in await store.tasks(W, -1, 2)] == ["t5", "t3"]
        assert [t.task_id for t in await store.tasks(W, 1, 9)] == ["t9", "t1"]
        assert await store.tasks(W, 3, 9) == []

    async def test_a_new_priority_is_kept(self, store):
        await store.commit([*OWNED, accept(), ready("a")], AT)
        await store.commit([ChangePriority(workflow_id=W, task_ids=[A], priority=4)], AT)
        assert [entry.task.priority for entry in (await store.ready_tasks(S, None, 9))[0]] == [4]
        assert [task.priority for task in await store.tasks(W, -1, 9)] == [4, 2, 2]

    async def test_what_is_read_is_not_what_is_kept(self, store):
        await store.commit([*OWNED, accept()], AT)
        (await store.workflow(W)).open_tasks = 77
        (await store.tasks(W, -1, 1))[0].state = TaskState.DONE
        (await store.open_workflows(S, None, 1))[0][0].row.reason = "x"
        assert (await store.workflow(W)).open_tasks == 3
        assert (await store.workflow(W)).reason == ""
        assert (await store.tasks(W, -1, 1))[0].state is TaskState.PENDING

    async def test_a_commit_of_nothing_is_nothing(self, store):
        assert await store.commit([], AT) == []

    async def test_closing_twice_is_closing_once(self, store):
        await store.close()
        await store.close()

    async def test_opening_finds_what_has_to_be_armed(self, store, reopen):
        other = WorkflowId("other")
        graph = {"a": [], "b": [], "c": []}
        await store.commit([*OWNED, take(Role.QUEUE_MANAGER, [S], "one.2")], AT)
        await store.commit([accept(graph=graph, retry=RETRY), ready("a", "b", "c")], AT)
        await store.commit(
            [grant("a", epoch=2), grant("b", "c", engine=E2, epoch=2), start("b", engine=E2)], AT
        )
        await store.commit([fail("c", engine=E2)], AT)
        await store.commit([accept(other), CancelWorkflow(workflow_id=other, reason="")], AT)
        before = await contents(store)
        store, found = await reopen()
        assert await contents(store) == before
        assert sorted(found.held) == [(Attempt(W, A, 1), E1), (Attempt(W, B, 1), E2)]
        assert found.waking == [(Attempt(W, C, 1), 2.0)]
        assert found.cancelling == [other]
        assert found.deadlines == []
        assert [row.shard for row in found.shards] == ALL
        mine = found.shards[S]
        assert (mine.queue_manager, mine.queue_manager_epoch, mine.resolver_epoch) == ("one.2", 2, 1)
        feed = await whole_feed(store, S)
        assert mine.number == len(feed)
        assert mine.last_queue_manager == max(
            f.stamp.number for f in feed if f.audience & Audience.QUEUE_MANAGER
        )

    async def test_opening_finds_the_ends_of_waits_with_their_full_time(self, store, reopen):
        late = WorkflowId("late")
        graph = {"a": [], "b": [], "c": [], "d": []}
        limits = Timeouts(queued=60, start=5)
        changes = [accept(graph=graph, timeouts=limits, within=600), ready("a", "b", "c"), grant("b", "c")]
        await store.commit([*OWNED, *changes, start("c")], AT)
        await store.commit([accept(late, within=9), expire("workflow", workflow_id=late)], AT)
        store, found = await reopen()
        assert (await store.workflow(late)).timeout == 9
        assert {task.timeouts for task in await store.tasks(W, -1, 9)} == {limits}
        assert dict(found.deadlines) == {
            waits("workflow"): 600.0,
            waits("queued", "a"): 60.0,
            waits("start", "b", 1): 5.0,
        }

    async def test_a_task_that_is_unknown_is_so_after_a_restart(self, store, reopen):
        change = accept(graph={"a": []}, on_lost=OnLost.ASK)
        await store.commit([*OWNED, change, ready("a"), grant("a"), start("a"), lose("a")], AT)
        store, found = await reopen()
        assert found.held == []
        assert (await store.tasks(W, -1, 1))[0].state is TaskState.UNKNOWN
        (outcome,) = await store.commit([resolve("a", "done", result={"n": 1})], AT)
        assert outcome.status is Status.OK
        assert await store.results(W, []) == {"a": {"n": 1}}
        await check_rules(store)
