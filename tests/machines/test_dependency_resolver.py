"""The dependency resolver, rule by rule."""

from __future__ import annotations

from dataclasses import replace

from gleitzeitd.errors import LimitExceeded, MalformedEvent, StoreCorrupt, StoreError, WorkflowConflict
from gleitzeitd.events import dependency_resolver as d_
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import persistence as p
from gleitzeitd.machines.base import CancelAsk, Reply
from gleitzeitd.machines.dependency_resolver import DependencyResolver, Settings
from gleitzeitd.model.audit import Actor
from gleitzeitd.model.document import read
from gleitzeitd.model.ledger import FeedStamp, ReadyTask, Verdict
from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import TaskId, WorkflowId, shard_of
from gleitzeitd.plain import to_plain
from tests.drive import CORRELATION, Dialogue, asks, notes, replies

W = WorkflowId("w")
N = shard_of(W)
CLIENT = "client"


def task(name, *needs, **parameters):
    given = parameters or {need: f"${{{need}.n}}" for need in needs}
    return {"id": name, "method": "echo/echo", "parameters": given, "dependencies": list(needs)}


def document(*tasks):
    return {"name": "test", "tasks": list(tasks)}


CHAIN = document(task("a"), task("b", "a"))


def resolver(*workflows, limits=LIMITS, **options):
    """One that owns W's shard, whose snapshot held these."""
    settings = Settings(**options)
    d = Dialogue(DependencyResolver(component_id="r", incarnation="r.1", settings=settings, limits=limits))
    d.start().take()
    claim = p.ShardClaim(shard=N, epoch=1, number=0)
    d.answer(p.ShardClaimed(owned=[claim], owner_seconds=3.0), key="claim").take()
    d.answer(p.DataRetrieved(items=list(workflows), number=0), key=f"snapshot/{N}").take()
    d.answer(p.DataRetrieved(items=[]), key=f"feed/{N}").silent()
    return d


def kept(doc, states, workflow_id=W, state="running"):
    """An item of a snapshot."""
    return {
        "workflow_id": workflow_id,
        "document": to_plain(read(doc).workflow),
        "inputs": {},
        "correlation_id": CORRELATION,
        "state": state,
        "states": states,
    }


class Feed:
    def __init__(self, number=0):
        self.number = number

    def stamp(self):
        self.number += 1
        return FeedStamp(number=self.number, after_resolver=self.number - 1)

    def completed(self, task_id, result=None, workflow_id=W):
        return e.TaskCompleted(
            workflow_id=workflow_id, task_id=TaskId(task_id), attempt=1, result=result, feed=self.stamp()
        )

    def failed(self, task_id, **more):
        error = StoreError("broken").info()
        return e.TaskFailed(
            workflow_id=W, task_id=TaskId(task_id), attempt=1, error=error, feed=self.stamp(), **more
        )

    def cancelled(self, *task_ids):
        return e.TaskCancelled(workflow_id=W, task_ids=list(task_ids), feed=self.stamp())

    def cancelling(self):
        return d_.WorkflowCancelling(workflow_id=W, feed=self.stamp())


def submit(doc=CHAIN, workflow_id=W, **more):
    return d_.SubmitWorkflow(workflow_id=workflow_id, workflow=doc, **more)


def running(doc=CHAIN):
    """A resolver whose W has been accepted, and whose first tasks are ready."""
    d = resolver()
    d.receive(submit(doc), source=CLIENT).take()
    d.answer(p.DataSaved(status="ok"), key="save/w").take()
    d.settle() << asks(d_.WorkflowAnalyzed)
    d.answer(p.DataSaved(status="ok"), key="ready/w/0").silent()
    return d


def ready(task_id, **parameters):
    return ReadyTask(task_id=TaskId(task_id), parameters=parameters)


# --- submission -----------------------------------------------------------------------------------


