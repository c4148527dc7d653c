"""The audit in SQLite: append only, for whoever writes to the file; and files from before there was one."""

from __future__ import annotations

import sqlite3

import pytest

from gleitzeitd.model.audit import Chain, hash_of
from gleitzeitd.stores.base import AuditQuery
from gleitzeitd.stores.sqlite import APPLICATION_ID, SqliteStore, migrations
from tests.stores.audit_contract import by, noted
from tests.stores.ledger import AT, OWNED, W, accept


@pytest.fixture
async def path(tmp_path):
    """A closed file with five records, the first two of them gone."""
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open()
    await store.commit([noted(*range(5))], AT)
    await store.trim_audit(before="", keep=3, limit=10)
    await store.close()
    return tmp_path / "ledger.db"


async def records(path):
    store = SqliteStore(path)
    await store.open()
    try:
        page = await store.audit(AuditQuery())
        return page.records, Chain(page.horizon, page.anchor).broken(page.records)
    finally:
        await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET subject = 'nobody'",
        "UPDATE audit SET hash = hash",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE number = 4",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE number = 4",
        "INSERT INTO audit SELECT 2, at, action, object, subject, component_id, address, outcome, code, error, "
        "detail, count, correlation_id, previous, hash FROM audit WHERE number = 4",
        "UPDATE audit_horizon SET number = 0",
        "UPDATE audit_horizon SET number = 4",
        "DELETE FROM audit_horizon",
        "INSERT OR REPLACE INTO audit_horizon VALUES (1, 9, '')",
    ],
)
async def test_no_statement_changes_the_audit(path, statement):
    db = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="audit"):
        db.execute(statement)
    db.close()
    found, problem = await records(path)
    assert ([one.number for one in found], problem) == ([3, 4, 5], None)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit SET subject = 'nobody' WHERE number = 4", "record 4 was altered: its hash is another"),
        ("DELETE FROM audit WHERE number = 4", "record 4 is missing: 5 comes after 3"),
        ("DELETE FROM audit WHERE number = 3", "record 3 is missing: 4 comes after 2"),
        (
            "UPDATE audit SET outcome = 'refused' WHERE number = 5",
            "record 5 was altered: its hash is another",
        ),
    ],
)
async def test_who_removes_the_guards_first_breaks_the_chain(path, statement, problem):
    db = sqlite3.connect(path, isolation_level=None)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute(statement)
    db.close()
    assert (await records(path))[1] == problem


async def test_a_record_with_a_new_hash_of_its_own_does_not_fit_the_next(path):
    found, _ = await records(path)
    altered = found[1]
    altered.note.actor.subject = "nobody"
    altered.hash = hash_of(altered)
    problem = "record 5 does not follow record 4: one of them was replaced"
    assert Chain(2, found[0].previous).broken(found) == problem


async def test_a_file_of_the_schema_before_gets_an_audit_and_keeps_what_it_has(tmp_path):
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    db.executescript(f"{migrations()[0]}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    db.execute(
        "INSERT INTO workflow (workflow_id, name, shard, digest, correlation_id, state, reason, tasks, "
        "open_tasks, last_number, submitted_at, finished_at) "
        "VALUES ('old', 'old', 0, 'd', 'c', 'completed', '', 1, 0, 0, ?, ?)",
        (AT, AT),
    )
    db.execute("INSERT INTO document VALUES (1, 'null', '{}')")
    db.commit()
    db.close()
    store = SqliteStore(path)
    await store.open()
    await store.commit([*OWNED, by(accept())], AT)
    assert (await store.workflow("old")).name == "old"
    assert [one.note.object for one in (await store.audit(AuditQuery())).records] == [W]
    await store.close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
    db.close()
