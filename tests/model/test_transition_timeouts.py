"""The ledger's rules about timeouts, by example."""

from __future__ import annotations

import pytest

from gleitzeitd import errors
from gleitzeitd.model.ledger import Attempt, Audience, TaskState, WorkflowState
from gleitzeitd.model.workflow import Timeouts
from tests.model.owned_ledger import CANCEL, LONE, RETRY, Ledger, leased
from tests.stores.ledger import (
    E1,
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
    start,
    waits,
    wake,
)

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
    withdrawn, fact = ledger(expire("queued", "a")).facts
    assert (withdrawn.name, withdrawn.audience) == ("task_withdrawn", Audience.QUEUE_MANAGER)
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