def test_a_workflow_is_accepted_once_it_is_durable():
    d = resolver()
    d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow, key="save/w", workflow_id=W, epoch=1)
    d.settle().silent()
    d.answer(p.DataSaved(status="ok"), key="save/w") << replies(
        d_.WorkflowSubmitted(workflow_id=W), to=CLIENT
    )
    d << notes("info", "workflow accepted")
    d.settle() << asks(d_.WorkflowAnalyzed(workflow_id=W, tasks=[ready("a")], epoch=1))


def test_a_workflow_is_refused_with_all_reasons_at_once():
    d = resolver()
    d.receive(submit(document(task("a", "nobody"), {"id": "b"})), source=CLIENT)
    refusal, told = d.take()
    assert [note.action for note in told.event.notes] == ["submit"]
    assert refusal.event.error.message.endswith("problems in the workflow")
    assert len(refusal.event.problems) >= 2
    assert not d.asks.keys() & {"save/w"}


def test_everybody_who_submitted_it_meanwhile_is_answered():
    d = resolver()
    d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow)
    d.receive(submit(), source="another").silent()
    d.answer(p.DataSaved(status="ok"), key="save/w") << replies(d_.WorkflowSubmitted, to=CLIENT)
    d << replies(d_.WorkflowSubmitted, to="another") << notes("info")


def test_the_same_id_with_another_content_is_refused():
    d = resolver()
    d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow)
    d.answer(p.DataSaved(status="conflict", message="before"), key="save/w")
    d << replies(d_.WorkflowRefused(workflow_id=W, error=WorkflowConflict("before").info()), to=CLIENT)


def test_a_submission_for_anothers_shard_is_left_to_its_owner():
    d = resolver()
    other = next(WorkflowId(f"w{n}") for n in range(99) if shard_of(f"w{n}") != N)
    d.receive(submit(workflow_id=other), source=CLIENT).silent()


def test_what_is_published_before_the_ledgers_answer_counts():
    d = resolver()
    d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow)
    d.receive(Feed().cancelling(), source="persistence").silent()
    d.answer(p.DataSaved(status="ok"), key="save/w") << replies(d_.WorkflowSubmitted, to=CLIENT)
    d << asks(p.QueryData, key="reload/w")
    d.settle().silent()


def test_more_workflows_than_allowed_are_refused_for_now():
    d = resolver(kept(CHAIN, {"a": "queued"}), workflows=1)
    other = next(WorkflowId(f"w{n}") for n in range(99) if shard_of(f"w{n}") == N)
    d.receive(submit(workflow_id=other), source=CLIENT)
    refusal, told = d.take()
    assert told.event.notes[0].outcome == "refused"
    assert refusal.event.error.retryable


def test_parameters_over_the_limit_fail_the_task_with_the_setting():
    d = resolver(limits=WorkflowLimits(parameter_bytes=1000))
    task = {"id": "a", "method": "echo/echo", "parameters": {"message": "x" * 2000}}
    d.receive(submit({"name": "w", "tasks": [task]}), source=CLIENT).take()
    d.answer(p.DataSaved(status="ok"), key="save/w").take()
    (decision,) = d.settle().take()
    (skipped,) = decision.event.tasks
    assert "bytes as they are sent, and workflow_limits.parameter_bytes is 1000" in skipped.error.message


def test_workflows_that_are_being_saved_count_and_are_kept_when_others_are_told_to_come_later():
    d = resolver(workflows=1)
    d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow)
    other = next(WorkflowId(f"w{n}") for n in range(99) if shard_of(f"w{n}") == N)
    d.receive(submit(workflow_id=other), source=CLIENT)
    refused = next(each.event for each in d.take() if isinstance(each, Reply))
    assert (refused.error.code, refused.error.retry_after) == (LimitExceeded.code, 2.0)
    assert "dependency_resolver.workflows" in refused.error.message
    d.answer(p.DataSaved(status="ok"), key="save/w") << replies(d_.WorkflowSubmitted, to=CLIENT)


