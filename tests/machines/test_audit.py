"""The ledger's part in the audit, and the hub's: what is recorded, what is only counted."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import NotPermitted
from gleitzeitd.events import audit as a
from gleitzeitd.events import dependency_resolver as d_
from gleitzeitd.events import operations as o
from gleitzeitd.events import persistence as p
from gleitzeitd.machines.audit import ReadAudit
from gleitzeitd.machines.base import Call, Note, Reply, Send, SetTimer
from gleitzeitd.machines.persistence import Persistence, Requests, Settings
from gleitzeitd.model import change as c
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.audit import BEGINNING, Action, Actor, Result, recorded, refused
from gleitzeitd.model.ledger import Recovered, ShardRow
from gleitzeitd.model.names import SHARDS, ComponentId, Role, Shard, WorkflowId
from tests.drive import Dialogue
from tests.security.hub_net import Net

W = WorkflowId("w")
EVE = Actor(subject="eve", component_id=ComponentId("cli"), address="192.0.2.9")


def ledger(**settings):
    d = Dialogue(Persistence(ComponentId("persistence"), Settings(**settings)))
    d.start().take()
    d.finish("open", Recovered(shards=[ShardRow(shard=Shard(n)) for n in range(SHARDS)])).take()
    return d


def a_refusal(action=Action.SUBMIT, about="w", actor=EVE):
    return refused(action, about, actor, NotPermitted("no").info())


def committing(d):
    """The notes in the transaction that begins now."""
    d.settle()
    (call,) = [
        each for each in d.take() if isinstance(each, Call) and isinstance(each.request, Requests.Commit)
    ]
    return [note for change in call.request.changes for note in change.notes]


def noted(d, *notes):
    return d.receive(a.AuditNoted(notes=list(notes)), source="hub-1")


def test_the_first_refusal_of_a_cause_is_recorded_at_once_and_its_repeats_are_counted():
    d = ledger()
    noted(d, a_refusal())
    assert [each for each in d.take() if isinstance(each, SetTimer)] == [SetTimer("audit", 60.0)]
    assert committing(d) == [a_refusal()]
    d.finish("commit", [c.Outcome()]).take()
    for _ in range(3):
        noted(d, a_refusal()).settle().silent()
    d.expire("audit")
    (again,) = committing(d)
    assert (again.count, again.actor, again.error) == (3, EVE, "AUTHORIZATION_FAILED")


def test_a_flood_of_refusals_is_a_bounded_number_of_records():
    d = ledger(audit_refusals=5)
    for number in range(500):
        noted(d, a_refusal(about=f"w{number}")).take()
    d.settle()
    (call,) = [each for each in d.take() if isinstance(each, Call)]
    assert sum(len(change.notes) for change in call.request.changes) == 5
    d.finish("commit", [c.Outcome() for _ in call.request.changes]).take()
    d.expire("audit")
    (rest,) = committing(d)
    assert (rest.count, rest.object, rest.actor, rest.detail) == (495, "", Actor(), "of several causes")


def test_after_a_minute_refusals_are_recorded_again():
    d = ledger(audit_refusals=1)
    noted(d, a_refusal()).take()
    committing(d)
    d.finish("commit", [c.Outcome()]).take()
    d.expire("audit").settle().silent()
    noted(d, a_refusal(about="other")).take()
    assert [note.object for note in committing(d)] == ["other"]


def test_what_could_not_be_written_is_tried_again():
    from gleitzeitd.errors import StoreError

    d = ledger()
    noted(d, a_refusal()).take()
    committing(d)
    d.finish("commit", StoreError("disk full"))
    assert SetTimer("audit", 5.0) in d.take()
    d.expire("audit")
    assert committing(d) == [a_refusal()]


def test_a_drain_is_recorded_with_whom_it_was_for_and_its_repeat_is_not():
    d = ledger()
    for _ in range(2):
        d.receive(o.DrainComponent(), source="cli", reply_to="engine-1", subject="ops", address="192.0.2.7")
    (note,) = committing(d)
    actor = Actor(subject="ops", component_id=ComponentId("cli"), address="192.0.2.7")
    assert (note.action, note.object, note.actor) == (Action.DRAIN, "engine-1", actor)


def test_a_component_reports_of_itself_only():
    d = ledger()
    d.receive(a.ConfigurationReloaded(keys=["lease_seconds"]), source="engine-1").take()
    (note,) = committing(d)
    assert (note.action, note.object, note.detail) == ("config_reload", "engine-1", "lease_seconds")
    assert note.actor.component_id == "engine-1"


def test_what_a_command_reports_is_answered_when_it_is_recorded():
    d = ledger()
    d.receive(a.ReportAction(action=Action.TOKEN_CREATE, object="3f0c"), source="cli", subject="ops")
    (note,) = committing(d)
    assert (note.action, note.object, note.actor.subject) == ("token_create", "3f0c", "ops")
    d.finish("commit", [c.Outcome()])
    (reply,) = d.take()
    assert isinstance(reply, Reply)
    assert reply.event == p.DataSaved(status="ok")


@pytest.mark.parametrize("action", [Action.SUBMIT, Action.REFUSE, Action.DRAIN])
def test_nobody_reports_what_the_ledger_records_itself(action):
    d = ledger()
    d.receive(a.ReportAction(action=action, object="w"), source="cli", subject="ops")
    (reply,) = d.take()
    assert isinstance(reply.event, p.PersistenceError)
    d.settle().silent()


def test_each_record_is_in_the_journal_with_its_hash():
    d = ledger()
    noted(d, a_refusal()).take()
    committing(d)
    record = recorded(a_refusal(), "2026-01-01T00:00:00.000Z", 1, BEGINNING)
    d.finish("commit", [c.Outcome(audited=[record])])
    (note,) = [each for each in d.take() if isinstance(each, Note)]
    fields = {key: note.fields[key] for key in ("action", "subject", "address", "outcome", "hash")}
    assert note.message == "audit"
    assert fields == {
        "action": "submit",
        "subject": "eve",
        "address": "192.0.2.9",
        "outcome": "refused",
        "hash": record.hash,
    }


def test_a_command_that_the_ledger_refuses_is_recorded_as_refused():
    d = ledger()
    order = d_.CancelWorkflow(workflow_id=W, by=EVE)
    d.receive(order, source="resolver-1").settle().take()
    d.finish("commit", [c.Outcome(status=c.Status.MISSING)]).take()
    (note,) = committing(d)
    assert (note.action, note.object, note.actor, note.outcome) == ("cancel", "w", EVE, Result.REFUSED)
    assert note.error == "WORKFLOW_NOT_FOUND"


def test_what_is_asked_of_the_audit_is_read_and_answered():
    d = ledger()
    d.receive(a.QueryAudit(limit=5), source="cli")
    (call,) = d.take()
    assert call.request == ReadAudit(a.QueryAudit(limit=5))
    d.finish(call.call_id, a.AuditRetrieved(last=7))
    (reply,) = d.take()
    assert reply.event == a.AuditRetrieved(last=7)


@pytest.mark.parametrize(
    "query", [a.QueryAudit(limit=0), a.QueryAudit(after=-1), a.QueryAudit(wish=a.AuditWish(outcome="x"))]
)
def test_what_no_record_can_fit_is_refused(query):
    d = ledger()
    d.receive(query, source="cli")
    (reply,) = d.take()
    assert isinstance(reply.event, p.PersistenceError)


# --- the hub ----------------------------------------------------------------------------------------


def told(net):
    """What the ledger is told with the next heartbeat."""
    net.now += 1.0
    effects = net.hub.timer_expired("beat", net.now, "")
    return [
        note
        for each in effects
        if isinstance(each, Send) and isinstance(each.event, a.AuditNoted)
        for note in each.event.notes
    ]


def test_a_hub_tells_the_ledger_of_what_it_refused_once_with_the_number():
    net = Net()
    net.join("ledger", Role.PERSISTENCE)
    net.client("eve", UserRole.VIEWER)
    for _ in range(3):
        net.send("eve", "delete_workflow", {"workflow_id": "w"})
    (note,) = told(net)
    assert (note.action, note.object, note.count, note.error) == (
        "refuse",
        "delete_workflow",
        3,
        "AUTHORIZATION_FAILED",
    )
    assert note.actor == Actor(subject="eve", component_id=ComponentId("eve"), address="192.0.2.1")
    assert told(net) == []


def test_what_was_refused_while_there_was_no_ledger_is_told_when_there_is_one():
    net = Net()
    net.client("eve", UserRole.VIEWER)
    net.send("eve", "delete_workflow", {"workflow_id": "w"})
    assert told(net) == []
    net.join("ledger", Role.PERSISTENCE)
    assert [note.object for note in told(net)] == ["delete_workflow"]


def test_a_hub_under_attack_tells_a_bounded_number_of_causes():
    net = Net()
    net.join("ledger", Role.PERSISTENCE)
    for number in range(300):
        net.client(f"eve-{number}", UserRole.VIEWER)
        net.send(f"eve-{number}", "delete_workflow", {"workflow_id": "w"})
    notes = told(net)
    assert len(notes) <= 101
    assert sum(note.count for note in notes) == 300


def test_an_event_under_a_name_that_somebody_made_up_is_not_in_the_audit_by_this_name():
    net = Net()
    net.join("ledger", Role.PERSISTENCE)
    net.client("eve", UserRole.VIEWER)
    net.send("eve", "sk-secret", {})
    assert [note.object for note in told(net)] == [""]


def test_a_hub_tells_the_ledger_which_of_its_own_settings_have_changed_and_not_to_what():
    net = Net()
    net.hub.adjust("dead_after", 7.5)
    net.join("ledger", Role.PERSISTENCE)
    (note,) = told(net)
    assert net.hub.settings.dead_after == 7.5
    assert (note.action, note.object, note.detail) == ("config_reload", net.hub.component_id, "dead_after")
    assert note.error == ""
