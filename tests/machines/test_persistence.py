"""The ledger's decisions about time, order and answers, rule by rule. Outcomes are made by hand here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gleitzeitd.errors import MalformedData, StoreError
from gleitzeitd.events import dependency_resolver as d_
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import CancelTimer, Note, SetTimer
from gleitzeitd.machines.persistence import Persistence, Requests, Settings
from gleitzeitd.model import change as c
from gleitzeitd.model.ledger import (
    Attempt,
    Audience,
    Deadline,
    Execution,
    Fact,
    FeedStamp,
    LeaseWish,
    Recovered,
    ShardRow,
    TaskKey,
    Verdict,
    Waiting,
)
from gleitzeitd.model.names import SHARDS, ComponentId, Role, Shard, TaskId, WorkflowId, shard_of
from tests.drive import Dialogue, calls, notes, replies, tells

ENGINE, QUEUE, RESOLVER = map(ComponentId, ("engine-1", "queue-1", "resolver-1"))
W = WorkflowId("w")
N = shard_of(W)
SWEEP = SetTimer("leases", 0.5)
RESTING = SetTimer("retention", 60.0)


def shard_rows():
    return [ShardRow(shard=Shard(n)) for n in range(SHARDS)]


def attempt(task="a", number=1):
    return Attempt(W, TaskId(task), number)


def ledger(**recovered):
    d = Dialogue(Persistence(ComponentId("persistence"), Settings()))
    d.start() << calls(Requests.Open, call_id="open")
    d.finish("open", Recovered(shards=shard_rows(), **recovered)) << notes("info", "the ledger is open")
    d << RESTING
    return d


def started(task="a"):
    return e.TaskStarted(workflow_id=W, task_id=TaskId(task), attempt=1)


def wishes(*tasks):
    made = [LeaseWish(workflow_id=W, task_id=TaskId(t), attempt=0, engine_id=ENGINE) for t in tasks]
    return q.TaskAvailable(owned_shard=N, epoch=1, leases=made)


def granted(*tasks):
    made = [
        Execution(
            workflow_id=W,
            task_id=TaskId(t),
            attempt=1,
            engine_id=ENGINE,
            method="echo/echo",
            protocol="echo/v1",
        )
        for t in tasks
    ]
    return c.Outcome(executions=made)


def inventory(*attempts, number=1):
    return h.HeartbeatResponse(number=number, inventory=[list(one) for one in attempts])


def leased(*tasks):
    """A ledger that has leased these to ENGINE."""
    d = ledger()
    d.receive(wishes(*tasks), source=QUEUE).settle() << calls(Requests.Commit)
    d.finish("commit", [granted(*tasks)]) << replies(p.DataSaved, to=QUEUE) << SWEEP
    return d


def lost(d, *attempts):
    """What the ledger does about attempts that are lost."""
    for _ in attempts:
        d << notes("warning", "an attempt was lost")
    return d


def losing(d):
    d.settle()
    (call,) = d.take()
    return [change.attempt for change in call.request.changes if isinstance(change, c.LoseAttempt)]


# --- order ----------------------------------------------------------------------------------------


def test_nobody_is_answered_before_the_commit_and_one_transaction_runs_at_a_time():
    d = ledger()
    d.receive(started("a"), source=ENGINE).settle() << calls(Requests.Commit)
    d.receive(started("b"), source=ENGINE)
    d.receive(started("c"), source="engine-2").settle().silent()
    d.finish("commit", [c.Outcome()]) << replies(p.DataSaved(status="ok"), to=ENGINE)
    d.settle()
    (call,) = d.take()
    assert [change.attempt for change in call.request.changes] == [attempt("b"), attempt("c")]


def test_a_fact_is_published_after_the_answer():
    d = ledger()
    fact = Fact(
        name="task_started",
        workflow_id=W,
        shard=N,
        correlation_id="9" * 32,
        audience=Audience.NONE,
        stamp=FeedStamp(number=1),
        body={"workflow_id": W, "task_id": "a", "attempt": 1},
    )
    d.receive(started(), source=ENGINE).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome(facts=[fact])]) << replies(p.DataSaved, to=ENGINE)
    d << tells(e.TaskStarted(workflow_id=W, task_id="a", attempt=1, feed=FeedStamp(number=1)))


def test_changes_that_come_before_the_store_is_open_wait_for_it():
    d = Dialogue(Persistence(ComponentId("persistence")))
    d.start() << calls(Requests.Open)
    d.receive(started(), source=ENGINE).settle().silent()
    d.finish("open", Recovered(shards=shard_rows())) << notes("info") << RESTING
    d.settle() << calls(Requests.Commit)


def test_a_transaction_that_fails_is_told_to_everybody_in_it():
    d = ledger()
    d.receive(started(), source=ENGINE).settle() << calls(Requests.Commit)
    d.finish("commit", StoreError("the disk is full")) << notes("error")
    d << replies(p.PersistenceError(error=StoreError("the disk is full").info()), to=ENGINE)
    assert d.machine.drained()


def test_a_disk_that_is_full_is_told_once_and_by_the_status_until_it_is_not():
    d = ledger()
    for _ in range(2):
        d.receive(started(), source=ENGINE).settle() << calls(Requests.Commit)
        d.finish("commit", StoreError("the disk is full"))
        notes_first = [effect for effect in d.take() if isinstance(effect, Note)]
    assert notes_first == []
    assert "the disk is full" in d.machine.status_line()
    d.receive(started(), source=ENGINE).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome()]) << replies(p.DataSaved, to=ENGINE) << notes("info")
    assert "the disk is full" not in d.machine.status_line()


def test_one_change_that_cannot_be_carried_out_does_not_cost_the_others_their_place():
    d = ledger()
    d.receive(started("a"), source=ENGINE)
    d.receive(started("b"), source="engine-2").settle() << calls(Requests.Commit)
    d.finish("commit", MalformedData("a", "is none")).settle() << calls(Requests.Commit)
    d.finish("commit", MalformedData("a", "is none")) << notes("error")
    d << replies(p.PersistenceError, to=ENGINE)
    d.settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome()]) << replies(p.DataSaved(status="ok"), to="engine-2")


def test_what_exceeds_the_limit_is_asked_to_come_later():
    d = Dialogue(Persistence(ComponentId("persistence"), Settings(pending_limit=1000)))
    d.start().take()
    for n in range(1000):
        d.receive(started(f"t{n}"), source=ENGINE).silent()
    d.receive(started("more"), source=ENGINE)
    (refusal,) = d.take()
    assert refusal.event.error.retryable


# --- leases ---------------------------------------------------------------------------------------


def swept(d, seconds):
    """Time passes, and the ledger looks at its leases all the while."""
    end = d.now + seconds
    while d.now + 0.5 < end:
        d.expire("leases") << SWEEP
    return d


def test_a_lease_ends_when_its_engine_says_nothing():
    swept(d := leased("a"), 15.0)
    d.expire("leases") << notes("warning", "an attempt was lost") << SWEEP
    assert losing(d) == [attempt()]


def test_an_attempt_that_is_listed_goes_on():
    d = leased("a")
    for _ in range(30):
        d.after(1.0).receive(inventory(attempt()), source=ENGINE).silent()
    d.expire("leases") << SWEEP


def test_an_attempt_that_is_not_listed_is_lost_but_not_while_it_may_be_on_its_way():
    d = leased("a", "b")
    swept(d, 2.0).receive(inventory(attempt("b")), source=ENGINE).silent()
    swept(d, 1.5).receive(inventory(attempt("b")), source=ENGINE) << notes("warning", "an attempt was lost")
    assert losing(d) == [attempt("a")]


def test_an_engine_that_lists_another_attempt_does_not_hold_this_one():
    d = leased("a")
    swept(d, 3.0).receive(inventory(attempt(number=2)), source=ENGINE) << notes("warning")


@pytest.mark.parametrize("odd", [[["w"]], [[{}, 1, 2]], [[["w"], "a", 1]], [[]], [[None, None, None]]])
def test_an_odd_inventory_lists_nothing(odd):
    d = leased("a")
    d.receive(h.HeartbeatResponse(number=1, inventory=odd), source=ENGINE).silent()
    listed = [*odd, list(attempt())]
    d.after(3.0).receive(h.HeartbeatResponse(number=2, inventory=listed), source=ENGINE).silent()


def test_a_disconnected_engine_has_a_short_time_to_come_back():
    d = leased("a")
    gone = h.ComponentDisconnected(component_id=ENGINE, component_type=Role.EXECUTION_ENGINE)
    d.receive(gone, source="hub").silent()
    d.after(1.0).receive(inventory(attempt()), source=ENGINE).silent()
    swept(d, 5.0)
    d.receive(gone, source="hub").silent()
    swept(d, 2.0).expire("leases") << notes("warning") << SWEEP


def test_a_ledger_that_hears_nobody_takes_nobody_for_silent():
    d = leased("a")
    d.machine.isolated()
    d.expire("leases").silent()
    d.after(60.0).hub_connected() << SWEEP
    swept(d, 15.0).expire("leases") << notes("warning") << SWEEP


def test_a_ledger_that_was_stopped_itself_reads_first_what_has_come_meanwhile():
    d = leased("a")
    d.after(60.0).expire("leases") << SWEEP
    d.receive(inventory(attempt()), source=ENGINE).silent()
    swept(d, 14.0)


def test_an_inventory_from_before_a_pause_of_the_ledger_proves_nothing():
    d = leased("a")
    d.after(60.0).receive(inventory(), source=ENGINE).silent()
    d.expire("leases") << SWEEP


def test_leases_are_armed_in_full_when_the_ledger_starts():
    d = Dialogue(Persistence(ComponentId("persistence")))
    d.start().take()
    d.finish("open", Recovered(shards=shard_rows(), held=[(attempt(), ENGINE)])) << notes("info")
    d << RESTING << SWEEP
    d.after(14.0).expire("leases") << SWEEP


def test_a_report_ends_the_lease():
    d = leased("a")
    done = e.TaskCompleted(workflow_id=W, task_id=TaskId("a"), attempt=1)
    d.receive(done, source=ENGINE).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome(released=[TaskKey(W, TaskId("a"))])]) << replies(p.DataSaved, to=ENGINE)
    d.expire("leases").silent()
    assert d.machine.figures()["leases"] == 0


def test_a_cancel_is_repeated_while_the_engine_lists_the_attempt():
    d = leased("a")
    order = d_.CancelWorkflow(workflow_id=W, reason="enough")
    d.receive(order, source=RESOLVER).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome(cancel=[(attempt(), ENGINE)])]) << replies(p.DataSaved, to=RESOLVER)
    d << tells(e.CancelTask, to=ENGINE)
    for _ in range(3):
        d.receive(inventory(attempt()), source=ENGINE) << tells(e.CancelTask, to=ENGINE)
    d.receive(inventory(), source=ENGINE).silent()


def test_a_retry_is_woken_when_it_is_due_and_armed_again_by_a_restart():
    d = ledger()
    failed = e.TaskFailed(workflow_id=W, task_id=TaskId("a"), attempt=1, error=StoreError("no").info())
    d.receive(failed, source=ENGINE).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome(waking=[(attempt(), 2.0)])]) << replies(p.DataSaved)
    d << SetTimer("wake/w/a", 2.0)
    d.expire("wake/w/a").settle()
    (call,) = d.take()
    assert call.request.changes == [c.WakeTask(attempt=attempt())]
    d.finish("commit", StoreError("no")) << notes("error") << SetTimer("wake/w/a", 1.0)

    d = Dialogue(Persistence(ComponentId("persistence")))
    d.start().take()
    d.finish("open", Recovered(shards=shard_rows(), waking=[(attempt(), 2.0)]))
    d << notes("info") << RESTING << SetTimer("wake/w/a", 2.0)


# --- shards ---------------------------------------------------------------------------------------


def claim(role=Role.DEPENDENCY_RESOLVER, **more):
    return p.ClaimShard(role=role, incarnation=f"{RESOLVER}.1", **more)


def test_a_claim_is_answered_after_the_commit_with_all_that_is_owned():
    d = ledger()
    d.receive(claim(), source=RESOLVER).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome()])
    (answer,) = d.take()
    assert [(each.shard, each.epoch) for each in answer.event.owned] == [(n, 1) for n in range(SHARDS)]
    d.receive(claim(), source=RESOLVER) << replies(p.ShardClaimed, to=RESOLVER)


def test_who_leaves_owns_nothing():
    d = ledger()
    d.receive(claim(), source=RESOLVER).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome()]).take()
    d.receive(claim(release=True), source=RESOLVER).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome()]) << replies(p.ShardClaimed, owned=[])


def test_nobody_owns_a_shard_in_another_role():
    d = ledger()
    d.receive(claim(Role.CLIENT), source=RESOLVER).silent()
    d.settle().silent()


# --- what holds a workflow up -----------------------------------------------------------------------


def test_what_blocks_a_workflow_is_told_to_whoever_asks_until_it_is_over():
    d = ledger()
    d.receive(p.ClaimShard(role=Role.QUEUE_MANAGER, incarnation=f"{QUEUE}.1"), source=QUEUE).settle().take()
    d.finish("commit", [c.Outcome()]).take()
    blocked = d_.ExecutionBlocked(workflow_id=W, task_ids=["a"], count=1, reason="no provider")
    over = d_.ExecutionBlocked(workflow_id=W, task_ids=[], count=0, reason="")
    query = p.QueryData(kind_of_data="workflow", workflow_id=W)
    for event, reasons in ((blocked, ["no provider"]), (over, [])):
        d.receive(event, source=QUEUE).silent()
        d.receive(query, source="client")
        (call,) = d.take()
        assert [item["reason"] for item in call.request.blocked] == reasons
        d.finish(call.call_id, p.DataRetrieved(items=[])) << replies(p.DataRetrieved, to="client")


# --- timeouts, and what an operator says ------------------------------------------------------------


def waits(kind, task="a", number=0):
    return Deadline(Waiting(kind), W, TaskId(task), number)


def about(task="a", **more):
    return {"workflow_id": W, "task_id": TaskId(task), "attempt": 1, **more}


def armed(*deadlines):
    """A ledger that has found these when it was opened, each of 60 seconds."""
    d = Dialogue(Persistence(ComponentId("persistence"), Settings()))
    d.start().take()
    d.finish("open", Recovered(shards=shard_rows(), deadlines=[(each, 60.0) for each in deadlines]))
    d << notes("info", "the ledger is open") << RESTING
    for each in deadlines:
        d << SetTimer(f"deadline/w/{each.task_id}", 60.0)
    return d


def committing(d):
    d.settle()
    (call,) = d.take()
    return call.request.changes


def test_a_wait_is_ended_when_its_timer_says_so_and_tried_again_if_the_store_cannot():
    d = armed(waits("queued"))
    d.expire("deadline/w/a") << notes("info", "a timeout is over")
    assert committing(d) == [c.Expire(deadline=waits("queued"))]
    d.finish("commit", StoreError("no")) << notes("error") << SetTimer("deadline/w/a", 1.0)


def test_a_lease_ends_the_wait_in_the_queue_and_begins_the_one_for_the_start():
    d = armed(waits("queued"))
    d.receive(wishes("a"), source=QUEUE).settle() << calls(Requests.Commit)
    outcome = granted("a")
    outcome.deadlines.append((waits("start", number=1), 5.0))
    d.finish("commit", [outcome]) << replies(p.DataSaved, to=QUEUE)
    d << CancelTimer("deadline/w/a") << SetTimer("deadline/w/a", 5.0) << SWEEP
    d.receive(started(), source=ENGINE).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome()]) << replies(p.DataSaved, to=ENGINE) << CancelTimer("deadline/w/a")
    assert d.machine.figures()["timeouts_armed"] == 0


def test_an_outdated_start_ends_no_wait():
    d = armed(waits("start", number=2))
    d.receive(started(), source=ENGINE).settle() << calls(Requests.Commit)
    d.finish("commit", [c.Outcome(status=c.Status.STALE)]) << replies(p.DataSaved, to=ENGINE)
    assert d.machine.figures()["timeouts_armed"] == 1


def test_an_end_of_a_workflow_forgets_all_that_was_waited_for():
    d = armed(waits("workflow", ""), waits("queued", "a"), waits("queued", "b"))
    d.receive(d_.WorkflowCancelled(workflow_id=W, epoch=1), source=RESOLVER).settle() << calls(
        Requests.Commit
    )
    over = Fact(
        name="workflow_cancelled",
        workflow_id=W,
        shard=N,
        correlation_id="9" * 32,
        audience=Audience.RESOLVER,
        stamp=FeedStamp(number=1),
        body={"workflow_id": W},
    )
    d.finish("commit", [c.Outcome(facts=[over])]) << replies(p.DataSaved) << tells(d_.WorkflowCancelled)
    d << CancelTimer("deadline/w/") << CancelTimer("deadline/w/a") << CancelTimer("deadline/w/b")
    assert d.machine.figures()["timeouts_armed"] == 0


def test_an_engine_that_has_not_begun_in_time_is_told_once():
    d = leased("a")
    d.receive(started("z"), source=ENGINE).settle() << calls(Requests.Commit)
    late = c.Outcome(released=[TaskKey(W, TaskId("a"))], cancel=[(attempt(), ENGINE)])
    d.finish("commit", [late]) << replies(p.DataSaved, to=ENGINE)
    d << tells(e.CancelTask, to=ENGINE, reason="it was taken back")
    d.receive(inventory(attempt()), source=ENGINE).silent()


def test_a_verdict_is_answered_when_it_is_durable():
    d = ledger()
    d.receive(d_.ResolveTask(**about(verdict=Verdict.DONE, result=7)), source=RESOLVER)
    (change,) = committing(d)
    fence = c.Fence(role=Role.DEPENDENCY_RESOLVER, asker=RESOLVER)
    assert replace(change, by=None) == c.ResolveTask(**about(verdict=Verdict.DONE, result=7), fence=fence)
    d.finish("commit", [c.Outcome()]) << replies(p.DataSaved(status="ok"), to=RESOLVER)