def test_what_the_hub_or_the_ledger_will_never_take_is_refused_and_forgotten():
    for refuse in (
        lambda d: d.refuse("save/w", MalformedEvent("save_workflow", "too large").info()),
        lambda d: d.answer(p.PersistenceError(error=StoreCorrupt("no").info()), key="save/w"),
    ):
        d = resolver()
        d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow)
        refuse(d) << notes("error") << replies(d_.WorkflowRefused, to=CLIENT)
        assert d.machine.figures()["submissions"] == 0


def test_an_answer_that_comes_after_the_shard_was_anothers_does_not_begin_the_workflow_again():
    d = resolver()
    d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow)
    d.expire("claim").take()
    again = p.ShardClaimed(owned=[p.ShardClaim(shard=N, epoch=3, number=0)], owner_seconds=3.0)
    d.answer(again, key="claim").take()
    item = kept(CHAIN, {"a": "completed", "b": "queued"})
    d.answer(p.DataRetrieved(items=[item], number=0), key=f"snapshot/{N}").take()
    d.answer(p.DataSaved(status="ok"), key="save/w") << replies(d_.WorkflowSubmitted)
    d.settle().silent()


def test_an_answer_for_a_shard_that_is_anothers_by_now_keeps_nothing():
    d = resolver()
    d.receive(submit(), source=CLIENT) << asks(p.SaveWorkflow)
    d.expire("claim").take()
    d.answer(p.ShardClaimed(owned=[], owner_seconds=3.0), key="claim").take()
    d.answer(p.DataSaved(status="ok"), key="save/w") << replies(d_.WorkflowSubmitted)
    assert d.machine.load() == 0


# --- what follows ---------------------------------------------------------------------------------


def test_a_task_is_freed_with_its_references_replaced():
    d, feed = running(), Feed()
    d.receive(feed.completed("a", {"n": 5})).settle()
    d << asks(d_.DependenciesSatisfied(workflow_id=W, tasks=[ready("b", a=5)], epoch=1, cursor=1))


def test_a_task_whose_parameters_cannot_be_made_has_failed():
    d, feed = running(), Feed()
    d.receive(feed.completed("a", {"m": 5})).settle() << asks(d_.TaskSkipped)
    (skipped,) = d.asks["skip/w/1"].event.tasks
    assert (skipped.task_id, skipped.failed) == ("b", True)


def test_what_depends_on_a_failed_task_is_skipped_but_not_before_its_last_attempt():
    d, feed = running(), Feed()
    d.receive(feed.failed("a", retry_in=2.0)).settle().silent()
    d.receive(feed.failed("a")).settle() << asks(d_.TaskSkipped, cursor=2)


def test_one_look_at_all_that_was_heard():
    d, feed = running(document(task("a"), task("b"), task("c", "a", x=1), task("d", "b", x=2))), Feed()
    d.receive(feed.completed("a"))
    d.receive(feed.completed("b"))
    d.settle() << asks(
        d_.DependenciesSatisfied(workflow_id=W, tasks=[ready("c", x=1), ready("d", x=2)], epoch=1, cursor=2)
    )


def test_a_workflow_ends_with_its_last_task_and_is_forgotten_when_that_is_durable():
    d, feed = running(document(task("a"))), Feed()
    d.receive(feed.completed("a")).settle() << asks(d_.WorkflowCompleted(workflow_id=W, epoch=1), key="end/w")
    d.answer(p.DataSaved(status="ok"), key="end/w").silent()
    assert d.machine.load() == 1
    d.receive(d_.WorkflowCompleted(workflow_id=W, feed=feed.stamp())) << notes("info", "workflow completed")
    assert d.machine.load() == 0
    d.settle().silent()


# --- taking over ----------------------------------------------------------------------------------


