"""What every store must do about workflows that are deleted."""

from __future__ import annotations

import pytest

from gleitzeitd.model.change import CancelWorkflow, DeleteWorkflow, Status
from gleitzeitd.model.ledger import Audience, WorkflowState
from gleitzeitd.model.names import WorkflowId, shard_of
from tests.stores.ledger import (
    AT,
    LATER,
    OWNED,
    A,
    W,
    accept,
    check_rules,
    complete,
    contents,
    done,
    end,
    fail,
    grant,
    lose,
    ready,
    start,
    whole_feed,
)

S = shard_of(W)


def of_shard(count):
    """Workflow ids of W's shard, in order."""
    return sorted(WorkflowId(f"w{n}") for n in range(count * 40) if shard_of(f"w{n}") == S)[:count]


def delete(workflow_id=W):
    return DeleteWorkflow(workflow_id=workflow_id)


def ended(workflow_id=W, graph=None):
    """From nothing to its end."""
    graph = graph or {"a": [], "b": ["a"]}
    steps = [step for task in graph for step in done(task, workflow_id=workflow_id, result={"of": task})]
    return [accept(workflow_id, graph), *steps, end(workflow_id=workflow_id)]


async def sweep(store, rows=10):
    """Everything, step by step; the largest step."""
    most = 0
    while removed := await store.sweep(rows, ""):
        most = max(most, removed)
    return most


