"""What only SQLite can do wrong: files, processes, disks, versions."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from gleitzeitd.errors import StoreCorrupt, StoreError, StoreLocked
from gleitzeitd.model.change import DeleteWorkflow, TakeShards
from gleitzeitd.model.ledger import Audience, TaskState
from gleitzeitd.model.names import Role, Shard, WorkflowId, shard_of
from gleitzeitd.stores import sqlite_deletion, sqlite_read
from gleitzeitd.stores.sqlite import Settings, SqliteStore, unhurried
from tests.stores.ledger import (
    AT,
    LATER,
    OWNED,
    W,
    accept,
    check_rules,
    complete,
    contents,
    done,
    end,
    grant,
    ready,
)
from tests.stores.ledger_machine import LedgerMachine

ROOT = Path(__file__).parents[2]


class BothStores(LedgerMachine):
    """Whatever the store in memory answers, SQLite answers."""

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.sqlite = SqliteStore(Path(self.folder.name) / "db", synchronous="OFF")
        self.runner.run(self.sqlite.open())

    def commit(self, change):
        expected = super().commit(change)
        assert self.runner.run(self.sqlite.commit([change], AT)) == [expected]
        return expected

    def sweep(self):
        super().sweep()
        self.runner.run(self.sqlite.sweep(7, ""))

    def teardown(self):
        try:
            assert self.runner.run(contents(self.sqlite)) == self.wait(contents(self.store))
        finally:
            self.runner.run(self.sqlite.close())
            self.runner.close()
            self.folder.cleanup()


TestBothStores = BothStores.TestCase
TestBothStores.settings = settings(max_examples=15, stateful_step_count=40)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
async def store(path):
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def python(code, *arguments, **options):
    """Another process."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


async def test_one_process_at_a_time_has_it(store, path):
    with pytest.raises(StoreLocked, match=rf"{path} is in use by process {os.getpid()}"):
        await SqliteStore(path).open()
    await store.close()
    other = SqliteStore(path)
    await other.open()
    await other.close()