def test_a_workflow_goes_on_where_the_ledger_has_it():
    d = resolver(kept(CHAIN, {"a": "completed", "b": "pending"}))
    d.settle() << asks(p.QueryData, kind_of_data="results", workflow_id=W, task_ids=["a"])
    d.answer(p.DataRetrieved(items=[["a", {"n": 6}]]), key="results/w/0").silent()
    d.settle() << asks(d_.DependenciesSatisfied(workflow_id=W, tasks=[ready("b", a=6)], epoch=1))


def test_the_workflows_of_every_page_of_a_snapshot_go_on():
    first, second = [f"w{n}" for n in range(99) if shard_of(f"w{n}") == N][:2]
    d = Dialogue(DependencyResolver(component_id="r", incarnation="r.1"))
    d.start().take()
    claimed = p.ShardClaimed(owned=[p.ShardClaim(shard=N, epoch=1, number=0)], owner_seconds=3.0)
    d.answer(claimed, key="claim").take()
    page = [kept(CHAIN, {}, first)]
    d.answer(p.DataRetrieved(items=page, next=first, number=0), key=f"snapshot/{N}").take()
    d.settle().silent()
    d.answer(p.DataRetrieved(items=[kept(CHAIN, {}, second)], number=0), key=f"snapshot/{N}").take()
    (
        d.settle()
        << asks(d_.WorkflowAnalyzed, workflow_id=first)
        << asks(d_.WorkflowAnalyzed, workflow_id=second)
    )


def test_results_are_asked_for_once_however_often_the_workflow_is_looked_at():
    doc = document(task("a"), task("b", "a"), task("c"), task("x", "c", y=1))
    d, feed = resolver(kept(doc, {"a": "completed", "b": "pending", "c": "queued", "x": "pending"})), Feed()
    d.settle() << asks(p.QueryData, task_ids=["a"])
    d.receive(feed.completed("c")).settle() << asks(d_.DependenciesSatisfied, tasks=[ready("x", y=1)])
    d.answer(p.DataRetrieved(items=[["a", {"n": 6}]]), key="results/w/0").settle()
    d << asks(d_.DependenciesSatisfied, tasks=[ready("b", a=6)])


def test_results_that_did_not_fit_are_asked_for_again():
    doc = document(task("a"), task("b"), task("c", "a", "b"))
    d = resolver(kept(doc, {"a": "completed", "b": "completed", "c": "pending"}))
    d.settle() << asks(p.QueryData, task_ids=["a", "b"])
    d.answer(p.DataRetrieved(items=[["a", {"n": 1}]]), key="results/w/0").settle()
    d << asks(p.QueryData, task_ids=["b"])
    d.answer(p.DataRetrieved(items=[["b", {"n": 2}]]), key="results/w/1").settle()
    d << asks(d_.DependenciesSatisfied, tasks=[ready("c", a=1, b=2)])


def test_a_task_that_waits_for_results_can_be_cancelled():
    d, feed = resolver(kept(CHAIN, {"a": "completed", "b": "pending"})), Feed()
    d.settle() << asks(p.QueryData, kind_of_data="results")
    d.receive(feed.cancelling())
    d.receive(feed.cancelled("b"))
    d.settle() << asks(d_.WorkflowCancelled(workflow_id=W, epoch=1))
    d.answer(p.DataRetrieved(items=[["a", {"n": 6}]]), key="results/w/0")
    d.settle() << asks(d_.WorkflowCancelled)


def test_a_workflow_taken_over_midway_is_not_analyzed_anew():
    d, feed = resolver(kept(CHAIN, {"a": "running", "b": "pending"})), Feed()
    d.receive(feed.completed("a", {"n": 1})).settle() << asks(d_.DependenciesSatisfied)


def test_a_cancelled_workflow_frees_nothing_more():
    d, feed = running(), Feed()
    d.receive(feed.cancelling())
    d.receive(feed.completed("a", {"n": 1})).settle().silent()
    d.receive(feed.cancelled("b")).settle() << asks(d_.WorkflowCancelled)


