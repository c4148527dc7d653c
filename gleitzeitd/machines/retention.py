"""When finished workflows are deleted: by age and by number, a few at a time, and never in the way.

Every ``delete_every_seconds`` the store is asked for what is due. What is found is deleted some at a time,
by changes that the ledger commits as any others, and then the store sweeps what has been left behind. Each
step is bounded, and after each there is a pause; it is longer while others have something committed, so that
they lose a small share of the ledger's time at most. After a failure the rest waits for the next round.

Age is by the wall clock of the ledger's host, since it outlives processes. It decides about nothing but what
is finished, and about nothing that finished within the last ``repeat_seconds``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.machines.base import Call, Effects, Note, Request, SetTimer
from gleitzeitd.model.change import DeleteWorkflow, Outcome, Status
from gleitzeitd.model.names import WorkflowId
from gleitzeitd.record import record

DAY = 86_400.0
TIMER = "retention"
CALLS = "retention/"
"""Its calls' ids begin so."""
FOUND_AT_ONCE = 1000
DELETED_AT_ONCE = 100
"""Workflows in one transaction."""
SWEPT_AT_ONCE = 5000
"""Rows in one transaction, if the store does so many in its time."""
PAUSE_SECONDS = 0.01
BUSY_PAUSE_SECONDS = 0.1
"""Between two steps, while something else is committed."""


@record
class Settings:
    """The part of ``[persistence]`` that is about how long things are kept."""

    keep_finished_days: float = bounded(30.0, least=0, most=36_500.0, unit="days")
    """After how long a finished workflow is deleted, with its tasks, results and history. 0: never for its
    age. Unfinished ones are never deleted."""
    keep_finished_count: int = bounded(100_000, least=0)
    """How many finished workflows are kept at most; the oldest go first. 0: any number."""
    delete_every_seconds: float = bounded(60.0, least=0.1, most=DAY, unit="seconds")
    """How often to look for finished workflows that are to be deleted."""
    repeat_seconds: float = bounded(600.0, least=1.0, most=DAY, unit="seconds")
    """How late a repeat of what was asked may come. For so long a finished workflow is kept, however many
    there are; and for so long after its deletion a repeat of its submission does not run it again."""
    audit_days: float = bounded(365.0, least=0, most=36_500.0, unit="days")
    """After how long a record of the audit is deleted. 0: never for its age."""
    audit_records: int = bounded(1_000_000, least=0)
    """How many records of the audit are kept at most; the oldest go first. 0: any number."""


@record
class Find(Request):
    """Answered with the ids of finished workflows that are due, the oldest first."""

    keep_seconds: float | None
    keep: int | None
    spare_seconds: float
    """What finished so recently is not due."""
    limit: int = FOUND_AT_ONCE


@record
class Sweep(Request):
    """Answered with the number of rows that were removed; 0: none are left."""

    forget_seconds: float
    """Deletions that are older are forgotten."""
    audit_seconds: float | None = None
    """Records of the audit that are older go; None: they stay."""
    audit_keep: int | None = None
    """So many records of the audit stay at most; None: all."""
    rows: int = SWEPT_AT_ONCE


class _Step(Enum):
    """What comes when the timer expires."""

    FIND = auto()
    DELETE = auto()
    SWEEP = auto()
    NOTHING = auto()
    """Something is under way, and goes on when it is answered."""


