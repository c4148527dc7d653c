"""Keeps rows in one SQLite file.

One process has it, by a lock on ``<path>.lock``; others may look at the file with ``sqlite3``. One thread
writes and one reads, each with its own connection: in WAL mode a long read sees the rows as they were when
it began, and holds no commit up. A commit is on the disk when it returns (``synchronous = FULL``).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

from gleitzeitd.bounds import bounded, sized
from gleitzeitd.errors import StoreCorrupt, StoreError, StoreLocked
from gleitzeitd.model.change import Change, Outcome
from gleitzeitd.model.ledger import Audience, Fact, OutputChunk, TaskRow, WorkflowRow
from gleitzeitd.model.names import SHARDS, Shard, TaskId, WorkflowId
from gleitzeitd.model.transition import apply
from gleitzeitd.plain import Json
from gleitzeitd.stores import sqlite_audit, sqlite_deletion, sqlite_read
from gleitzeitd.stores.base import AuditPage, AuditQuery, OpenWorkflow, ReadyEntry, Recovered, Store
from gleitzeitd.stores.sqlite_kept import Kept
from gleitzeitd.stores.sqlite_rows import SqliteRows

T = TypeVar("T")

APPLICATION_ID = 0x474C5A35
"""In the header of our files, "GLZ5": nobody else's database is taken for ours."""
_PAGE = 4096
"""Bytes; what SQLite uses unless told."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The database file, and how it is used."""

    path: str = sized("/var/lib/gleitzeit/persistence/gleitzeit.db", least=1)
    """Beside it are ``-wal``, ``-shm`` and ``.lock``. Its directory exists, and is on a local disk. If
    nothing is set, a daemon that an ordinary user has started has it in that user's
    ``$XDG_STATE_HOME/gleitzeit/persistence``, and the directory is made."""
    synchronous: Literal["FULL", "NORMAL", "OFF"] = "FULL"
    """When the disk has to confirm. FULL: before a commit is answered, so that nothing accepted is ever lost.
    NORMAL: a power cut can take back the last moments. OFF: a power cut can damage the file."""
    cache_megabytes: int = bounded(8, least=1, most=65_536, unit="megabytes")
    """Memory for pages of the file, for the writer and for the reader each."""
    checkpoint_megabytes: int = bounded(16, least=1, most=4096, unit="megabytes")
    """The size of ``-wal`` at which its content is moved into the file."""
    busy_seconds: float = bounded(5.0, above=0, most=300, unit="seconds")
    """How long to wait while somebody else writes to the file. Then a commit fails, and is asked again."""
    limit_megabytes: int = bounded(0, least=0, unit="megabytes")
    """The size at which the file stops growing; commits that need more fail. 0: the disk's."""
    check: bool = True
    """Whether the file is read through when it is opened, to find damage before it spreads; takes about a
    second for every two gigabytes."""


