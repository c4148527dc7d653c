"""The audit in SQLite: adding at its end, reading by what is looked for, and letting go of the oldest."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from gleitzeitd.model.audit import Actor, AuditNote, AuditRecord, Result, recorded
from gleitzeitd.stores.base import AuditPage, AuditQuery

_COLUMNS = (
    "number, at, action, object, subject, component_id, address, outcome, code, error, detail, count, "
    "correlation_id, previous, hash"
)
_ADD = f"INSERT INTO audit ({_COLUMNS}) VALUES ({', '.join('?' * 15)})"
_LAST = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1"
_HORIZON = "SELECT number, hash FROM audit_horizon"
_MOVE = "UPDATE audit_horizon SET (number, hash) = (SELECT number, hash FROM audit WHERE number = ?)"
_TRIM = "DELETE FROM audit WHERE number <= ?"


def last(db: sqlite3.Connection) -> tuple[int, str]:
    """Number and hash of the last record; of the horizon, if there is none after it."""
    found: tuple[int, str] = db.execute(_LAST).fetchone() or db.execute(_HORIZON).fetchone()
    return found


class Ending:
    """The end of the audit within one transaction; :meth:`flush` before the commit."""

    def __init__(self, db: sqlite3.Connection, end: list[tuple[int, str]]) -> None:
        """``end`` has number and hash of the last record, or nothing, and is kept up to date; it is to be
        cleared if the transaction fails.
        """
        self._db = db
        self._end = end
        self._new: list[AuditRecord] = []

    def note(self, note: AuditNote, at: str) -> AuditRecord:
        """One more record."""
        number, head = self._end[0] if self._end else last(self._db)
        made = recorded(note, at, number + 1, head)
        self._end[:] = [(made.number, made.hash)]
        self._new.append(made)
        return made

    def flush(self) -> None:
        """Write what is new."""
        if self._new:
            self._db.executemany(_ADD, [_columns(one) for one in self._new])
            self._new.clear()


def page(db: sqlite3.Connection, query: AuditQuery) -> AuditPage:
    """See ``Store.audit``."""
    where = ["number > ?"]
    values: list[int | str] = [query.after]
    for column, sign, value in (
        ("number", "<", query.before),
        ("at", ">=", query.since),
        ("subject", "=", query.subject),
        ("action", "=", query.action),
        ("object", "=", query.object),
        ("outcome", "=", query.outcome),
    ):
        if value is not None:
            where.append(f"{column} {sign} ?")
            values.append(value)
    order = "DESC" if query.newest_first else "ASC"
    sql = f"SELECT {_COLUMNS} FROM audit WHERE {' AND '.join(where)} ORDER BY number {order} LIMIT ?"
    records = [_record(row) for row in db.execute(sql, (*values, query.limit))]
    number, head = db.execute(_HORIZON).fetchone()
    return AuditPage(records=records, last=last(db)[0], horizon=number, anchor=head)


def trim(db: sqlite3.Connection, before: str, keep: int | None, limit: int) -> int:
    """Let go of the oldest that are from before ``before``, or too many; called inside a transaction."""
    (horizon, _), (newest, _) = db.execute(_HORIZON).fetchone(), last(db)
    most = min(horizon + limit, newest)
    to = horizon if keep is None else newest - keep
    if before:
        # The clock may have been put back: the first that is young enough ends it.
        young = db.execute(
            "SELECT number FROM audit WHERE number > ? AND number <= ? AND at >= ? ORDER BY number LIMIT 1",
            (horizon, most, before),
        ).fetchone()
        to = max(to, most if young is None else young[0] - 1)
    to = min(to, most)
    if to <= horizon:
        return 0
    db.execute(_MOVE, (to,))
    return db.execute(_TRIM, (to,)).rowcount


def _columns(one: AuditRecord) -> tuple[object, ...]:
    note, actor = one.note, one.note.actor
    return (
        one.number,
        one.at,
        note.action,
        note.object,
        actor.subject,
        actor.component_id,
        actor.address,
        note.outcome.value,
        note.code,
        note.error,
        note.detail,
        note.count,
        note.correlation_id,
        one.previous,
        one.hash,
    )


def _record(row: Sequence[Any]) -> AuditRecord:
    return AuditRecord(
        number=row[0],
        at=row[1],
        note=AuditNote(
            action=row[2],
            object=row[3],
            actor=Actor(subject=row[4], component_id=row[5], address=row[6]),
            outcome=Result(row[7]),
            code=row[8],
            error=row[9],
            detail=row[10],
            count=row[11],
            correlation_id=row[12],
        ),
        previous=row[13],
        hash=row[14],
    )
