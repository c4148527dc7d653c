"""Each rule of the ledger, by example. Changes go in order into one ledger; what comes out is looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gleitzeitd import errors
from gleitzeitd.model.change import ChangePriority, Status
from gleitzeitd.model.ledger import Attempt, TaskState, WorkflowState
from gleitzeitd.model.names import SHARDS, Role, WorkflowId, shard_of
from gleitzeitd.model.transition import BUSY_DELAY
from gleitzeitd.model.workflow import OnLost
from tests.model.owned_ledger import CANCEL, LONE, RETRY, Ledger, leased
from tests.stores.ledger import (
    AT,
    BROKEN,
    E1,
    E2,
    LATER,
    P1,
    A,
    W,
    accept,
    complete,
    done,
    end,
    fail,
    grant,
    lose,
    ready,
    skip,
    start,
    take,
    wake,
)

# --- workflows ------------------------------------------------------------------------------------


def test_the_same_workflow_again_is_a_duplicate_and_another_of_its_id_a_conflict():
    ledger = Ledger()
    assert ledger.statuses(accept(), accept(), accept(digest="other")) == ["ok", "duplicate", "conflict"]


def test_a_repeated_workflow_is_a_duplicate_even_from_a_former_owner():
    ledger = Ledger(accept(), take(Role.DEPENDENCY_RESOLVER, owner="two"))
    assert ledger.statuses(accept(epoch=1), accept(WorkflowId("w2"), epoch=1)) == ["duplicate", "stale"]


def test_a_workflow_ends_once_and_only_after_its_tasks():
    ledger = Ledger(accept(graph=LONE))
    assert ledger.statuses(end(), *done("a"), end(), end()) == ["stale", "ok", "ok", "ok", "ok", "duplicate"]
    assert ledger.workflow.state is WorkflowState.COMPLETED


def test_a_workflow_that_failed_says_why():
    ledger = Ledger(accept(graph=LONE), skip("a", failed=True))
    outcome = ledger(end(WorkflowState.FAILED, error=BROKEN), at=LATER)
    assert outcome.facts[0].name == "workflow_failed"
    assert outcome.facts[0].body["error"]["message"] == "no"
    assert (ledger.workflow.error, ledger.workflow.finished_at) == (BROKEN, LATER)


def test_what_nobody_knows_is_missing():
    changes = [ready("a"), skip("a"), end(), CANCEL, ChangePriority(workflow_id=W, task_ids=[], priority=4)]
    assert Ledger().statuses(*changes) == ["missing"] * 5
    assert Ledger().statuses(start("a"), complete("a"), fail("a"), lose("a"), wake("a")) == ["stale"] * 5


# --- readiness ------------------------------------------------------------------------------------


def test_a_task_is_ready_only_after_all_its_dependencies_are_done():
    ledger = Ledger(accept(graph={"a": [], "b": [], "c": ["a", "b"]}), *done("a"))
    assert ledger.statuses(ready("c"), *done("b"), ready("c")) == ["duplicate", "ok", "ok", "ok", "ok"]


def test_a_skipped_dependency_frees_nobody():
    ledger = Ledger(accept(graph={"a": [], "b": ["a"]}), skip("a"))
    assert ledger.statuses(ready("b")) == ["duplicate"]


def test_only_those_that_became_ready_are_published():
    ledger = Ledger(accept(), ready("a"))
    outcome = ledger(accept(), *done("a"), ready("a", "b", "c", "unknown"))
    assert [fact.body["tasks"] for fact in outcome.facts] == [[{"task_id": "b", "protocol": "python/v1"}]]


def test_the_cursor_moves_with_the_decision_and_never_back():
    ledger = Ledger(accept(), ready("a", cursor=7))
    ledger(ready("b", cursor=5), skip("b", cursor=6))
    cursors = {row.shard: row.cursor for row in ledger._now(ledger.store.open()).shards}
    assert cursors == {shard: 7 if shard == shard_of(W) else 0 for shard in range(SHARDS)}


def test_a_skipped_task_keeps_its_reason_and_has_ended():
    ledger = Ledger(accept(), skip("b"), skip("c", failed=True))
    assert (ledger.task("b").state, ledger.task("b").error) == (TaskState.SKIPPED, BROKEN)
    assert ledger.task("c").state is TaskState.FAILED
    assert ledger.workflow.open_tasks == 1
    assert ledger.statuses(skip("b", "c")) == ["duplicate"]


# --- fences ---------------------------------------------------------------------------------------


def test_a_former_owner_changes_nothing():
    ledger = Ledger(accept(), ready("a"))
    ledger(take(Role.DEPENDENCY_RESOLVER, owner="two.1"), take(Role.QUEUE_MANAGER, owner="two.1"))
    assert ledger.statuses(skip("b"), ready("b"), end(), grant("a")) == ["stale"] * 4
    assert ledger.statuses(grant("a", epoch=2), skip("b", epoch=2)) == ["stale"] * 2
    assert ledger.statuses(grant("a", epoch=2, asker="two"), skip("b", epoch=2, asker="two")) == ["ok"] * 2


def test_the_owner_of_one_shard_leases_nothing_of_another():
    ledger = Ledger(accept(graph=LONE), ready("a"))
    outcome = ledger(grant("a", shard=(shard_of(W) + 1) % SHARDS))
    assert (len(outcome.refused), outcome.executions) == (1, [])
    assert ledger.task().state is TaskState.READY


# --- leases ---------------------------------------------------------------------------------------


def test_a_lease_carries_all_that_an_engine_needs():
    ledger = Ledger(accept(graph=LONE, timeout=9), ready("a", parameters={"x": 1}))
    (execution,) = ledger(grant("a")).executions
    assert (execution.attempt, execution.engine_id, execution.method) == (1, E1, "python/execute")
    assert (execution.protocol, execution.parameters) == ("python/v1", {"x": 1})
    assert (execution.timeout, execution.correlation_id) == (9, "c-w")


def test_of_two_engines_that_are_to_have_a_task_one_gets_it():
    ledger = Ledger(accept(graph=LONE), ready("a"))
    (first,), (second,) = grant("a").leases, grant("a", engine=E2).leases
    outcome = ledger(replace(grant("a"), leases=[first, second]))
    assert [execution.engine_id for execution in outcome.executions] == [E1]
    assert outcome.refused == [second]
    assert ledger(grant("a", engine=E2)).executions == []
    assert ledger(grant("a", engine=E2, attempt=1)).executions == []


def test_every_lease_is_another_attempt():
    ledger = leased()
    ledger(lose("a"), grant("a", attempt=1, engine=E2))
    assert (ledger.task().attempt, ledger.task().owner) == (2, E2)


def test_a_start_names_the_provider_and_only_watchers_hear_of_it():
    ledger = leased()
    (fact,) = ledger(start("a")).facts
    assert (fact.name, fact.audience, fact.body["provider_id"]) == ("task_started", 0, P1)
    assert ledger.task().state is TaskState.RUNNING
    assert ledger.statuses(start("a"), start("a", 2), start("a", engine=E2)) == [
        "duplicate",
        "stale",
        "stale",
    ]


def test_a_start_that_comes_after_the_end_is_old_news():
    ledger = leased(retry=RETRY)
    assert ledger.statuses(fail("a"), start("a"), wake("a"), start("a")) == [
        "ok",
        "duplicate",
        "ok",
        "duplicate",
    ]
    assert leased().statuses(complete("a"), start("a")) == ["ok", "duplicate"]


# --- ends -----------------------------------------------------------------------------------------


def test_a_task_is_done_once():
    ledger = leased()
    outcome = ledger(complete("a", result={"x": 1}))
    assert outcome.facts[0].body == {
        "workflow_id": "w",
        "task_id": "a",
        "attempt": 1,
        "started_at": AT,
        "finished_at": LATER,
        "result": {"x": 1},
    }
    assert outcome.released == [(W, A)]
    assert ledger.statuses(complete("a"), fail("a")) == ["duplicate", "duplicate"]


def test_only_the_engine_that_holds_the_attempt_can_end_it():
    ledger = leased()
    assert ledger.statuses(complete("a", engine=E2), complete("a", 2), fail("a", 0)) == ["stale"] * 3
    ledger(lose("a"), grant("a", attempt=1, engine=E2))
    assert ledger.statuses(complete("a"), complete("a", 2, engine=E2)) == ["stale", "ok"]


def test_an_attempt_that_was_taken_back_counts_if_nobody_else_has_it_yet():
    assert leased().statuses(lose("a"), start("a"), complete("a")) == ["ok", "stale", "ok"]
    ledger = leased()
    ledger(lose("a"), fail("a"))
    assert (ledger.task().state, ledger.task().failures) == (TaskState.FAILED, 1)


def test_a_failure_is_tried_again_as_the_policy_says_and_no_further():
    ledger = leased(retry=RETRY)
    for attempt in (1, 2):
        outcome = ledger(fail("a", attempt))
        assert outcome.waking == [(Attempt(W, A, attempt), 2.0)]
        assert outcome.facts[0].body["retry_in"] == 2.0
        assert ledger.statuses(wake("a", attempt), grant("a", attempt=attempt)) == ["ok", "ok"]
    assert ledger(fail("a", 3)).waking == []
    assert (ledger.task().state, ledger.task().failures) == (TaskState.FAILED, 3)


def test_a_failure_that_is_repeated_after_its_retry_is_due_counts_once():
    ledger = leased(retry=RETRY)
    assert ledger.statuses(fail("a"), fail("a"), wake("a"), fail("a"), complete("a")) == [
        "ok",
        "duplicate",
        "ok",
        "duplicate",
        "duplicate",
    ]
    assert (ledger.task().state, ledger.task().failures) == (TaskState.READY, 1)
    assert ledger.statuses(grant("a", attempt=1), fail("a", 2)) == ["ok", "ok"]


def test_a_retry_waits_as_long_as_whoever_failed_asks():
    ledger = leased(retry=RETRY)
    outcome = ledger(fail("a", error=errors.RateLimited("slow down", retry_after=60.0)))
    assert outcome.waking == [(Attempt(W, A, 1), 60.0)]


def test_what_cannot_succeed_is_not_tried_again():
    ledger = leased(retry=RETRY)
    ledger(fail("a", error=errors.ParameterInvalid("x")))
    assert ledger.task().state is TaskState.FAILED


def test_a_busy_provider_is_no_failure():
    ledger = leased()
    outcome = ledger(fail("a", error=errors.ProviderOverloaded("full")))
    assert outcome.waking == [(Attempt(W, A, 1), BUSY_DELAY)]
    assert (ledger.task().failures, ledger.task().crashes) == (0, 0)


def test_a_retry_is_woken_once():
    ledger = leased(retry=RETRY)
    assert ledger.statuses(wake("a"), fail("a"), wake("a", 2), wake("a"), wake("a")) == [
        "stale",
        "ok",
        "stale",
        "ok",
        "stale",
    ]


# --- losses ---------------------------------------------------------------------------------------


def test_a_lost_attempt_makes_the_task_ready_again_and_is_no_failure():
    ledger = leased()
    outcome = ledger(start("a"), lose("a"))
    assert outcome.facts[0].name == "task_lost"
    assert outcome.facts[0].body["tasks"] == [{"task_id": "a", "protocol": "python/v1", "attempt": 1}]
    assert (ledger.task().state, ledger.task().failures, ledger.task().crashes) == (TaskState.READY, 0, 1)
    assert ledger.statuses(lose("a"), lose("a", 2)) == ["stale", "stale"]


def test_an_attempt_that_nobody_began_is_lost_for_free():
    ledger = leased()
    for attempt in range(1, 6):
        ledger(lose("a", attempt), grant("a", attempt=attempt))
    assert (ledger.task().state, ledger.task().crashes) == (TaskState.LEASED, 0)


def test_a_lease_is_granted_again_to_whoever_missed_the_answer():
    ledger = leased()
    again = ledger(grant("a"))
    assert [(x.task_id, x.attempt, x.engine_id) for x in again.executions] == [("a", 1, E1)]
    assert (ledger.task().state, ledger.task().attempt) == (TaskState.LEASED, 1)
    assert ledger(grant("a", engine=E2)).executions == []
    ledger(start("a"))
    assert ledger(grant("a")).executions == []


def test_a_lease_of_a_cancelled_workflow_is_not_granted_again():
    ledger = leased()
    assert ledger(CANCEL, grant("a")).executions == []


def test_a_provider_that_went_away_is_a_loss_however_often_it_is_told():
    ledger = leased()
    gone = fail("a", error=errors.ProviderNotAvailable("gone"))
    assert ledger.statuses(gone, gone) == ["ok", "duplicate"]
    assert (ledger.task().state, ledger.task().crashes) == (TaskState.READY, 1)


def test_a_task_that_is_lost_three_times_has_failed():
    ledger = leased()
    for attempt in (1, 2):
        ledger(start("a", attempt), lose("a", attempt), grant("a", attempt=attempt))
    (fact,) = ledger(start("a", 3), lose("a", 3)).facts
    assert (fact.name, fact.body["attempt"]) == ("task_failed", 3)
    assert ledger.task().state is TaskState.FAILED
    assert ledger.task().error.code == errors.ProviderNotAvailable.code


@pytest.mark.parametrize(("before", "expected"), [([], TaskState.READY), ([start("a")], TaskState.FAILED)])
def test_a_task_that_must_not_run_twice_fails_if_it_ran_when_it_was_lost(before, expected):
    ledger = leased(on_lost=OnLost.FAIL)
    ledger(*before, lose("a"))
    assert ledger.task().state is expected


# --- cancelling -----------------------------------------------------------------------------------


def test_a_workflow_whose_tasks_have_all_ended_cannot_be_cancelled_any_more():
    ledger = Ledger(accept(graph=LONE), ready("a"), grant("a"), start("a"), complete("a"))
    outcome = ledger(CANCEL)
    assert (outcome.status, outcome.message) == ("stale", "all tasks of the workflow have ended already")
    assert ledger.statuses(end()) == ["ok"]
    assert ledger.workflow.state is WorkflowState.COMPLETED


def test_cancelling_ends_what_waits_and_names_what_is_held():
    ledger = Ledger(accept(graph={"a": [], "b": [], "c": ["a"]}), ready("a", "b"), grant("a"))
    outcome = ledger(CANCEL)
    assert [fact.name for fact in outcome.facts] == ["workflow_cancelling", "task_cancelled"]
    assert outcome.facts[1].body["task_ids"] == ["b", "c"]
    assert outcome.cancel == [(Attempt(W, A, 1), E1)]
    assert ledger.workflow.open_tasks == 1
    again = ledger(CANCEL)
    assert (again.status, again.facts, again.cancel) == (Status.DUPLICATE, [], outcome.cancel)


@pytest.mark.parametrize(
    "last",
    [
        fail("a", error=errors.TaskCancelled("x")),
        fail("a"),
        lose("a"),
        fail("a", error=errors.ProviderNotAvailable("x")),
    ],
)
def test_a_held_task_of_a_cancelled_workflow_ends_cancelled_however_its_attempt_ends(last):
    ledger = leased(retry=RETRY)
    ledger(CANCEL)
    assert ledger(last).facts[0].name == "task_cancelled"
    assert ledger.task().state is TaskState.CANCELLED
    assert ledger.statuses(end(WorkflowState.CANCELLED)) == ["ok"]


def test_a_result_that_was_under_way_when_its_workflow_was_cancelled_is_kept():
    ledger = leased()
    assert ledger.statuses(CANCEL, complete("a", result=1)) == ["ok", "ok"]
    assert ledger.task().state is TaskState.DONE


def test_nothing_of_a_cancelled_workflow_starts():
    ledger = Ledger(accept(graph={"a": [], "b": ["a"]}), ready("a"), grant("a"))
    assert ledger.statuses(CANCEL, complete("a"), ready("b"), grant("b")) == ["ok", "ok", "duplicate", "ok"]
    assert ledger.task("b").state is TaskState.CANCELLED


def test_a_workflow_that_has_ended_cannot_be_cancelled():
    ledger = Ledger(accept(graph=LONE), *done("a"), end())
    outcome = ledger(CANCEL)
    assert (outcome.status, outcome.message) == (Status.STALE, "the workflow is completed already")


def test_cancelling_what_is_cancelled_is_a_repeat():
    ledger = Ledger(accept(graph=LONE), CANCEL, end(WorkflowState.CANCELLED))
    assert ledger.statuses(CANCEL) == ["duplicate"]


def test_a_task_that_runs_keeps_its_priority():
    ledger = Ledger(accept(graph={"a": [], "b": [], "c": []}), ready("a", "b"), grant("a"))
    ledger(ChangePriority(workflow_id=W, task_ids=[], priority=4))
    assert [ledger.task(name).priority for name in "abc"] == [2, 4, 4]


# --- retries by error -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "error", "state"),
    [
        ({"on": ("TASK_TIMEOUT",)}, errors.TaskTimeout("slow"), TaskState.RETRY),
        ({"on": ("TASK_TIMEOUT",)}, errors.ExecutionFailed("no"), TaskState.FAILED),
        ({"on": ("TASK_RESULT_INVALID",)}, errors.ResultInvalid("odd"), TaskState.RETRY),
        ({"never_on": ("TASK_TIMEOUT",)}, errors.TaskTimeout("slow"), TaskState.FAILED),
        ({"never_on": ("TASK_TIMEOUT",)}, errors.ExecutionFailed("no"), TaskState.RETRY),
    ],
)
def test_a_task_is_tried_again_after_the_errors_that_its_policy_names(policy, error, state):
    ledger = leased(retry=replace(RETRY, **policy))
    ledger(fail("a", error=error))
    assert ledger.task().state is state