class SqliteStore(Store):
    """See the module."""

    def __init__(
        self,
        path: Path | str,
        *,
        synchronous: Literal["FULL", "NORMAL", "OFF"] = "FULL",
        cache_megabytes: int = 8,
        checkpoint_megabytes: int = 16,
        busy_seconds: float = 5.0,
        limit_megabytes: int = 0,
        check: bool = True,
        first_epoch: int = 0,
    ) -> None:
        """``first_epoch`` is that of all shards in a file that is made; see :func:`begin_at`."""
        self._first_epoch = first_epoch
        self._settings = Settings(
            path=str(path),
            synchronous=synchronous,
            cache_megabytes=cache_megabytes,
            checkpoint_megabytes=checkpoint_megabytes,
            busy_seconds=busy_seconds,
            limit_megabytes=limit_megabytes,
            check=check,
        )
        self._path = Path(path)
        self._open: _Opened | None = None

    @classmethod
    def of(cls, settings: Settings) -> SqliteStore:
        """The store that ``settings`` describe, not yet open."""
        return cls(
            settings.path,
            synchronous=settings.synchronous,
            cache_megabytes=settings.cache_megabytes,
            checkpoint_megabytes=settings.checkpoint_megabytes,
            busy_seconds=settings.busy_seconds,
            limit_megabytes=settings.limit_megabytes,
            check=settings.check,
            first_epoch=int(time.time()),
        )

    async def open(self) -> Recovered:
        if self._open is not None:
            raise StoreError(f"{self._path} is open already")
        opened = _Opened(self._settings, self._first_epoch)
        try:
            found = await opened.start()
        except BaseException:
            await opened.stop()
            raise
        self._open = opened
        return found

    async def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.stop()

    def _opened(self) -> _Opened:
        if self._open is None:
            raise StoreError(f"{self._path} is not open")
        return self._open

    async def commit(self, changes: Sequence[Change], at: str) -> list[Outcome]:
        return await self._opened().write(list(changes), at)

    async def feed(self, shard: Shard, audience: Audience, after: int, limit: int) -> tuple[list[Fact], int]:
        return await self._opened().read(
            partial(sqlite_read.feed, shard=shard, audience=audience, after=after, limit=limit)
        )

    async def history(self, workflow_id: WorkflowId, after: int, limit: int) -> list[Fact]:
        return await self._opened().read(
            partial(sqlite_read.history, workflow_id=workflow_id, after=after, limit=limit)
        )

    async def open_workflows(
        self, shard: Shard, after: WorkflowId | None, limit: int
    ) -> tuple[list[OpenWorkflow], int]:
        return await self._opened().read(
            partial(sqlite_read.open_workflows, shard=shard, after=after, limit=limit)
        )

    async def ready_tasks(
        self, shard: Shard, after: tuple[WorkflowId, TaskId] | None, limit: int
    ) -> tuple[list[ReadyEntry], int]:
        return await self._opened().read(
            partial(sqlite_read.ready_tasks, shard=shard, after=after, limit=limit)
        )

    async def workflow(self, workflow_id: WorkflowId) -> WorkflowRow | None:
        return await self._opened().read(partial(sqlite_read.workflow, workflow_id=workflow_id))

    async def workflows(
        self,
        *,
        status: str | None,
        name_contains: str | None,
        before: str | None,
        limit: int,
        id_prefix: str = "",
    ) -> list[WorkflowRow]:
        return await self._opened().read(
            partial(
                sqlite_read.workflows,
                status=status,
                name_contains=name_contains,
                before=before,
                limit=limit,
                id_prefix=id_prefix,
            )
        )

    async def tasks(self, workflow_id: WorkflowId, after: int, limit: int) -> list[TaskRow]:
        return await self._opened().read(
            partial(sqlite_read.tasks, workflow_id=workflow_id, after=after, limit=limit)
        )

    async def results(self, workflow_id: WorkflowId, task_ids: Sequence[TaskId]) -> dict[TaskId, Json]:
        return await self._opened().read(
            partial(sqlite_read.results, workflow_id=workflow_id, task_ids=task_ids)
        )

    async def output(
        self, workflow_id: WorkflowId, task_ids: Sequence[TaskId]
    ) -> dict[TaskId, list[OutputChunk]]:
        return await self._opened().read(
            partial(sqlite_read.output, workflow_id=workflow_id, task_ids=task_ids)
        )

    async def finished(self, *, before: str, keep: int | None, spare: str, limit: int) -> list[WorkflowId]:
        return await self._opened().read(
            partial(sqlite_deletion.finished, before=before, keep=keep, spare=spare, limit=limit)
        )

    async def sweep(self, rows: int, forget: str) -> int:
        return await self._opened().tidy(partial(sqlite_deletion.sweep, rows=rows, forget=forget))

    async def audit(self, query: AuditQuery) -> AuditPage:
        return await self._opened().read(partial(sqlite_audit.page, query=query))

    async def trim_audit(self, *, before: str, keep: int | None, limit: int) -> int:
        trim = partial(sqlite_audit.trim, before=before, keep=keep, limit=limit)
        return await self._opened().tidy(trim)

    async def counts(self) -> dict[str, int]:
        return await self._opened().read(sqlite_read.counts)


