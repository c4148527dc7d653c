"""The ledger's part in the audit: who asked, what is recorded of refusals, and reading.

What was done is recorded with the change that it is (:mod:`gleitzeitd.model.transition.audit`). What was
refused is limited, so that nobody fills the store: of each cause the first is recorded at once, and at the
end of the minute how often it was repeated; of more causes than ``audit_refusals`` only numbers by error.
What could not be written is tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import GleitzeitError, MalformedData
from gleitzeitd.events import Envelope, Event
from gleitzeitd.events.audit import AuditNoted, AuditWish, ConfigurationReloaded, QueryAudit, ReportAction
from gleitzeitd.events.operations import DrainComponent
from gleitzeitd.events.persistence import DataSaved, PersistenceError
from gleitzeitd.events.protocol_registry import RegisterProtocol
from gleitzeitd.machines import retention
from gleitzeitd.machines.base import Context, Effects, Machine, Note, Reply, Request, SetTimer, Tell
from gleitzeitd.model.audit import LOCAL, Action, Actor, AuditNote, AuditRecord, Result, refused
from gleitzeitd.model.change import Change, NoteAudit, Outcome, Status
from gleitzeitd.model.transition import refusal
from gleitzeitd.record import positional_record, record

TIMER = "audit"
WINDOW_SECONDS = 60.0
AGAIN_SECONDS = 5.0
"""After which what could not be written is tried again."""
UNWRITTEN_LIMIT = 1000
"""Notes that may wait for that; the oldest go first."""
OVERFLOW_LIMIT = 200
"""Kinds of refusals that are counted apart in one minute; others are counted together."""
REPEATS = 1000
"""Actions that are recognised when they are asked for again."""
KEYS_SHOWN = 20
_REFUSED = frozenset({Status.MISSING, Status.STALE, Status.CONFLICT})

E = TypeVar("E", bound=Event)


@record
class Settings(retention.Settings):
    """The part of ``[persistence]`` that is about what is kept and recorded."""

    audit_refusals: int = bounded(60, least=1, most=10_000)
    """Records of what was refused, per minute. Beyond it they are counted, and the numbers recorded at the
    end of the minute."""


@positional_record
class ReadAudit(Request):
    """Answered with the ``AuditRetrieved`` that goes to the asker."""

    query: QueryAudit


def actor_of(envelope: Envelope) -> Actor:
    """Who has sent an event, as the hub has stamped it."""
    return Actor(
        subject=envelope.subject or "",
        component_id=envelope.source_component,
        address=envelope.address or "",
    )


def signed(event: E, envelope: Envelope) -> E:
    """A client's command on its way to the ledger, with who wants it. What the client wrote there is lost."""
    return replace(event, by=actor_of(envelope))  # type: ignore[type-var]  # events are records


def refusal_of(action: Action, about: str, error: GleitzeitError, envelope: Envelope) -> Tell:
    """Tell the ledger that a command was refused before it came there."""
    note = refused(action, about, actor_of(envelope), error.info(), envelope.correlation_id)
    return Tell(AuditNoted(notes=[note]))


def _journal(one: AuditRecord) -> Note:
    note = one.note
    return Note(
        "notice",
        "audit",
        {
            "action": note.action,
            "object": note.object,
            "outcome": note.outcome.value,
            "subject": note.actor.subject,
            "peer": note.actor.component_id,
            "address": note.actor.address,
            "error": note.error,
            "code": note.code or "",
            "detail": note.detail,
            "count": note.count if note.count > 1 else "",
            "number": one.number,
            "hash": one.hash,
            "correlation_id": note.correlation_id,
        },
    )


@dataclass(slots=True)
class Auditing:
    """What is to be recorded, and what is only counted."""

    _window_ends: float | None = None
    _written: int = 0
    """Refusals that were recorded in this window."""
    _causes: dict[AuditNote, int] = field(default_factory=dict)
    """Those, without what differs from one to the next, to how often they were repeated since."""
    _overflow: dict[tuple[str, Result, str, int], int] = field(default_factory=dict)
    """Action, outcome, error and its number, to how often."""
    _unwritten: deque[AuditNote] = field(default_factory=lambda: deque(maxlen=UNWRITTEN_LIMIT))
    _repeats: deque[tuple[str, ...]] = field(default_factory=lambda: deque(maxlen=REPEATS))

    def limited(
        self, notes: Iterable[AuditNote], now: float, settings: Settings
    ) -> tuple[Effects, list[NoteAudit]]:
        """Notes of what anybody can cause as often as he wants: effects, and changes to be committed."""
        effects: Effects = []
        if self._window_ends is None:
            self._window_ends = now + WINDOW_SECONDS
            effects.append(SetTimer(TIMER, WINDOW_SECONDS))
        at_once = [note for note in notes if self._is_first(note, settings)]
        return effects, [NoteAudit(notes=at_once)] if at_once else []

    def _is_first(self, note: AuditNote, settings: Settings) -> bool:
        cause = replace(note, count=1, correlation_id="")
        if cause in self._causes:
            self._causes[cause] += note.count
            return False
        if self._written < settings.audit_refusals:
            self._written += 1
            self._causes[cause] = 0
            return True
        kind = (note.action, note.outcome, note.error, note.code)
        if kind not in self._overflow and len(self._overflow) >= OVERFLOW_LIMIT:
            kind = (Action.REFUSE.value, Result.REFUSED, "", 0)
        self._overflow[kind] = self._overflow.get(kind, 0) + note.count
        return False

    def expired(self) -> list[NoteAudit]:
        """The minute is over, or it is time to try again: what is to be committed."""
        notes = [*self._unwritten, *(replace(each, count=n) for each, n in self._causes.items() if n)]
        notes += [
            AuditNote(
                action=action,
                outcome=outcome,
                code=code,
                error=error,
                count=count,
                detail="of several causes",
            )
            for (action, outcome, error, code), count in self._overflow.items()
        ]
        self._unwritten.clear()
        self._causes.clear()
        self._overflow.clear()
        self._window_ends, self._written = None, 0
        return [NoteAudit(notes=notes)] if notes else []

    def uncommitted(self, change: NoteAudit) -> Effects:
        """Nothing of it is recorded."""
        self._unwritten.extend(change.notes)
        return [SetTimer(TIMER, AGAIN_SECONDS)]

    def done(self, event: Event, envelope: Envelope) -> NoteAudit | None:
        """What a client's command that others carry out leaves in the audit; None if it was recorded before.

        Raises:
            MalformedData: it is nothing that can be recorded so.
        """
        note = _note_of(event, envelope)
        mark = (note.action, note.object, note.actor.component_id, note.correlation_id, note.detail)
        if mark in self._repeats:
            return None
        self._repeats.append(mark)
        return NoteAudit(notes=[note])