async def test_another_process_that_has_it_is_named(path):
    code = """if True:
        import asyncio, sys
        from gleitzeitd.stores.sqlite import SqliteStore
        asyncio.run(SqliteStore(sys.argv[1]).open())
        print("open", flush=True)
        sys.stdin.read()
        import os; os._exit(0)
    """
    with python(code, path, stdin=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == "open\n"
            with pytest.raises(StoreLocked, match=f"process {other.pid}"):
                await SqliteStore(path).open()
        finally:
            other.kill()
    late = SqliteStore(path)
    await late.open()
    await late.close()


async def test_nobody_else_may_read_it(path):
    before = os.umask(0)
    try:
        store = SqliteStore(path)
        await store.open()
        await store.commit([accept()], AT)
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        await store.close()
    finally:
        os.umask(before)
    assert path.name in modes
    assert set(modes.values()) == {0o600}, modes


async def test_the_permissions_of_a_file_that_is_there_stay(path):
    path.touch(0o640)
    path.chmod(0o640)
    store = SqliteStore(path)
    await store.open()
    await store.close()
    assert path.stat().st_mode & 0o777 == 0o640


async def test_others_may_look_at_the_file(store, path):
    await store.commit([*OWNED, accept()], AT)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT workflow_id, open_tasks FROM workflow").fetchall() == [("w", 3)]
    db.close()


WORK = """if True:
    import asyncio, itertools, sys
    from gleitzeitd.stores.sqlite import SqliteStore
    from gleitzeitd.model.names import WorkflowId
    from tests.stores.ledger import *

    async def main():
        store = SqliteStore(sys.argv[1])
        await store.open()
        start = len(await all_workflows(store))
        await store.commit(OWNED if not start else [], AT)
        for number in itertools.count(start):
            one = WorkflowId(f"w{number}")
            for changes in (
                [accept(one), *done("a", workflow_id=one, result="x" * 5000)],
                [*done("b", workflow_id=one, result=[1]), ready("c", workflow_id=one)],
                [grant("c", workflow_id=one), complete("c", workflow_id=one), end(workflow_id=one)],
            ):
                await store.commit(changes, AT)
                print(one, flush=True)

    asyncio.run(main())
"""


async def test_a_kill_in_the_middle_of_commits_leaves_whole_ones(path):
    answered = []
    for lines in (1, 17, 40, 64):
        with python(WORK, path) as worker:
            for _ in range(lines):
                answered.append(worker.stdout.readline().strip())
            worker.send_signal(signal.SIGKILL)
            answered += worker.stdout.read().split()
        store = SqliteStore(path)
        await store.open()
        try:
            await check_rules(store)
            for one in set(answered):
                row = await store.workflow(WorkflowId(one))
                # After the n-th answer, n of its three tasks are known to be done; more may be.
                assert row.tasks - row.open_tasks >= min(answered.count(one), 3)
                assert row.open_tasks in (2, 1, 0)
        finally:
            await store.close()
    assert len(answered) >= 100


async def test_a_full_disk_fails_the_commit_and_nothing_else(store, path):
    await store.commit([*OWNED, accept()], AT)
    before = await contents(store)
    size = path.with_name("ledger.db-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10_000, hard))
    try:
        with pytest.raises(StoreError, match=r"ledger.db could not be written: .+"):
            await store.commit(done("a", result="x" * 1_000_000), AT)
        assert await contents(store) == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.commit(done("a", result="x" * 1_000_000), AT)
    await check_rules(store)
    assert len((await store.results(W, []))["a"]) == 1_000_000


async def test_at_its_limit_the_file_stops_growing_and_can_still_be_read(path):
    store = SqliteStore(path, limit_megabytes=1)
    await store.open()
    try:
        await store.commit([*OWNED, accept()], AT)
        with pytest.raises(StoreError, match="full"):
            await store.commit(done("a", result="x" * 2_000_000), AT)
        assert (await store.tasks(W, -1, 1))[0].state is TaskState.PENDING
        await store.commit(done("a", result="x"), AT)
    finally:
        await store.close()


async def test_somebody_else_who_writes_is_waited_for_and_then_told_of(path):
    store = SqliteStore(path, busy_seconds=0.05)
    await store.open()
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await store.commit(OWNED, AT)
        db.execute("ROLLBACK")
        await store.commit(OWNED, AT)
    finally:
        db.close()
        await store.close()


async def filled(path):
    """A closed store of some size."""
    store = SqliteStore(path)
    await store.open()
    await store.commit([*OWNED, accept(graph={f"t{n}": [] for n in range(2000)})], AT)
    await store.close()


@pytest.mark.parametrize("place", [0, 30_000])
async def test_a_damaged_file_is_refused_with_what_to_do(path, place):
    await filled(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"damage " * 3000)
    store = SqliteStore(path)
    with pytest.raises(StoreCorrupt, match=r"ledger\.db is damaged .*Stop the daemon.* gleitzeit restore"):
        await store.open()
    path.unlink()
    await store.open()
    await store.close()


async def test_a_file_of_a_newer_version_is_refused_untouched(path):
    await filled(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreCorrupt, match=r"newer version \(schema 99, known is \d+\)"):
        await SqliteStore(path).open()


async def test_a_file_of_a_version_in_between_is_refused_with_what_to_do(store, path):
    await store.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE shard DROP COLUMN horizon")
    db.close()
    with pytest.raises(StoreCorrupt, match=r"never released \(no such column: horizon\)\. Move ledger\.db"):
        await store.open()


async def test_a_database_of_another_program_is_refused_untouched(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    content = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="another program"):
        await SqliteStore(path).open()
    assert path.read_bytes() == content


async def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere/ledger\.db\.lock could not be opened: No such file"):
        await SqliteStore(tmp_path / "nowhere" / "ledger.db").open()


async def test_a_store_that_is_not_open_says_so(path):
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="is not open"):
        await store.commit([], AT)
    await store.close()
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="is not open"):
        await store.workflow(W)


async def test_settings_describe_a_store(path):
    store = SqliteStore.of(Settings(path=str(path), synchronous="NORMAL", check=False))
    await store.open()
    await store.close()
    assert path.exists()


async def test_a_new_file_never_has_the_epochs_of_one_that_was_there_before(path):
    """Resolvers and queue managers that follow the old one's shards have to notice."""
    store = SqliteStore(path, first_epoch=1000)
    found = await store.open()
    assert {(row.resolver_epoch, row.queue_manager_epoch) for row in found.shards} == {(1000, 1000)}
    await store.commit([TakeShards(role=Role.DEPENDENCY_RESOLVER, owner="one.1", shards=[Shard(3)])], AT)
    await store.close()
    again = SqliteStore(path, first_epoch=2000)
    found = await again.open()
    assert found.shards[3].resolver_epoch == 1001
    assert found.shards[4].resolver_epoch == 1000
    await again.close()
    made = SqliteStore.of(Settings(path=str(path.with_name("other.db"))))
    found = await made.open()
    assert all(row.resolver_epoch > 1_700_000_000 for row in found.shards)
    await made.close()


async def test_a_long_read_does_not_hold_a_commit_up(store):
    await store.commit([*OWNED, accept(graph={f"t{n}": [] for n in range(3000)})], AT)
    reads = [asyncio.create_task(store.open_workflows(shard_of(W), None, 10)) for _ in range(20)]
    await store.commit([ready("t0"), grant("t0"), complete("t0", result=1)], AT)
    assert not reads[-1].done()
    await asyncio.gather(*reads)
    assert len((await store.feed(shard_of(W), Audience.NONE, 0, 9))[0]) == 2


