"""Copies of the database: taken while the ledger works, checked, and put back in its place.

A copy is what the ledger had committed at one moment: SQLite reads it within one transaction, which holds no
commit up. It is one file without a write-ahead log, for its owner's eyes alone, and appears under its name
only when it has been read through and is on the disk.

Putting a copy back needs the ledger's lock, so that it cannot happen under a daemon that runs. The database
that was there is kept beside the restored one. Shards have no owners in it and higher epochs than anybody
can have had: whatever a component still asks on behalf of the lost time is stale.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from gleitzeitd.errors import StoreCorrupt, StoreError
from gleitzeitd.stores import sqlite_read
from gleitzeitd.stores.sqlite import APPLICATION_ID, damaged, identify, take_hold, told

UNFINISHED = ("running", "cancelling")
EPOCHS_SKIPPED = 1_000_000
"""More than owners can have changed since the copy was taken."""
BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a database holds."""

    file: Path
    size: int
    """Bytes."""
    schema: int
    workflows: dict[str, int]
    """How many of each status."""
    tasks: int

    @property
    def unfinished(self) -> int:
        """Workflows that go on when the database is in force."""
        return sum(self.workflows.get(status, 0) for status in UNFINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore has done."""

    contents: Contents
    kept: Path | None
    """The database that was there before."""


def back_up(database: Path, target: Path, *, replace: bool = False) -> Contents:
    """Write a checked copy of ``database``, which may be in use, to ``target``.

    Raises:
        StoreError: ``target`` exists and ``replace`` is not wanted, or one of the two cannot be used.
        StoreCorrupt: ``database`` is damaged, or somebody else's; there is no copy.
    """
    if target.exists() and not replace:
        raise StoreError(f"{target} exists: name another file, or say --force to replace it")
    if target.exists() and not target.is_file():
        raise StoreError(f"{target} is no file that could be replaced")
    if _is_same(database, target):
        raise StoreError(f"{target} is the database itself")
    with _reading(database) as source, _new_file_beside(target, size_of(database)) as partial:
        _copy(source, partial, database)
        contents = _examined(partial, target)
        _keep(partial, target, replace=replace)
    return contents


def examine(file: Path) -> Contents:
    """Read a database through that nobody writes to.

    Raises:
        StoreError: it cannot be read.
        StoreCorrupt: it is damaged, somebody else's, or from a newer version.
    """
    return _examined(file, file)


def restore(file: Path, database: Path) -> Restored:
    """Put a copy in the place of ``database``; what was there is kept beside it.

    Raises:
        StoreLocked: a daemon has ``database``.
        StoreError: there is no such directory, or no room in it.
        StoreCorrupt: ``file`` is no good; nothing has changed.
    """
    if _is_same(file, database):
        raise StoreError(f"{file} is the database itself")
    contents = examine(file)
    lock = take_hold(database)
    try:
        owner = database.parent.stat()
        _give(lock, owner)
        before = database.stat() if database.exists() else None
        with _at_rest(file) as source, _new_file_beside(database, contents.size) as partial:
            _copy(source, partial, file)
            with told(partial, "written"), closing(_connect(f"{_uri(partial)}?mode=rw")) as db:
                _disown(db)
            _examined(partial, partial)
            partial.chmod(0o600 if before is None else stat.S_IMODE(before.st_mode))
            _own(partial, before or owner)
            kept = _set_aside(database)
            partial.replace(database)
            _sync_directory(database)
    finally:
        os.close(lock)
    return Restored(contents=contents, kept=kept)


def quick_check(database: Path) -> str:
    """What is wrong with a database, which may be in use; empty if nothing is.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with _reading(database) as db, told(database, "read"):
            identify(db, database)
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except StoreCorrupt as problem:
        return str(problem)
    return "" if verdict == "ok" else " ".join(str(verdict).split())


# --- reading --------------------------------------------------------------------------------------


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing, to a database that others may write to."""
    _readable(database)
    with told(database, "opened"), closing(_connect(f"{_uri(database)}?mode=ro")) as db:
        yield db


@contextmanager
def _at_rest(file: Path) -> Iterator[sqlite3.Connection]:
    """The same to a file that nobody else has: nothing appears beside it, and its disk may be read-only."""
    _readable(file)
    # What a copy made otherwise has in its log belongs to it, and SQLite wants to write beside that.
    how = "mode=ro" if _has_log(file) else "mode=ro&immutable=1"
    with told(file, "opened"), closing(_connect(f"{_uri(file)}?{how}")) as db:
        yield db


def _readable(file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as problem:
        raise StoreError(f"{file} cannot be read: {problem.strerror}") from problem


def _has_log(file: Path) -> bool:
    log = file.with_name(f"{file.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _uri(file: Path) -> str:
    return f"file:{quote(str(file.absolute()))}"


def _examined(file: Path, name: Path) -> Contents:
    """``name`` is what messages call it."""
    with _at_rest(file) as db, told(name, "read"):
        (application,) = db.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise StoreCorrupt(f"{name} is no database of gleitzeit")
        identify(db, name)
        (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise damaged(name, " ".join(str(verdict).split()))
        (schema,) = db.execute("PRAGMA user_version").fetchone()
        (tasks,) = db.execute("SELECT count(*) FROM task").fetchone()
        workflows = sqlite_read.counts(db)
    return Contents(file=name, size=size_of(file), schema=schema, workflows=workflows, tasks=tasks)


def size_of(file: Path) -> int:
    """Bytes of a database with its log."""
    log = file.with_name(f"{file.name}-wal")
    return file.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def _new_file_beside(target: Path, size: int) -> Iterator[Path]:
    """An empty file in the directory of ``target``, for its owner alone; gone afterwards, unless renamed."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        free = shutil.disk_usage(target.parent).free
        if free < size:
            raise StoreError(
                f"{target.parent} has room for {free // 2**20} MiB, and {size // 2**20} are needed"
            )
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as problem:
        raise StoreError(f"{target} cannot be written: {problem.strerror}") from problem
    try:
        yield partial
    except OSError as problem:
        raise StoreError(f"{target} cannot be written: {problem.strerror}") from problem
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                partial.with_name(partial.name + suffix).unlink()


def _copy(source: sqlite3.Connection, partial: Path, name: Path) -> None:
    with told(name, "copied"), closing(_connect(f"{_uri(partial)}?mode=rw")) as target:
        # In one step: a step that comes after somebody's commit would begin again from the first page.
        source.backup(target, pages=-1)
        target.execute("PRAGMA journal_mode = DELETE")
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disown(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = FULL")
    # A new database begins with the time as its epoch: this one comes after any that was there meanwhile.
    now = int(time.time())
    db.execute(
        "UPDATE shard SET resolver = '', resolver_epoch = max(resolver_epoch + ?, ?),"
        " queue_manager = '', queue_manager_epoch = max(queue_manager_epoch + ?, ?)",
        (EPOCHS_SKIPPED, now, EPOCHS_SKIPPED, now),
    )


def _keep(partial: Path, target: Path, *, replace: bool) -> None:
    if replace:
        partial.replace(target)
    else:
        # Unlike a rename this fails if somebody has made the file meanwhile.
        try:
            os.link(partial, target)
        except FileExistsError:
            raise StoreError(f"{target} exists by now: name another file") from None
        except OSError:  # a file system without links
            partial.replace(target)
    _sync_directory(target)


def _set_aside(database: Path) -> Path | None:
    """Make the database one file, and give it a second name; it stays in its place."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = database.with_name(f"{database.name}.before-restore-{stamp}")
    is_there = database.exists()
    if is_there:
        with suppress(sqlite3.Error), closing(_connect(f"{_uri(database)}?mode=rw")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode = DELETE")
        os.link(database, kept)
    # They are there if the database is damaged, or gone; the restored one must never meet them.
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            database.with_name(database.name + suffix).rename(kept.with_name(kept.name + suffix))
    return kept if is_there else None


def _own(file: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(file, owner.st_uid, owner.st_gid)


def _give(descriptor: int, owner: os.stat_result) -> None:
    """What root has made where the daemon has to open it is the daemon's."""
    if os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_directory(file: Path) -> None:
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