@dataclass(slots=True)
class Retention:
    """How far the deletion is."""

    deleted: int = 0
    """Workflows, since the ledger was opened."""
    _step: _Step = _Step.SWEEP  # what an earlier process has left
    _resting: bool = False
    _due: list[WorkflowId] = field(default_factory=list)
    _more: bool = False
    """There was more than one answer holds."""
    _waiting: int = 0
    """Deletions of our own that are not committed yet."""
    _workflows: int = 0
    """Deleted in this round."""
    _rows: int = 0
    """Swept in this round."""
    _seen: int = 0
    """Changes of others that had been committed when the last step ended."""
    _own: int = 0

    def rest(self, settings: Settings) -> Effects:
        """Nothing to do until the next round."""
        self._resting = True
        effects: Effects = []
        if self._workflows:
            counts = {"workflows": self._workflows, "rows": self._rows}
            effects.append(Note("info", "finished workflows were deleted", {**counts}))
            self._workflows = self._rows = 0
        return [*effects, SetTimer(TIMER, settings.delete_every_seconds)]

    def expired(self, settings: Settings) -> tuple[Effects, Sequence[DeleteWorkflow]]:
        """The next step: effects, and changes to be committed."""
        step, self._step = self._step, _Step.NOTHING
        self._resting = False
        match step:
            case _Step.FIND:
                return self._find(settings), ()
            case _Step.SWEEP:
                return self._sweep(settings), ()
            case _Step.DELETE:
                now, self._due = self._due[:DELETED_AT_ONCE], self._due[DELETED_AT_ONCE:]
                self._waiting = len(now)
                return [], [DeleteWorkflow(workflow_id=workflow_id) for workflow_id in now]
            case _Step.NOTHING:
                return [], ()

    def _find(self, settings: Settings) -> Effects:
        days, count = settings.keep_finished_days, settings.keep_finished_count
        if not days and not count:
            return self._sweep(settings)
        wanted = Find(
            keep_seconds=days * DAY if days else None,
            keep=count or None,
            spare_seconds=settings.repeat_seconds,
        )
        return [Call(f"{CALLS}find", wanted)]

    def _sweep(self, settings: Settings) -> Effects:
        wanted = Sweep(
            forget_seconds=settings.repeat_seconds,
            audit_seconds=settings.audit_days * DAY or None,
            audit_keep=settings.audit_records or None,
        )
        return [Call(f"{CALLS}sweep", wanted)]

    def finished(self, call_id: str, answer: object, settings: Settings, committed: int) -> Effects:
        """A call was answered; ``committed`` counts all changes that were committed until now."""
        if isinstance(answer, GleitzeitError):  # the ledger says itself that nothing can be kept
            return self._failed(settings)
        if isinstance(answer, Exception):
            raise answer
        if call_id == f"{CALLS}find":
            self._due = cast("list[WorkflowId]", answer)
            self._more = len(self._due) == FOUND_AT_ONCE
            self._step = _Step.DELETE if self._due else _Step.SWEEP
            return self._pause(committed)
        rows = cast("int", answer)
        self._rows += rows
        if rows or self._more:
            self._step = _Step.SWEEP if rows else _Step.FIND
            self._more = self._more and bool(rows)
            return self._pause(committed)
        self._step = _Step.FIND
        return self.rest(settings)

    def settled(self, outcome: Outcome, committed: int, *, asked: bool) -> Effects:
        """A deletion is committed; ``asked``: somebody wanted it. What it leaves behind is swept soon."""
        if outcome.status is Status.OK:
            self.deleted += 1
            self._workflows += 1
        if not asked:
            self._own += 1
            self._waiting -= 1
            if self._waiting:
                return []
            self._step = _Step.DELETE if self._due else _Step.SWEEP
            return self._pause(committed)
        if not self._resting or outcome.status is not Status.OK:
            return []
        self._resting, self._step = False, _Step.SWEEP
        return self._pause(committed)

    def uncommitted(self, settings: Settings) -> Effects:
        """A deletion of our own could not be committed; it is due in the next round still."""
        self._waiting -= 1
        return [] if self._waiting else self._failed(settings)

    def _failed(self, settings: Settings) -> Effects:
        self._due.clear()
        self._more, self._step = False, _Step.FIND
        return self.rest(settings)

    def _pause(self, committed: int) -> Effects:
        others = committed - self._own
        busy, self._seen = others != self._seen, others
        return [SetTimer(TIMER, BUSY_PAUSE_SECONDS if busy else PAUSE_SECONDS)]
