"""Deleting in SQLite: which workflows are due, and giving back what deleted ones have left behind.

That a workflow is gone is one row less, whatever its size (``SqliteRows.delete_workflow``): all that is read
is found by way of that row. What is left are its tasks, values and feed entries, under a ``serial`` that is
never given again. They go here, in steps that are bounded in rows and in time.

The file does not become smaller: its free pages are used for what comes next, so that it stops growing when
as much is deleted as is added. A smaller file would need a map of all pages, which every commit would have
to keep, and would grow again anyway. What a step has written is in the write-ahead log like any other
commit, and moved into the file at the same size of the log.
"""

from __future__ import annotations

import sqlite3
import time

from gleitzeitd.model.names import WorkflowId
from gleitzeitd.stores.sqlite_rows import task_range

STEP_SECONDS = 0.02
"""So long a commit may have to wait for a step. A step is longer only if a few rows take that long."""
_AT_ONCE = 200
"""Rows that one statement deletes, between two looks at the clock."""

SURPLUS = (
    "SELECT finished_at, serial FROM workflow WHERE finished_at <> '' "
    "ORDER BY finished_at DESC, serial DESC LIMIT 1 OFFSET ?"
)
FINISHED = (
    "SELECT workflow_id FROM workflow WHERE finished_at <> '' AND (finished_at, serial) <= (?, ?) "
    "ORDER BY finished_at, serial LIMIT ?"
)
UNSWEPT = "SELECT serial FROM deleted WHERE swept = 0 ORDER BY deleted_at LIMIT 1"
_FEED = "DELETE FROM feed WHERE id IN (SELECT id FROM feed WHERE workflow = ? LIMIT ?)"
_VALUES = "DELETE FROM value WHERE id IN (SELECT id FROM value WHERE id BETWEEN ? AND ? LIMIT ?)"
_TASKS = "DELETE FROM task WHERE id IN (SELECT id FROM task WHERE id BETWEEN ? AND ? LIMIT ?)"
_SWEPT = "UPDATE deleted SET swept = 1 WHERE serial = ?"
_FORGET = (
    "DELETE FROM deleted WHERE serial IN "
    "(SELECT serial FROM deleted WHERE swept = 1 AND deleted_at < ? LIMIT ?)"
)


def finished(
    db: sqlite3.Connection, before: str, keep: int | None, spare: str, limit: int
) -> list[WorkflowId]:
    """See ``Store.finished``."""
    last = (before, -1)
    if keep is not None:
        surplus = db.execute(SURPLUS, (keep,)).fetchone()
        if surplus is not None:
            last = max(last, min((spare, -1), surplus))
    return [row[0] for row in db.execute(FINISHED, (*last, limit))]


def sweep(db: sqlite3.Connection, rows: int, forget: str) -> int:
    """See ``Store.sweep``; called inside a transaction."""
    ends = time.monotonic() + STEP_SECONDS
    removed = 0
    while removed < rows and time.monotonic() < ends:
        found = db.execute(UNSWEPT).fetchone()
        if found is None:
            return removed + db.execute(_FORGET, (forget, rows - removed)).rowcount
        step = _sweep_one(db, found[0], min(_AT_ONCE, rows - removed))
        if not step:
            db.execute(_SWEPT, found)
        removed += max(step, 1)
    return removed


def _sweep_one(db: sqlite3.Connection, serial: int, limit: int) -> int:
    """Rows of a workflow, of one table; 0 when none are left."""
    first, last = task_range(serial)
    for sql, place in (
        (_FEED, (serial,)),
        (_VALUES, (first * 4, last * 4 + 3)),
        (_TASKS, (first, last)),
    ):
        if removed := db.execute(sql, (*place, limit)).rowcount:
            return removed
    return 0
