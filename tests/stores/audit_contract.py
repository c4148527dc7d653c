"""What every store must do about the audit."""

from __future__ import annotations

import pytest

from gleitzeitd.model.audit import BEGINNING, Action, Actor, AuditNote, Chain, Result
from gleitzeitd.model.change import (
    CancelWorkflow,
    ChangePriority,
    DeleteWorkflow,
    NoteAudit,
    Status,
)
from gleitzeitd.model.names import ComponentId
from gleitzeitd.stores.base import AuditQuery
from tests.stores.ledger import AT, LATER, OWNED, W, accept, done, end

ANNA = Actor(subject="anna", component_id=ComponentId("cli-1"), address="10.0.0.7")
BEN = Actor(subject="ben", component_id=ComponentId("cli-2"), address="10.0.0.8")


def noted(*numbers, actor=ANNA, action="drain"):
    return NoteAudit(notes=[AuditNote(action=action, object=f"engine-{n}", actor=actor) for n in numbers])


def by(change, actor=ANNA):
    change.by = actor
    return change


async def everything(store):
    """All records, and whether the chain holds from the horizon on."""
    page = await store.audit(AuditQuery(limit=100_000))
    assert Chain(page.horizon, page.anchor).broken(page.records) is None
    assert page.last == (page.records[-1].number if page.records else page.horizon)
    return page.records


class AuditContract:
    async def test_the_audit_of_a_new_store_is_empty(self, store):
        page = await store.audit(AuditQuery())
        assert (page.records, page.last, page.horizon, page.anchor) == ([], 0, 0, BEGINNING)

    async def test_a_submission_is_in_the_audit_with_who_and_from_where(self, store):
        (*_, outcome) = await store.commit([*OWNED, by(accept())], AT)
        (record,) = await everything(store)
        assert outcome.audited == [record]
        assert (record.number, record.at, record.previous) == (1, AT, BEGINNING)
        assert record.note == AuditNote(action=Action.SUBMIT, object=W, actor=ANNA, correlation_id="c-w")

    async def test_what_nobody_asked_for_is_not_in_the_audit(self, store):
        await store.commit([*OWNED, accept(), *done("a")], AT)
        assert await everything(store) == []

    async def test_a_repeat_is_not_recorded_again(self, store):
        await store.commit([*OWNED, by(accept()), by(accept())], AT)
        await store.commit([by(accept())], LATER)
        assert len(await everything(store)) == 1

    async def test_each_thing_that_was_asked_for_is_recorded_once_it_is_done(self, store):
        graph = {"a": []}
        await store.commit([*OWNED, by(accept(W, graph)), *done("a")], AT)
        priority = ChangePriority(workflow_id=W, task_ids=[], priority=7, by=BEN)
        late = CancelWorkflow(workflow_id=W, reason="secret words", by=BEN)
        outcomes = await store.commit([priority, end(), late, DeleteWorkflow(workflow_id=W, by=BEN)], LATER)
        assert outcomes[2].status is Status.STALE
        found = [(r.note.action, r.note.actor.subject, r.note.detail) for r in await everything(store)]
        assert found == [("submit", "anna", ""), ("priority", "ben", "priority 7"), ("delete", "ben", "")]

    async def test_a_transaction_that_fails_leaves_nothing_in_the_audit(self, store):
        await store.commit([noted(1)], AT)
        with pytest.raises(AssertionError):
            await store.commit([noted(2), object()], AT)
        await store.commit([noted(3)], LATER)
        assert [(r.number, r.note.object) for r in await everything(store)] == [
            (1, "engine-1"),
            (2, "engine-3"),
        ]

    async def test_the_chain_goes_on_after_a_restart(self, store, reopen):
        await store.commit([noted(1, 2)], AT)
        store, _ = await reopen()
        await store.commit([noted(3)], LATER)
        assert [r.number for r in await everything(store)] == [1, 2, 3]

    async def test_records_are_found_by_what_is_looked_for(self, store):
        no = AuditNote(action="submit", object="w9", actor=BEN, outcome=Result.REFUSED, code=-1, error="NO")
        await store.commit([noted(1, 2), noted(1, actor=BEN, action="cancel")], AT)
        await store.commit([NoteAudit(notes=[no]), noted(5)], LATER)

        async def numbers(**wanted):
            return [r.number for r in (await store.audit(AuditQuery(**wanted))).records]

        assert await numbers() == [1, 2, 3, 4, 5]
        assert await numbers(newest_first=True, limit=2) == [5, 4]
        assert await numbers(newest_first=True, before=4, limit=2) == [3, 2]
        assert await numbers(after=3) == [4, 5]
        assert await numbers(subject="ben") == [3, 4]
        assert await numbers(action="drain") == [1, 2, 5]
        assert await numbers(object="engine-1") == [1, 3]
        assert await numbers(outcome="refused") == [4]
        assert await numbers(since=LATER) == [4, 5]
        assert await numbers(subject="ben", outcome="accepted", since=LATER) == []

    async def test_the_audit_is_bounded_in_number(self, store):
        await store.commit([noted(*range(10))], AT)
        assert await store.trim_audit(before="", keep=4, limit=100) == 6
        assert await store.trim_audit(before="", keep=4, limit=100) == 0
        assert [r.number for r in await everything(store)] == [7, 8, 9, 10]

    async def test_the_audit_is_bounded_in_age(self, store):
        await store.commit([noted(1, 2, 3)], AT)
        await store.commit([noted(4)], LATER)
        assert await store.trim_audit(before=AT, keep=None, limit=100) == 0
        assert await store.trim_audit(before=LATER, keep=None, limit=100) == 3
        assert [r.number for r in await everything(store)] == [4]

    async def test_it_is_trimmed_a_bounded_number_at_a_time(self, store):
        await store.commit([noted(*range(10))], AT)
        gone = [await store.trim_audit(before=LATER, keep=2, limit=4) for _ in range(4)]
        assert gone == [4, 4, 2, 0]

    async def test_the_chain_goes_on_when_all_of_it_is_gone(self, store, reopen):
        await store.commit([noted(1, 2)], AT)
        assert await store.trim_audit(before="9999", keep=None, limit=100) == 2
        assert await everything(store) == []
        store, _ = await reopen()
        await store.commit([noted(3)], LATER)
        assert [r.number for r in await everything(store)] == [3]

    async def test_odd_characters_and_long_texts_do_not_break_the_chain(self, store, reopen):
        odd = Actor(subject="a\ud800b\x00\n", component_id=ComponentId("ä" * 5000), address="::1")
        await store.commit([noted(1, actor=odd), noted(2)], AT)
        store, _ = await reopen()
        first, second = await everything(store)
        assert first.note.actor.subject == "a?b??"
        assert len(first.note.actor.component_id) == 200
        assert second.previous == first.hash