async def finish(store, number, result="x" * 2000):
    """A workflow of three tasks, from its submission to its end."""
    one = WorkflowId(f"w{number}")
    await store.commit(
        [accept(one), *(x for t in "abc" for x in done(t, workflow_id=one, result=result))], AT
    )
    await store.commit([end(workflow_id=one)], AT)
    return one


async def sweep(store, rows=5000):
    steps = []
    while removed := await store.sweep(rows, LATER):
        steps.append(removed)
    return steps


def rows_of(path):
    db = sqlite3.connect(path)
    tables = ("workflow", "document", "task", "value", "feed", "deleted")
    found = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    db.close()
    return found


async def test_a_deleted_workflow_leaves_no_row_behind(store, path):
    await store.commit(OWNED, AT)
    one = await finish(store, 1)
    assert rows_of(path)["feed"] == 7
    await store.commit([DeleteWorkflow(workflow_id=one)], AT)
    left = rows_of(path)
    assert (left["workflow"], left["document"], left["task"], left["deleted"]) == (0, 0, 3, 1)
    await sweep(store)
    assert set(rows_of(path).values()) == {0}
    await check_rules(store)


async def test_a_step_of_sweeping_is_bounded_whatever_the_size_of_the_workflow(store, path):
    tasks = [f"t{n}" for n in range(1000)]
    changes = [accept(graph=dict.fromkeys(tasks, [])), *(x for t in tasks for x in done(t)), end()]
    await store.commit([*OWNED, *changes, DeleteWorkflow(workflow_id=W)], AT)
    before = sum(rows_of(path).values())
    steps = await sweep(store, rows=100)
    assert max(steps) <= 100
    assert sum(steps) >= before - 1
    assert set(rows_of(path).values()) == {0}


async def test_the_rows_of_a_deleted_workflow_are_never_those_of_a_later_one(store, path):
    await store.commit(OWNED, AT)
    one = await finish(store, 1)
    await store.commit([DeleteWorkflow(workflow_id=one)], AT)
    other = await finish(store, 2, result="y")  # what the first has left is there still
    before = await contents(store)
    await sweep(store)
    assert await contents(store) == before
    assert await store.results(other, []) == {"a": "y", "b": "y", "c": "y"}


async def test_a_file_in_which_as_much_is_deleted_as_is_added_stops_growing(store, path):
    await store.commit(OWNED, AT)
    sizes = []
    for number in range(60):
        await finish(store, number, result="x" * 20_000)
        for one in await store.finished(before="", keep=5, spare=LATER, limit=100):
            await store.commit([DeleteWorkflow(workflow_id=one)], AT)
        await sweep(store)
        db = sqlite3.connect(path)
        sizes.append(db.execute("PRAGMA page_count").fetchone()[0])
        db.close()
    assert sizes[-1] <= sizes[10] * 1.1
    await check_rules(store)


async def test_what_a_killed_process_had_not_swept_yet_is_swept_by_the_next(path):
    store = SqliteStore(path)
    await store.open()
    await store.commit(OWNED, AT)
    await store.commit([DeleteWorkflow(workflow_id=await finish(store, 1))], AT)
    await store.sweep(3, "")
    await store.close()
    again = SqliteStore(path)
    await again.open()
    try:
        await sweep(again)
        assert set(rows_of(path).values()) == {0}
    finally:
        await again.close()


@pytest.mark.parametrize(("usual", "meanwhile"), [("FULL", 1), ("NORMAL", 1), ("OFF", 0)])
def test_only_what_nobody_is_answered_for_waits_for_no_disk(path, usual, meanwhile):
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA synchronous = {usual}")
    (before,) = db.execute("PRAGMA synchronous").fetchone()
    with unhurried(db, usual):
        assert db.execute("PRAGMA synchronous").fetchone() == (meanwhile,)
    assert db.execute("PRAGMA synchronous").fetchone() == (before,)
    db.close()


QUERIES = [
    *(
        getattr(each, n)
        for each in (sqlite_read, sqlite_deletion)
        for n in dir(each)
        if n.isupper() and n[0] != "_"
    ),
    sqlite_read.listing(None, None, None)[0],
    sqlite_read.listing("running", None, f"{AT}/w")[0],
    sqlite_read.listing(None, None, None, "team-a:")[0],
]


@pytest.mark.parametrize("sql", [each for each in QUERIES if isinstance(each, str) and "SELECT" in each])
async def test_every_read_goes_by_an_index_and_sorts_nothing(store, path, sql):
    db = sqlite3.connect(path)
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", [0] * sql.count("?"))]
    db.close()
    assert not [step for step in plan if "TEMP B-TREE" in step]
    assert not [step for step in plan if step.startswith("SCAN") and "USING" not in step]