# --- what clients ask -----------------------------------------------------------------------------


def test_a_check_makes_the_projection_anew_even_while_others_are_busy():
    d, feed = running(), Feed()
    other = next(WorkflowId(f"w{n}") for n in range(99) if shard_of(f"w{n}") == N)
    d.receive(d_.CheckDependencies(workflow_id=W), source=CLIENT) << asks(p.QueryData, key="reload/w")
    d.receive(feed.completed("z", workflow_id=other)).silent()
    item = kept(CHAIN, {"a": "running", "b": "pending"})
    d.answer(p.DataRetrieved(items=[item], number=0), key="reload/w")
    d << replies(d_.StatusResponse, to=CLIENT, counts={"active": 1, "pending": 1})


def test_what_was_read_before_the_workflow_moved_is_read_again():
    d, feed = running(), Feed()
    d.receive(d_.CheckDependencies(workflow_id=W), source=CLIENT) << asks(p.QueryData, key="reload/w")
    d.receive(feed.completed("a", {"n": 1}))
    item = kept(CHAIN, {"a": "running", "b": "pending"})
    d.answer(p.DataRetrieved(items=[item], number=0), key="reload/w") << asks(p.QueryData, key="reload/w")
    item = kept(CHAIN, {"a": "completed", "b": "pending"})
    d.answer(p.DataRetrieved(items=[item], number=1), key="reload/w") << replies(d_.StatusResponse)


def test_cancelling_is_answered_when_it_is_durable():
    d = running()
    order = d_.CancelWorkflow(workflow_id=W, reason="enough")
    d.receive(order, source=CLIENT) << asks(replace(order, by=Actor(component_id=CLIENT)))
    asker = d.envelope
    key = next(key for key in d.asks if key.startswith("cancel_workflow/"))
    d.answer(p.DataSaved(status="ok"), key=key) << replies(p.DataSaved(status="ok"), to=asker)


def test_a_verdict_is_answered_when_it_is_durable():
    d = running()
    order = d_.ResolveTask(workflow_id=W, task_id=TaskId("a"), verdict=Verdict.FAIL, attempt=1)
    d.receive(order, source=CLIENT) << asks(replace(order, by=Actor(component_id=CLIENT)))
    asker = d.envelope
    key = next(key for key in d.asks if key.startswith("resolve_task/"))
    saved = p.DataSaved(status="stale", message="a is running")
    d.answer(saved, key=key) << replies(saved, to=asker)


def test_the_status_of_what_has_ended_comes_from_the_ledger():
    d = resolver()
    d.receive(d_.QueryStatus(workflow_id=W), source=CLIENT) << asks(p.QueryData, kind_of_data="workflow")
    item = {"name": "test", "status": "completed"}
    key = next(key for key in d.asks if key.startswith("status/"))
    d.answer(p.DataRetrieved(items=[item]), key=key)
    d << replies(d_.StatusResponse(workflow_id=W, workflow_name="test", status="completed"), to=CLIENT)
    d.receive(d_.QueryStatus(workflow_id=W), source=CLIENT) << asks(p.QueryData)
    key = next(key for key in d.asks if key.startswith("status/"))
    d.answer(p.DataRetrieved(items=[]), key=key) << replies(d_.StatusResponse, status="unknown")


def test_what_is_new_is_refused_while_the_ledger_cannot_keep_it_and_what_runs_is_asked_on():
    d = resolver()
    d.receive(submit(), source=CLIENT).take()
    full = StoreError("the disk is full").info()
    d.hinder("save/w", full) << CancelAsk("save/w") << notes("error")
    d << replies(d_.WorkflowRefused(workflow_id=W, error=full), to=CLIENT)
    d.receive(submit(), source=CLIENT).take()
    d.answer(p.DataSaved(status="ok"), key="save/w").take()
    d.settle() << asks(d_.WorkflowAnalyzed, key="ready/w/0")
    d.hinder("ready/w/0", full).silent()
