"""What is kept in memory between transactions is what the file has, and has an end."""

from __future__ import annotations

import pytest

from gleitzeitd.model.change import Status
from gleitzeitd.stores import sqlite_kept
from gleitzeitd.stores.sqlite import SqliteStore
from tests.stores.contract import OWNED
from tests.stores.ledger import AT, LATER, accept, complete, done, grant, ready, start


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open()
    yield store
    await store.close()


async def statuses(store, *changes):
    return [outcome.status for outcome in await store.commit(list(changes), LATER)]


async def test_a_transaction_that_fails_half_way_leaves_nothing_behind(store):
    await store.commit([*OWNED, accept(), ready("a")], AT)
    with pytest.raises(AssertionError, match="no rule"):
        await store.commit([grant("a"), start("a"), complete("a"), object()], AT)
    (outcome,) = await store.commit([grant("a")], LATER)
    assert [execution.attempt for execution in outcome.executions] == [1]
    assert await statuses(store, start("a"), complete("a"), complete("a")) == ["ok", "ok", Status.DUPLICATE]


async def test_a_workflow_that_was_not_accepted_after_all_is_not_there(store):
    with pytest.raises(AssertionError, match="no rule"):
        await store.commit([*OWNED, accept(), object()], AT)
    assert await statuses(store, ready("a")) == [Status.MISSING]


async def test_what_is_forgotten_is_read_again(store, monkeypatch):
    monkeypatch.setattr(sqlite_kept, "KEPT_LIMIT", 0)
    await store.commit([*OWNED, accept()], AT)
    for task in "abc":
        for change in done(task):
            assert await statuses(store, change) == ["ok"]
    assert [row.state.value for row in await store.tasks("w", -1, 9)] == ["completed"] * 3


async def test_the_document_of_a_workflow_is_not_kept_in_memory(store):
    await store.commit([*OWNED, accept()], AT)
    (row,) = store._open._kept.workflows.values()
    assert row.document is None
    assert (await store.workflow("w")).document is not None