def reloaded(event: ConfigurationReloaded, envelope: Envelope) -> AuditNote:
    """What a component says of itself, and of nobody else."""
    shown = ", ".join(event.keys[:KEYS_SHOWN])
    component_id = envelope.source_component
    return AuditNote(action=Action.CONFIG_RELOAD, object=component_id, actor=actor_of(envelope), detail=shown)


def _note_of(event: Event, envelope: Envelope) -> AuditNote:
    action, about, detail = Action.DRAIN, "", ""
    match event:
        case DrainComponent():
            action = Action.UNDRAIN if event.undo else Action.DRAIN
            about = envelope.reply_to or ""
        case RegisterProtocol():
            action, about = Action.REGISTER_PROTOCOL, event.protocol.name
        case ReportAction():
            if event.action not in LOCAL:
                found = f"expected one of {', '.join(sorted(LOCAL))}, found {event.action}"
                raise MalformedData("report_action.action", found)
            action, about, detail = event.action, event.object, event.detail
        case _:
            raise AssertionError(event)
    return AuditNote(
        action=action,
        object=about,
        actor=actor_of(envelope),
        detail=detail,
        correlation_id=envelope.correlation_id,
    )


def check_wish(query: QueryAudit) -> None:
    """Refuse what no record can fit.

    Raises:
        MalformedData: with the field, and what was expected.
    """
    wish: AuditWish = query.wish
    if not 1 <= query.limit <= 1000:
        raise MalformedData("query_audit.limit", f"expected 1 to 1000, found {query.limit}")
    for name, value in (("after", query.after), ("before", query.before)):
        if value is not None and not 0 <= value < 2**63:
            raise MalformedData(f"query_audit.{name}", f"expected 0 or more, found {value}")
    if wish.outcome is not None and wish.outcome not in set(Result):
        raise MalformedData("query_audit.wish.outcome", "expected accepted or refused")


class Auditor(Machine):
    """The ledger's handlers of what concerns the audit; the rest of the machine is its subclass's."""

    settings: Settings
    auditing: Auditing

    def propose(self, change: Change, asker: Envelope | None = None) -> Effects:
        """Have a change committed, and then answered."""
        raise NotImplementedError

    def read_for(self, asker: Envelope, request: Request) -> Effects:
        """Have something read, and then answered."""
        raise NotImplementedError

    def note_limited(self, notes: Iterable[AuditNote], now: float) -> Effects:
        """Record them, or count them."""
        effects, changes = self.auditing.limited(notes, now, self.settings)
        return [*effects, *(effect for each in changes for effect in self.propose(each))]

    def on_audit_noted(self, event: AuditNoted, ctx: Context) -> Effects:
        """Of others than those whom the hub lets, none comes here."""
        return self.note_limited(event.notes, ctx.now)

    def on_configuration_reloaded(self, event: ConfigurationReloaded, ctx: Context) -> Effects:
        return self.note_limited([reloaded(event, ctx.envelope)], ctx.now)

    def on_drain_component(self, event: DrainComponent | RegisterProtocol, ctx: Context) -> Effects:
        """It is for others, who answer it; here it is recorded."""
        change = self.auditing.done(event, ctx.envelope)
        return [] if change is None else self.propose(change)

    on_register_protocol = on_drain_component

    def on_report_action(self, event: ReportAction, ctx: Context) -> Effects:
        try:
            change = self.auditing.done(event, ctx.envelope)
        except MalformedData as problem:
            return [Reply(PersistenceError(error=problem.info()), ctx.envelope)]
        if change is None:
            return [Reply(DataSaved(status="duplicate"), ctx.envelope)]
        return self.propose(change, ctx.envelope)

    def on_query_audit(self, event: QueryAudit, ctx: Context) -> Effects:
        try:
            check_wish(event)
        except MalformedData as problem:
            return [Reply(PersistenceError(error=problem.info()), ctx.envelope)]
        return self.read_for(ctx.envelope, ReadAudit(event))

    def audit_due(self) -> Effects:
        """The timer has expired."""
        return [effect for each in self.auditing.expired() for effect in self.propose(each)]

    def audited(self, change: Change, outcome: Outcome, now: float) -> Effects:
        """What follows for the audit from a change that was committed, or was not to be done."""
        effects = [_journal(one) for one in outcome.audited]
        if outcome.status in _REFUSED and (note := refusal(change, outcome)) is not None:
            return [*effects, *self.note_limited([note], now)]
        return [*effects]
