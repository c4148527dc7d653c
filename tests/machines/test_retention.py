"""When finished workflows are deleted: in rounds and steps, each bounded, with pauses."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import StoreError
from gleitzeitd.events import persistence as p
from gleitzeitd.machines import retention as r
from gleitzeitd.machines.base import SetTimer
from gleitzeitd.machines.persistence import Persistence, Requests, Settings
from gleitzeitd.model import change as c
from gleitzeitd.model.audit import Actor
from gleitzeitd.model.ledger import Recovered, ShardRow
from gleitzeitd.model.names import SHARDS, ComponentId, Shard, WorkflowId
from tests.drive import Dialogue, calls, notes, replies

W = WorkflowId("w")
PAUSE, BUSY = SetTimer("retention", 0.01), SetTimer("retention", 0.1)
OK = c.Outcome()


def names(number):
    return [WorkflowId(f"w{n}") for n in range(number)]


def resting(every=60.0):
    return SetTimer("retention", every)


def ledger(**settings):
    """One that has looked for leftovers of its last life, and found none."""
    settings = Settings(**settings)
    d = Dialogue(Persistence(ComponentId("persistence"), settings))
    d.start().take()
    d.finish("open", Recovered(shards=[ShardRow(shard=Shard(n)) for n in range(SHARDS)])) << notes("info")
    d << resting(settings.delete_every_seconds)
    d.expire("retention") << calls(r.Sweep, call_id="retention/sweep")
    d.finish("retention/sweep", 0) << resting(settings.delete_every_seconds)
    return d


def committed(d):
    """The changes of the transaction that begins now."""
    d.settle()
    (call,) = d.take()
    assert isinstance(call.request, Requests.Commit)
    return call.request.changes


def test_what_an_earlier_process_has_left_is_swept_before_anything_is_looked_for():
    d = Dialogue(Persistence(ComponentId("persistence"), Settings()))
    d.start().take()
    d.finish("open", Recovered(shards=[ShardRow(shard=Shard(n)) for n in range(SHARDS)])) << notes("info")
    d << resting()
    d.expire("retention") << calls(r.Sweep, rows=r.SWEPT_AT_ONCE, forget_seconds=600.0)
    d.finish("retention/sweep", 5000) << PAUSE
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 0) << resting()


def test_a_round_finds_deletes_and_sweeps_and_says_once_what_it_has_done():
    d = ledger()
    d.expire("retention") << calls(r.Find, keep_seconds=30 * 86_400.0, keep=100_000, spare_seconds=600.0)
    d.finish("retention/find", names(150)) << PAUSE
    d.expire("retention")
    first = committed(d)
    assert first == [c.DeleteWorkflow(workflow_id=name) for name in names(100)]
    d.finish("commit", [OK] * 100) << PAUSE
    d.expire("retention")
    assert len(committed(d)) == 50
    d.finish("commit", [OK] * 50) << PAUSE
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 5000) << PAUSE
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 12) << PAUSE
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 0)
    said, timer = d.take()
    assert (said.level, said.message) == ("info", "finished workflows were deleted")
    assert said.fields == {"workflows": 150, "rows": 5012}
    assert timer == resting()
    assert d.machine.figures()["workflows_deleted"] == 150


def test_a_round_with_nothing_due_says_nothing():
    d = ledger(delete_every_seconds=5.0)
    d.expire("retention") << calls(r.Find)
    d.finish("retention/find", []) << PAUSE
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 0) << resting(5.0)


def test_more_than_one_answer_holds_is_looked_for_in_the_same_round():
    d = ledger()
    d.expire("retention") << calls(r.Find, limit=1000)
    d.finish("retention/find", names(1000)) << PAUSE
    for _ in range(10):
        d.expire("retention")
        d.finish("commit", [OK] * len(committed(d))) << PAUSE
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 0) << PAUSE
    d.expire("retention") << calls(r.Find)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"keep_finished_days": 0.0}, {"keep_seconds": None, "keep": 100_000}),
        ({"keep_finished_count": 0}, {"keep_seconds": 30 * 86_400.0, "keep": None}),
    ],
)
def test_a_bound_of_nothing_is_no_bound(settings, wanted):
    ledger(**settings).expire("retention") << calls(r.Find, **wanted)


def test_where_everything_is_kept_only_what_a_client_has_deleted_is_swept():
    d = ledger(keep_finished_days=0.0, keep_finished_count=0)
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 0) << resting()
    d.expire("retention") << calls(r.Sweep)


def test_pauses_are_longer_while_others_have_something_committed():
    d = ledger()
    d.expire("retention") << calls(r.Find)
    d.receive(p.DeleteWorkflow(workflow_id=W), source="client")
    committed(d)
    d.finish("commit", [c.Outcome(status=c.Status.DUPLICATE)]) << replies(p.DataSaved, status="duplicate")
    d.finish("retention/find", names(150)) << BUSY
    d.expire("retention")
    d.finish("commit", [OK] * len(committed(d))) << PAUSE


def test_what_a_client_deletes_is_answered_after_the_commit_and_swept_soon():
    d = ledger()
    d.receive(p.DeleteWorkflow(workflow_id=W), source="client")
    assert committed(d) == [c.DeleteWorkflow(workflow_id=W, by=Actor(component_id="client"))]
    d.finish("commit", [OK]) << replies(p.DataSaved, to="client", status="ok") << BUSY
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 9) << PAUSE
    d.expire("retention") << calls(r.Sweep)
    d.finish("retention/sweep", 0) << notes("info", "finished workflows were deleted") << resting()


def test_an_unfinished_workflow_is_refused_by_its_number_with_what_to_do():
    d = ledger()
    d.receive(p.DeleteWorkflow(workflow_id=W), source="client")
    committed(d)
    d.finish("commit", [c.Outcome(status=c.Status.STALE, message="w is running: cancel it first")])
    reply, *_ = d.take()
    assert isinstance(reply.event, p.PersistenceError)
    assert (reply.event.error.code, reply.event.error.name) == (-28007, "WORKFLOW_INVALID_STATE")
    assert not reply.event.error.retryable
    assert "cancel it first" in reply.event.error.message


@pytest.mark.parametrize("call_id", ["retention/find", "retention/sweep"])
def test_a_store_that_cannot_is_asked_again_in_the_next_round(call_id):
    d = ledger()
    d.expire("retention") << calls(r.Find)
    if call_id == "retention/sweep":
        d.finish("retention/find", []) << PAUSE
        d.expire("retention") << calls(r.Sweep)
    d.finish(call_id, StoreError("disk full")) << resting()
    d.expire("retention") << calls(r.Find)


def test_deletions_that_are_not_committed_are_due_in_the_next_round():
    d = ledger()
    d.expire("retention") << calls(r.Find)
    d.finish("retention/find", names(150)) << PAUSE
    d.expire("retention")
    committed(d)
    d.finish("commit", StoreError("disk full")) << notes("error", "a transaction failed") << resting()
    d.expire("retention") << calls(r.Find)
