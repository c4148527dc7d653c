"""The audit cannot be forged, and holds what was accepted and what was refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gleitzeitd.errors import NotPermitted, WorkflowInvalid
from gleitzeitd.events import Event
from gleitzeitd.events.audit import AuditNoted, AuditRetrieved, QueryAudit
from gleitzeitd.events.dependency_resolver import CancelWorkflow, SubmitWorkflow, WorkflowRefused
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.audit import Actor, AuditNote, Chain
from gleitzeitd.model.names import ComponentId, Role, WorkflowId
from gleitzeitd.stores.base import AuditQuery
from tests.daemons import Daemons
from tests.security.arena import NEXT, Arena, W
from tests.security.hub_net import Net, delivered, errors

FORGED = AuditNote(action="submit", object="w", actor=Actor(subject="somebody-else"))


def records(arena: Arena) -> list[AuditNote]:
    page = asyncio.run(arena.store.audit(AuditQuery()))
    assert Chain().broken(page.records) is None
    return [each.note for each in page.records]


@pytest.mark.parametrize(
    "role", sorted({*Role} - {Role.HUB, Role.DEPENDENCY_RESOLVER}), ids=lambda role: str(role.value)
)
def test_who_is_no_resolver_notes_nothing_in_the_audit(role: Role) -> None:
    arena = Arena()
    before = records(arena)
    mallory = arena.intruder(role)
    mallory.say(AuditNoted(notes=[FORGED]))
    mallory.say("audit_noted", json.dumps({"notes": [{"action": "submit", "object": "forged"}]}))
    assert not [note for note in records(arena) if note.object == "forged" or note.actor == FORGED.actor]
    assert before == records(arena)[: len(before)]
    arena.finish()


@pytest.mark.parametrize("user", list(UserRole), ids=lambda user: str(user.value))
def test_no_user_notes_anything_whatever_his_role(user: UserRole) -> None:
    net = Net()
    net.join("ledger", Role.PERSISTENCE)
    net.client("mallory", user)
    effects = net.send("mallory", "audit_noted", {"notes": [{"action": "submit"}]})
    assert errors(effects) == [NotPermitted.code]
    assert not delivered(effects)


@pytest.mark.parametrize("user", [UserRole.VIEWER, UserRole.SUBMITTER], ids=lambda user: str(user.value))
def test_the_audit_is_read_by_operators_only(user: UserRole) -> None:
    net = Net()
    net.join("ledger", Role.PERSISTENCE)
    net.client("eve", user)
    assert errors(net.send("eve", "query_audit", {})) == [NotPermitted.code]


def test_who_and_from_where_are_the_hubs_words_and_not_the_clients() -> None:
    net = Net()
    net.join("resolver-1", Role.DEPENDENCY_RESOLVER)
    net.send("resolver-1", "serve_shards", {"shards": {str(n): 1 for n in range(16)}})
    net.client("mallory", UserRole.SUBMITTER, address="192.0.2.66")
    effects = net.send(
        "mallory", "cancel_workflow", {"workflow_id": "w"}, _shard=3, _subject="anna", _address="127.0.0.1"
    )
    assert delivered(effects)
    assert (net.envelope["_subject"], net.envelope["_address"]) == ("mallory", "192.0.2.66")


def test_a_component_says_nothing_of_subjects_and_addresses() -> None:
    net = Net()
    net.join("ledger", Role.PERSISTENCE)
    net.join("resolver-1", Role.DEPENDENCY_RESOLVER)
    net.send("resolver-1", "save_workflow", {}, _subject="anna", _address="127.0.0.1")
    assert not {"_subject", "_address"} & net.envelope.keys()


def test_a_client_that_signs_for_somebody_else_is_recorded_himself() -> None:
    arena = Arena()
    mallory = arena.intruder(Role.CLIENT)
    forged = Actor(subject="anna", component_id=ComponentId("anna"), address="127.0.0.1")
    mallory.say(CancelWorkflow(workflow_id=W, by=forged))
    arena.run(arena.now + 5.0)
    (cancel,) = [note for note in records(arena) if note.action == "cancel"]
    assert cancel.actor.component_id == "mallory"
    assert cancel.actor.subject != "anna"


def test_every_workflow_has_its_submission_in_the_audit() -> None:
    arena = Arena()
    arena.finish()
    (submit,) = [note for note in records(arena) if note.action == "submit"]
    assert (submit.object, submit.outcome) == (W, "accepted")
    assert submit.actor.component_id
    assert NEXT not in repr(records(arena))  # and nothing of what it holds


async def audited(daemons: Daemons) -> tuple[list[AuditNote], str | None]:
    async with daemons.client() as client:
        answer: Event = await client.ask(QueryAudit(after=0, limit=1000))
        assert isinstance(answer, AuditRetrieved)
        chain = Chain(answer.horizon, answer.anchor)
        return [each.note for each in answer.records], chain.broken(answer.records)


async def test_what_was_accepted_is_in_the_audit_after_the_ledger_was_killed(tmp_path: Path) -> None:
    document = {"name": "one", "tasks": [{"id": "a", "method": "echo/echo", "parameters": {"x": "planted"}}]}
    async with Daemons(tmp_path) as daemons:
        async with daemons.client() as client:
            await client.submit(document, workflow_id="kept-1")
            daemons.kill("persistence")
            daemons.start("persistence")
        notes, problem = await audited(daemons)
        assert problem is None
        (submit,) = [note for note in notes if note.object == "kept-1"]
        assert (submit.action, submit.outcome, submit.actor.address) == ("submit", "accepted", "127.0.0.1")
        assert submit.actor.subject

        async with daemons.client() as client:
            assert isinstance(await client.ask(_bad("refused-1")), WorkflowRefused)
        for _ in range(100):
            notes, problem = await audited(daemons)
            found = [note for note in notes if note.object == "refused-1"]
            if found:
                break
        assert [(note.outcome, note.error) for note in found] == [("refused", WorkflowInvalid.name)]
        assert "planted" not in repr(notes)


def _bad(workflow_id: str) -> Event:
    return SubmitWorkflow(
        workflow_id=WorkflowId(workflow_id), workflow={"name": "bad", "tasks": [{"id": "a"}]}
    )