class DeletionContract:
    async def test_of_a_deleted_workflow_nothing_is_found(self, store):
        await store.commit([*OWNED, *ended()], AT)
        (outcome,) = await store.commit([delete()], LATER)
        assert outcome.status is Status.OK
        assert not outcome.facts
        assert await store.workflow(W) is None
        assert await store.tasks(W, -1, 9) == []
        assert await store.results(W, []) == await store.output(W, [A]) == {}
        assert await store.history(W, 0, 99) == []
        assert await store.counts() == {}
        assert await whole_feed(store, S) == []
        await check_rules(store)

    @pytest.mark.parametrize("state", ["running", "cancelling"])
    async def test_an_unfinished_workflow_is_not_deleted(self, store, state):
        # A workflow without an open task is unfinished until its resolver has said that it has ended.
        changes = [accept(graph={"a": []}), *done("a")]
        if state == "cancelling":
            changes = [accept(), ready("a"), grant("a"), CancelWorkflow(workflow_id=W, reason="")]
        await store.commit([*OWNED, *changes], AT)
        before = await contents(store)
        (outcome,) = await store.commit([delete()], LATER)
        assert outcome.status is Status.STALE
        assert f"w is {state}: cancel it first" in outcome.message
        assert await contents(store) == before
        assert await store.finished(before="9", keep=0, spare="9", limit=9) == []

    @pytest.mark.parametrize("state", [WorkflowState.COMPLETED, WorkflowState.CANCELLED])
    async def test_whatever_its_end_was_it_can_be_deleted_once(self, store, state):
        *changes, _ = ended()
        await store.commit([*OWNED, *changes, end(state)], AT)
        outcomes = await store.commit([delete(), delete(), delete(WorkflowId("never"))], AT)
        assert [each.status for each in outcomes] == [Status.OK, Status.DUPLICATE, Status.DUPLICATE]

    async def test_up_to_the_horizon_entries_are_missing_and_over_it_the_feed_is_dense(self, store):
        first, second, third = of_shard(3)
        await store.commit([*OWNED, accept(third), *done("a", workflow_id=third)], AT)
        await store.commit([*ended(first), *ended(second), *done("b", workflow_id=third)], AT)
        numbers = [fact.stamp.number for fact in await whole_feed(store, S)]
        assert numbers == list(range(1, len(numbers) + 1))
        kept = [fact for fact in await whole_feed(store, S) if fact.workflow_id != first]
        last = (await store.workflow(first)).last_number
        await store.commit([delete(first)], LATER)
        assert await whole_feed(store, S) == kept
        facts, horizon = await store.feed(S, Audience.RESOLVER, 0, 99)
        assert horizon == last
        assert [fact.stamp.number for fact in facts if fact.stamp.number > horizon]
        await check_rules(store)
        # Deleting what is older does not bring the horizon back.
        last = (await store.workflow(second)).last_number
        await store.commit([delete(second)], LATER)
        assert (await store.feed(S, Audience.NONE, last, 99))[1] == last
        await store.commit([*done("c", workflow_id=third), end(workflow_id=third)], LATER)
        await check_rules(store)
        assert [fact.workflow_id for fact in await whole_feed(store, S)] == [third] * 7

    async def test_the_horizon_and_what_is_left_survive_a_restart(self, store, reopen):
        await store.commit([*OWNED, *ended()], AT)
        last = (await store.workflow(W)).last_number
        await store.commit([delete()], LATER)
        store, found = await reopen()
        assert found.shards[S].horizon == found.shards[S].number == last
        assert (await store.feed(S, Audience.NONE, 0, 9))[1] == last
        await sweep(store)
        (repeated,) = await store.commit([accept(graph={"a": [], "b": ["a"]})], LATER)
        assert repeated.status is Status.DUPLICATE

    async def test_numbers_are_never_given_again(self, store):
        await store.commit([*OWNED, *ended()], AT)
        last = (await store.workflow(W)).last_number
        await store.commit([delete()], AT)
        other = of_shard(1)[0]
        await store.commit([accept(other), ready("a", workflow_id=other)], AT)
        assert [fact.stamp.number for fact in await store.history(other, 0, 9)] == [last + 1]

    async def test_a_late_report_about_a_deleted_workflow_is_stale(self, store):
        await store.commit([*OWNED, *ended(), delete()], AT)
        late = [start("a"), complete("a"), fail("a"), lose("a")]
        assert {each.status for each in await store.commit(late, LATER)} == {Status.STALE}
        (granted,) = await store.commit([grant("a")], LATER)
        assert not granted.executions
        assert {each.status for each in await store.commit([ready("a"), end()], LATER)} == {Status.MISSING}
        await check_rules(store)

    async def test_a_late_repeat_of_the_submission_does_not_run_it_again(self, store):
        await store.commit([*OWNED, *ended(), delete()], AT)
        for _ in range(2):
            (outcome,) = await store.commit([accept(graph={"a": [], "b": ["a"]})], LATER)
            assert outcome.status is Status.DUPLICATE
            assert await store.workflow(W) is None
            await sweep(store)
        while await store.sweep(10, LATER):
            pass
        (outcome,) = await store.commit([accept()], LATER)
        assert outcome.status is Status.OK, "it is not remembered for ever"

    async def test_another_submission_of_the_same_id_is_a_new_workflow(self, store):
        await store.commit([*OWNED, *ended()], AT)
        again = accept(graph={"z": []}, digest="other")
        again = type(again)(**{**{f: getattr(again, f) for f in again.__slots__}, "correlation_id": "new"})
        outcomes = await store.commit([delete(), again, *done("z", result=[7])], LATER)
        assert {each.status for each in outcomes} == {Status.OK}
        await check_rules(store)
        await sweep(store)
        await check_rules(store)
        row = await store.workflow(W)
        assert (row.digest, row.correlation_id, row.open_tasks, row.submitted_at) == (
            "other",
            "new",
            0,
            LATER,
        )
        assert await store.results(W, []) == {"z": [7]}
        assert [fact.name for fact in await store.history(W, 0, 9)] == [
            "dependencies_satisfied",
            "task_completed",
        ]
        assert [task.task_id for task in await store.tasks(W, -1, 9)] == ["z"]

    async def test_what_is_put_and_deleted_in_one_commit_leaves_nothing(self, store):
        await store.commit([*OWNED, accept(graph={"a": []}), ready("a"), grant("a")], AT)
        await store.commit([complete("a", result=[1], output=["x"]), end(), delete()], LATER)
        assert await whole_feed(store, S) == []
        assert await store.counts() == {}
        await sweep(store)
        await check_rules(store)

    async def test_sweeping_takes_nothing_of_what_is_there(self, store):
        first, second = of_shard(2)
        await store.commit([*OWNED, *ended(first), accept(second), *done("a", workflow_id=second)], AT)
        await store.commit([delete(first)], LATER)
        before = await contents(store)
        assert await sweep(store, rows=3) <= 4
        assert await contents(store) == before
        assert await store.sweep(10, "") == 0

    async def test_the_oldest_endings_are_due_first_by_age_and_by_number(self, store):
        names = [WorkflowId(f"n{number}") for number in range(5)]
        await store.commit(OWNED, AT)
        times = [f"2026-03-0{day}T00:00:00.000Z" for day in (3, 1, 5, 2, 4)]
        for name, at in zip(names, times, strict=True):
            await store.commit(ended(name), at)
        await store.commit([accept(WorkflowId("open"))], "2026-01-01T00:00:00.000Z")

        async def due(before="", keep=None, spare="2026-04", limit=9):
            return await store.finished(before=before, keep=keep, spare=spare, limit=limit)

        n0, n1, n2, n3, n4 = names
        assert await due() == []
        assert await due(before="2026-03-03T00:00:00.000Z") == [n1, n3]
        assert await due(before="2026-03-03T00:00:00.001Z") == [n1, n3, n0]
        assert await due(keep=2) == [n1, n3, n0]
        assert await due(keep=5) == await due(keep=99) == []
        assert await due(keep=0) == [n1, n3, n0, n4, n2]
        assert await due(keep=0, limit=2) == [n1, n3]
        assert await due(keep=0, spare="2026-03-03T00:00:00.000Z") == [n1, n3]
        assert await due(keep=4, before="2026-03-03T00:00:00.000Z") == [n1, n3]
        assert await due(keep=1, before="2026-03-03T00:00:00.000Z") == [n1, n3, n0, n4]
        await store.commit([delete(n1), delete(n0)], LATER)
        assert await due(keep=2) == [n3]

    async def test_of_endings_at_one_instant_those_submitted_first_go_first(self, store):
        names = [WorkflowId(f"n{number}") for number in (3, 1, 2)]
        await store.commit([*OWNED, *(change for name in names for change in ended(name))], AT)
        assert await store.finished(before="", keep=1, spare=LATER, limit=9) == names[:2]