class _Opened:
    """The lock, the two threads, and their connections, from one open to the next close."""

    def __init__(self, settings: Settings, first_epoch: int) -> None:
        self._settings = settings
        self._first_epoch = first_epoch
        self._path = Path(settings.path)
        self._kept = Kept()
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-write")
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-read")

    async def start(self) -> Recovered:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._writing, self._start_writer)
        await loop.run_in_executor(self._reading, self._start_reader)
        return found

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        # The writer goes last: the last connection moves what is in the WAL into the file.
        try:
            await asyncio.shield(loop.run_in_executor(self._reading, self._stop_reader))
            await asyncio.shield(loop.run_in_executor(self._writing, self._stop_writer))
        finally:
            self._reading.shutdown(wait=False)
            self._writing.shutdown(wait=False)

    async def write(self, changes: Sequence[Change], at: str) -> list[Outcome]:
        return await asyncio.get_running_loop().run_in_executor(self._writing, self._commit, changes, at)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._look, query)

    async def tidy(self, step: Callable[[sqlite3.Connection], int]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._writing, self._tidy, step)

    # --- in the threads ---------------------------------------------------------------------------

    def _start_writer(self) -> Recovered:
        self._lock = take_hold(self._path)
        with told(self._path, "opened"):
            keep_private(self._path)
            self._writer = db = self._connect()
            identify(db, self._path)
            if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise StoreError(f"{self._path}: no write-ahead log is possible there; use a local disk")
            db.execute(f"PRAGMA wal_autocheckpoint = {self._settings.checkpoint_megabytes * 2**20 // _PAGE}")
            db.execute(f"PRAGMA journal_size_limit = {self._settings.checkpoint_megabytes * 2**20}")
            if self._settings.limit_megabytes:
                db.execute(f"PRAGMA max_page_count = {self._settings.limit_megabytes * 2**20 // _PAGE}")
            if self._settings.check:
                check(db, self._path)
            migrate(db, self._path)
            try:
                begin_at(db, self._first_epoch)
                return sqlite_read.recovered(db)
            except sqlite3.OperationalError as error:
                if str(error).startswith("no such "):  # column, or table
                    raise unlike(self._path, str(error)) from error
                raise

    def _start_reader(self) -> None:
        with told(self._path, "opened"):
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only = ON")

    def _connect(self) -> sqlite3.Connection:
        settings = self._settings
        db = sqlite3.connect(
            settings.path, timeout=settings.busy_seconds, isolation_level=None, cached_statements=256
        )
        db.execute(f"PRAGMA synchronous = {settings.synchronous}")
        db.execute(f"PRAGMA cache_size = {-1024 * settings.cache_megabytes}")
        db.execute("PRAGMA temp_store = MEMORY")
        return db

    def _stop_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _stop_writer(self) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _commit(self, changes: Sequence[Change], at: str) -> list[Outcome]:
        assert self._writer is not None
        try:
            with told(self._path, "written"), transaction(self._writer, "BEGIN IMMEDIATE"):
                rows = SqliteRows(self._writer, self._kept)
                outcomes = [apply(change, rows, at) for change in changes]
                rows.flush()
        except BaseException:
            self._kept.clear()  # it is as it was before, and what is kept is not
            raise
        self._kept.trim()
        return outcomes

    def _tidy(self, step: Callable[[sqlite3.Connection], int]) -> int:
        assert self._writer is not None
        with (
            told(self._path, "written"),
            unhurried(self._writer, self._settings.synchronous),
            transaction(self._writer, "BEGIN IMMEDIATE"),
        ):
            return step(self._writer)

    def _look(self, query: Callable[[sqlite3.Connection], T]) -> T:
        assert self._reader is not None
        with told(self._path, "read"), transaction(self._reader, "BEGIN"):
            return query(self._reader)


