"""The ledger's rules about tasks that must not run twice, by example."""

from __future__ import annotations

import pytest

from gleitzeitd.model.ledger import TaskState, Verdict, WorkflowState
from gleitzeitd.model.workflow import OnLost
from tests.model.owned_ledger import CANCEL, LONE, Ledger, leased
from tests.stores.ledger import (
    E2,
    accept,
    complete,
    end,
    grant,
    lose,
    ready,
    resolve,
    start,
)


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
