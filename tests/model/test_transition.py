"""Each rule of the ledger, by example. Changes go in order into one ledger; what comes out is looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gleitzeitd import errors
from gleitzeitd.model.change import CancelWorkflow, ChangePriority, Status
from gleitzeitd.model.ledger import Attempt, TaskState, Verdict, WorkflowState
from gleitzeitd.model.names import SHARDS, Role, WorkflowId, shard_of
from gleitzeitd.model.retry import Backoff, RetryPolicy
from gleitzeitd.model.transition import BUSY_DELAY
from gleitzeitd.model.workflow import OnLost, Timeouts
from gleitzeitd.stores.memory import MemoryStore
from tests.stores.ledger import (
    AT,
    BROKEN,
    E1,
    E2,
    LATER,
    OWNED,
    P1,
    A,
    W,
    accept,
    complete,
    done,
    end,
    expire,
    fail,
    grant,
    lose,
    ready,
    resolve,
    skip,
    start,
    take,
    waits,
    wake,
)

RETRY = RetryPolicy(max_attempts=3, backoff=Backoff.FIXED, base_delay=2, jitter=False)
LONE = {"a": []}
CANCEL = CancelWorkflow(workflow_id=W, reason="enough")


class Ledger:
    """One with every shard owned."""

    def __init__(self, *changes):
        self.store = MemoryStore()
        self(*OWNED)
        assert all(outcome.status is Status.OK for outcome in (self(change) for change in changes))

    def __call__(self, *changes, at=AT):
        """The outcome of the last one."""
        return self._now(self.store.commit(changes, at))[-1]

    def statuses(self, *changes):
        return [self(change).status.value for change in changes]

    def task(self, name="a"):
        return next(row for row in self._now(self.store.tasks(W, -1, 99)) if row.task_id == name)

    @property
    def workflow(self):
        return self._now(self.store.workflow(W))

    def _now(self, coroutine):
        try:
            coroutine.send(None)
        except StopIteration as done_with:
            return done_with.value
        raise AssertionError("a store in memory waited")


def leased(**of_tasks):
    return Ledger(accept(graph=LONE, **of_tasks), ready("a"), grant("a"))


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
    ledger(take(Role.DEPENDENCY_RESOLVER, owner="two"), take(Role.QUEUE_MANAGER, owner="two"))
    assert ledger.statuses(skip("b"), ready("b"), end(), grant("a")) == ["stale"] * 4
    assert ledger.statuses(grant("a", epoch=2), skip("b", epoch=2)) == ["ok", "ok"]


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


# --- timeouts -------------------------------------------------------------------------------------

WAITS = Timeouts(queued=60, start=5, silence=9)


def test_each_wait_is_told_with_its_seconds_whenever_it_begins():
    ledger = Ledger(accept(graph=LONE, timeouts=WAITS, retry=RETRY))
    assert ledger(ready("a")).deadlines == [(waits("queued", "a"), 60)]
    assert ledger(grant("a")).deadlines == [(waits("start", "a", 1), 5)]
    assert ledger(start("a"), lose("a")).deadlines == [(waits("queued", "a", 1), 60)]
    ledger(grant("a", attempt=1), fail("a", 2))
    assert ledger(wake("a", 2)).deadlines == [(waits("queued", "a", 2), 60)]


def test_a_task_without_timeouts_costs_no_deadline():
    ledger = Ledger()
    changes = [accept(), ready("a"), grant("a"), start("a"), lose("a")]
    assert [ledger(change).deadlines for change in changes] == [[]] * 5


def test_what_waits_in_the_queue_for_too_long_has_failed_whatever_its_policy():
    ledger = Ledger(accept(graph=LONE, timeouts=WAITS, retry=RETRY), ready("a"))
    (fact,) = ledger(expire("queued", "a")).facts
    assert (fact.name, fact.body.get("retry_in")) == ("task_failed", None)
    assert str(ledger.task().error) == "[TASK_TIMEOUT] waited in the queue longer than 60 s"
    assert ledger.statuses(expire("queued", "a"), end()) == ["stale", "ok"]


@pytest.mark.parametrize(
    ("before", "late"),
    [
        ([], expire("queued", "a", 1)),
        ([grant("a")], expire("queued", "a")),
        ([grant("a"), lose("a")], expire("queued", "a")),
        ([grant("a"), start("a")], expire("start", "a", 1)),
        ([grant("a"), lose("a")], expire("start", "a", 1)),
        ([grant("a"), complete("a")], expire("start", "a", 1)),
    ],
)
def test_a_deadline_of_a_wait_that_is_over_has_no_effect(before, late):
    ledger = Ledger(accept(graph=LONE, timeouts=WAITS), ready("a"), *before)
    task = ledger.task()
    assert ledger.statuses(late) == ["stale"]
    assert ledger.task() == task


def test_what_is_not_started_in_time_is_another_engines_and_the_first_is_told():
    ledger = leased(timeouts=WAITS)
    outcome = ledger(expire("start", "a", 1))
    assert [fact.name for fact in outcome.facts] == ["task_lost"]
    assert outcome.cancel == [(Attempt(W, A, 1), E1)]
    assert (ledger.task().state, ledger.task().crashes) == (TaskState.READY, 0)
    cancelled = fail("a", error=errors.TaskCancelled("it was taken back"))
    assert ledger.statuses(start("a"), cancelled, grant("a", attempt=1)) == ["stale", "duplicate", "ok"]


def test_a_workflow_whose_time_is_over_is_cancelled_and_has_failed():
    ledger = Ledger()
    outcome = ledger(accept(graph={"a": [], "b": []}, within=5))
    assert outcome.deadlines == [(waits("workflow"), 5)]
    outcome = ledger(ready("a"), grant("a"), start("a"), expire("workflow"))
    assert outcome.cancel == [(Attempt(W, A, 1), E1)]
    assert [fact.name for fact in outcome.facts] == ["workflow_cancelling", "task_cancelled"]
    ledger(fail("a", error=errors.TaskCancelled("ended")))
    (fact,) = ledger(end(WorkflowState.CANCELLED)).facts
    assert fact.name == "workflow_failed"
    assert fact.body["error"]["code"] == -28004
    assert ledger.workflow.state is WorkflowState.FAILED
    assert ledger.workflow.reason == "it took longer than its timeout of 5 s"
    assert ledger.task().state is TaskState.CANCELLED


@pytest.mark.parametrize("before", [[CANCEL], done("a"), [*done("a"), end()]])
def test_a_workflow_that_has_nothing_left_to_do_is_in_time(before):
    ledger = Ledger(accept(graph=LONE, within=5), *before)
    assert ledger.statuses(expire("workflow")) == ["stale"]
    assert ledger.workflow.error is None


def test_nobody_waits_for_an_unknown_workflow_or_task():
    assert Ledger().statuses(expire("workflow"), expire("queued", "a"), expire("start", "a")) == ["stale"] * 3


# --- tasks that must not run twice ----------------------------------------------------------------


def doubtful():
    ledger = leased(on_lost=OnLost.ASK)
    assert [fact.name for fact in ledger(start("a"), lose("a")).facts] == ["task_unknown"]
    return ledger


def test_a_task_that_may_not_run_twice_is_unknown_when_it_was_lost_while_it_ran():
    ledger = doubtful()
    assert ledger.task().state is TaskState.UNKNOWN
    assert ledger.task().error.message == "lost while it ran: the engine is gone"
    assert ledger.statuses(end(), grant("a", attempt=1), lose("a"), start("a")) == [
        "stale",
        "ok",
        "stale",
        "stale",
    ]
    assert ledger.task().state is TaskState.UNKNOWN


def test_a_task_that_may_not_run_twice_runs_again_if_it_had_not_begun():
    ledger = leased(on_lost=OnLost.ASK)
    ledger(lose("a"))
    assert ledger.task().state is TaskState.READY


@pytest.mark.parametrize("on_lost", OnLost)
def test_an_engine_is_told_whether_the_start_comes_before_the_work(on_lost):
    ledger = Ledger(accept(graph=LONE, on_lost=on_lost), ready("a"))
    (execution,) = ledger(grant("a")).executions
    assert execution.once is (on_lost is not OnLost.RERUN)


@pytest.mark.parametrize("on_lost", [OnLost.FAIL, OnLost.ASK])
def test_a_start_after_the_end_of_a_task_that_may_not_run_twice_is_outdated(on_lost):
    ledger = leased(on_lost=on_lost)
    ledger(start("a"))
    assert ledger.statuses(start("a"), lose("a"), start("a")) == ["duplicate", "ok", "stale"]


@pytest.mark.parametrize(
    ("verdict", "state", "fact"),
    [
        ("rerun", TaskState.READY, "enqueue_task"),
        ("fail", TaskState.FAILED, "task_failed"),
        ("done", TaskState.DONE, "task_completed"),
    ],
)
def test_an_operator_says_what_a_task_is_and_may_say_it_twice(verdict, state, fact):
    ledger = doubtful()
    assert [each.name for each in ledger(resolve("a", verdict, attempt=1, result=7)).facts] == [fact]
    assert ledger.task().state is state
    assert ledger.statuses(resolve("a", verdict, attempt=1)) == ["duplicate"]
    other = "fail" if verdict != "fail" else "done"
    assert ledger.statuses(resolve("a", other), resolve("b", verdict)) == ["stale", "missing"]


def test_a_verdict_on_one_attempt_is_none_on_the_next():
    ledger = doubtful()
    ledger(resolve("a", "rerun", attempt=1), grant("a", attempt=1), start("a", 2), lose("a", 2))
    assert ledger.statuses(resolve("a", "rerun", attempt=1), resolve("a", "done", attempt=2)) == [
        "stale",
        "ok",
    ]


def test_a_task_that_runs_for_the_first_time_cannot_be_resolved():
    ledger = leased(on_lost=OnLost.ASK)
    assert ledger.statuses(*(resolve("a", verdict) for verdict in Verdict)) == ["stale"] * 3
    assert ledger(resolve("a")).message == "a is assigned: only a task that is unknown can be resolved"


def test_a_late_report_of_the_engine_that_had_it_ends_the_doubt():
    ledger = doubtful()
    assert ledger.statuses(complete("a", engine=E2), complete("a"), complete("a")) == [
        "stale",
        "ok",
        "duplicate",
    ]
    assert ledger.task().state is TaskState.DONE


def test_cancelling_ends_what_is_unknown():
    ledger = doubtful()
    outcome = ledger(CANCEL)
    assert [fact.name for fact in outcome.facts] == ["workflow_cancelling", "task_cancelled"]
    assert outcome.cancel == []
    assert ledger.statuses(resolve("a"), end(WorkflowState.CANCELLED)) == ["stale", "ok"]


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