@contextmanager
def transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    """All of it or nothing."""
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # Some errors have rolled back already, such as a full disk.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def unhurried(db: sqlite3.Connection, synchronous: str) -> Iterator[None]:
    """Nobody is answered after these commits: they wait for no disk. The next that waits is after them."""
    if synchronous == "FULL":
        db.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        db.execute(f"PRAGMA synchronous = {synchronous}")


@contextmanager
def told(path: Path, verb: str) -> Iterator[None]:
    """SQLite's errors in the words of the contract."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            raise damaged(path, str(error)) from error
        raise StoreError(f"{path} could not be {verb}: {error}") from error


def damaged(path: Path, detail: str) -> StoreCorrupt:
    """With what an operator has to do."""
    return StoreCorrupt(
        f"{path} is damaged ({detail}). Stop the daemon, and put a backup in its place: gleitzeit restore, "
        f"which keeps the damaged file. Without a backup, move {path.name}, {path.name}-wal and "
        f"{path.name}-shm out of the way: it starts with nothing then. What can be saved of a damaged file, "
        f"this prints: sqlite3 {path} .recover"
    )


def unlike(path: Path, detail: str) -> StoreCorrupt:
    """It has the number of our schema, and another form."""
    return StoreCorrupt(
        f"{path} was made by a version that was never released ({detail}). Move {path.name}, "
        f"{path.name}-wal and {path.name}-shm out of the way: it starts with nothing then"
    )


def take_hold(path: Path) -> int:
    """The file descriptor that holds the lock, until it is closed or the process ends.

    Raises:
        StoreLocked: another process has it.
        StoreError: there is no such directory, or it cannot be written.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"{lock} could not be opened: {error.strerror}. {path.parent} has to be a directory in which "
            "this process may write; sqlite.path names another"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreLocked(f"{path} is in use by process {holder}: stop that one first") from None
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"{lock} could not be locked: {error.strerror}") from error
    return descriptor


def keep_private(path: Path) -> None:
    """Make the file, if there is none, so that nobody else can read what tasks were given and gave back.

    What SQLite puts beside it gets the same permissions. Those of a file that is there stay as they are.
    """
    with suppress(OSError):  # SQLite says it better
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def identify(db: sqlite3.Connection, path: Path) -> None:
    """Refuse what is somebody else's, or from a newer version, before anything is written."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if objects or version or application:
            raise StoreCorrupt(f"{path} is a database of another program: set another path")
    known = len(migrations())
    if version > known:
        raise StoreCorrupt(
            f"{path} is from a newer version (schema {version}, known is {known}): install that version "
            "again, or restore a backup from before the upgrade in its place"
        )


def check(db: sqlite3.Connection, path: Path) -> None:
    """Read the file through.

    Raises:
        StoreCorrupt: it is damaged.
    """
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, " ".join(str(verdict).split()))


def migrations() -> list[str]:
    """The scripts; running the first n makes schema n."""
    folder = files("gleitzeitd.stores") / "schema" / "sqlite"
    found = sorted(
        (each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name
    )
    assert [int(each.name[:4]) for each in found] == list(range(1, len(found) + 1)), "a gap in the migrations"
    return [each.read_text(encoding="utf-8") for each in found]


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, each step in one transaction."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(migrations()[version:], start=version + 1):
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
        try:
            db.executescript(f"BEGIN IMMEDIATE; {script}; {marks} COMMIT;")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise StoreError(f"{path} could not be brought to schema {number}: {error}") from error


def begin_at(db: sqlite3.Connection, epoch: int) -> None:
    """Give all shards of a new file this epoch; one whose shards had owners stays as it is.

    A file can be made where there was another, as a damaged one that was moved away, under resolvers and
    queue managers that run. If it began at 0 again, they would take its shards for those they follow already,
    and never look at what is in them.
    """
    (known,) = db.execute("SELECT count(*) FROM shard").fetchone()
    if known or not epoch:
        return
    with transaction(db, "BEGIN IMMEDIATE"):
        rows = SqliteRows(db)
        for number in range(SHARDS):
            row = rows.shard(Shard(number))
            row.resolver_epoch = row.queue_manager_epoch = epoch
            rows.put_shard(row)
        rows.flush()
