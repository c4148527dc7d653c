"""Copies of a database: taken in the middle of work, and put back."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from gleitzeitd.errors import StoreCorrupt, StoreError, StoreLocked
from gleitzeitd.model.names import Role, WorkflowId
from gleitzeitd.runtime import backup
from gleitzeitd.stores.sqlite import SqliteStore
from tests.stores.ledger import AT, OWNED, accept, contents, ready


@pytest.fixture
def database(tmp_path: Path) -> Path:
    folder = tmp_path / "persistence"
    folder.mkdir()
    return folder / "gleitzeit.db"


async def filled(database: Path, workflows: int = 3) -> SqliteStore:
    store = SqliteStore(database)
    await store.open()
    ids = [WorkflowId(f"w{number}") for number in range(workflows)]
    await store.commit([*OWNED, *(accept(each) for each in ids)], AT)
    return store


async def kept_in(file: Path, where: Path) -> object:
    backup.restore(file, where)
    store = SqliteStore(where)
    await store.open()
    try:
        return await contents(store)
    finally:
        await store.close()


async def test_a_copy_of_a_database_in_use_holds_what_was_committed(database: Path, tmp_path: Path) -> None:
    store = await filled(database)
    before = await contents(store)
    copy = tmp_path / "copy.db"
    found = backup.back_up(database, copy)
    await store.commit([ready("a", workflow_id=WorkflowId("w0"))], AT)
    await store.close()
    assert (found.workflows, found.tasks, found.unfinished) == ({"running": 3}, 9, 3)
    assert found == backup.examine(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy.db", "persistence"]
    (tmp_path / "other").mkdir()
    assert str(await kept_in(copy, tmp_path / "other" / "gleitzeit.db")) == str(before)


async def test_commits_go_on_while_a_copy_is_made(database: Path, tmp_path: Path) -> None:
    store = await filled(database)

    async def commits() -> None:
        for number in range(20):
            await store.commit([accept(WorkflowId(f"more{number}"))], AT)

    async def copies() -> list[backup.Contents]:
        return [
            await asyncio.to_thread(backup.back_up, database, tmp_path / f"{number}.db")
            for number in range(3)
        ]

    _, found = await asyncio.gather(commits(), copies())
    await store.close()
    assert [each.tasks for each in found] == [3 * sum(each.workflows.values()) for each in found]
    assert [each.tasks for each in found] == sorted(each.tasks for each in found)


async def test_nothing_is_replaced_unless_that_is_wanted(database: Path, tmp_path: Path) -> None:
    await (await filled(database)).close()
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    with pytest.raises(StoreError, match="exists"):
        backup.back_up(database, copy)
    assert copy.read_text() == "precious"
    assert backup.back_up(database, copy, replace=True).tasks == 9
    with pytest.raises(StoreError, match="the database itself"):
        backup.back_up(database, database, replace=True)


async def test_a_damaged_database_has_no_copy(database: Path, tmp_path: Path) -> None:
    await (await filled(database, 60)).close()
    data = bytearray(database.read_bytes())
    data[8192:16384] = b"\xff" * 8192
    database.write_bytes(data)
    assert backup.quick_check(database)
    with pytest.raises(StoreCorrupt):
        backup.back_up(database, tmp_path / "copy.db")
    assert [each.name for each in tmp_path.iterdir()] == ["persistence"]


async def test_restoring_needs_the_lock(database: Path, tmp_path: Path) -> None:
    store = await filled(database)
    copy = tmp_path / "copy.db"
    backup.back_up(database, copy)
    with pytest.raises(StoreLocked):
        backup.restore(copy, database)
    await store.close()


async def test_what_was_there_is_kept_with_its_log(database: Path, tmp_path: Path) -> None:
    store = await filled(database)
    copy = tmp_path / "copy.db"
    backup.back_up(database, copy)
    await store.commit([accept(WorkflowId("later"))], AT)
    await store.close()
    database.chmod(0o640)
    done = backup.restore(copy, database)
    assert done.kept is not None
    assert backup.examine(done.kept).tasks == 12
    assert backup.examine(database).tasks == 9
    assert stat.S_IMODE(database.stat().st_mode) == 0o640
    assert not database.with_name("gleitzeit.db-wal").exists()


async def test_a_log_without_its_database_never_meets_the_restored_one(
    database: Path, tmp_path: Path
) -> None:
    store = await filled(database)
    copy = tmp_path / "copy.db"
    backup.back_up(database, copy)
    log = database.with_name("gleitzeit.db-wal").read_bytes()
    await store.close()
    database.unlink()
    database.with_name("gleitzeit.db-wal").write_bytes(log)
    assert backup.restore(copy, database).kept is None
    assert not database.with_name("gleitzeit.db-wal").exists()


async def test_nobody_owns_a_shard_of_a_restored_database(database: Path, tmp_path: Path) -> None:
    await (await filled(database)).close()
    copy = tmp_path / "copy.db"
    backup.back_up(database, copy)
    backup.restore(copy, database)
    store = SqliteStore(database)
    found = await store.open()
    await store.close()
    for role in (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER):
        assert {row.owner(role) for row in found.shards} == {""}
        assert all(row.epoch(role) > 1_700_000_000 for row in found.shards)


def test_what_is_no_copy_is_refused_and_changes_nothing(database: Path, tmp_path: Path) -> None:
    for name, make in {
        "text": lambda path: path.write_text("no database\n" * 500),
        "empty": lambda path: path.write_text(""),
        "foreign": lambda path: sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close(),
        "missing": lambda path: None,
    }.items():
        file = tmp_path / name
        make(file)
        with pytest.raises(StoreError):
            backup.restore(file, database)
    assert not database.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_restores_belongs_to_whoever_owned_it(database: Path, tmp_path: Path) -> None:
    await (await filled(database)).close()
    copy = tmp_path / "copy.db"
    backup.back_up(database, copy)
    os.chown(database.parent, 65534, 65534)
    database.unlink()
    database.with_name("gleitzeit.db.lock").unlink()
    backup.restore(copy, database)
    for name in ("gleitzeit.db", "gleitzeit.db.lock"):
        found = database.with_name(name).stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (65534, 0o600)
