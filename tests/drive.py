"""Talk to a machine as in a transcript: ``>>`` an event in, ``<<`` an effect expected out.

    d = Dialogue(QueueManager(...))
    d.start() << asks(ClaimShard, shard=3)
    d.answer(DataSaved(...)) << SetTimer("lease", 60.0)
    d.receive(EnqueueTask(...), source="persistence-1") << tells(TaskEnqueued(...))
    d.after(2.5).expire("lease") << ...
    d.finish("call-1", Saved(...)) << replies(DataSaved(...), to="engine-1")
    d.silent()

Effects must be expected in the order in which the machine gives them, and all of them: the next input
fails while one is left over. What the link does for a machine is done here too: an ask is open until it
is answered or cancelled, a timer until it expires, a call until it is finished.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Envelope, Event
from gleitzeitd.events.hub import NoComponentsAvailable
from gleitzeitd.machines.base import (
    Ask,
    Call,
    CancelAsk,
    CancelCall,
    CancelTimer,
    Context,
    Effect,
    Effects,
    Machine,
    Note,
    Reply,
    Request,
    SetTimer,
    Tell,
)
from gleitzeitd.model.names import ComponentId, Role

CORRELATION = "c" * 32
SOMEBODY = ComponentId("somebody")
AT = "2026-01-01T00:00:00.000Z"


def envelope(event: Event, source: str = SOMEBODY, message_id: str = "m", **more: Any) -> Envelope:
    """What would accompany an event."""
    given: dict[str, Any] = {"correlation_id": CORRELATION, "timestamp": AT, "topic": event.topic()}
    given["shard"] = event.shard()
    return Envelope(message_id=message_id, source_component=ComponentId(source), **{**given, **more})


@dataclass(frozen=True)
class Like:
    """An effect of which not everything is said."""

    effect: type
    inner: Event | Request | type | None = None
    """The event or request in it, or only the class of that."""
    inside: tuple[tuple[str, Any], ...] = ()
    """Fields of the event or request."""
    outside: tuple[tuple[str, Any], ...] = ()
    """Fields of the effect itself."""

    def problem(self, got: Effect) -> str | None:
        """Why ``got`` is not it; None if it is."""
        if not isinstance(got, self.effect):
            return f"it is no {self.effect.__name__}"
        inner = getattr(got, "event", getattr(got, "request", None))
        if isinstance(self.inner, type):
            if not isinstance(inner, self.inner):
                return f"it holds no {self.inner.__name__}"
        elif self.inner is not None and inner != self.inner:
            return difference(self.inner, inner)
        return _fields_problem(inner, self.inside) or _fields_problem(got, self.outside)


def _fields_problem(got: object, wanted: tuple[tuple[str, Any], ...]) -> str | None:
    for name, value in wanted:
        found = getattr(got, name)
        if isinstance(found, Envelope) and isinstance(value, str):
            found = found.source_component
        if found != value:
            return f"{name} is {found!r}, not {value!r}"
    return None


def difference(wanted: Any, got: Any) -> str:
    """Where two dataclass instances differ."""
    if type(wanted) is not type(got):
        return f"{type(got).__name__} is no {type(wanted).__name__}"
    where = [f.name for f in fields(wanted) if getattr(wanted, f.name) != getattr(got, f.name)]
    said = (f"{name} is {getattr(got, name)!r}, not {getattr(wanted, name)!r}" for name in where)
    return f"{type(wanted).__name__}: " + "; ".join(said)


def _like(kind: type, inner: Any, inside: dict[str, Any], **outside: Any) -> Like:
    said = tuple((name, value) for name, value in outside.items() if value is not None)
    return Like(kind, inner, tuple(inside.items()), said)


def asks(event: Event | type, *, key: str | None = None, to: str | None = None, **inside: Any) -> Like:
    """An Ask of this event, or of one of this class with these fields; under any key unless one is given."""
    return _like(Ask, event, inside, key=key, to=to)


def tells(event: Event | type, *, to: str | None = None, **inside: Any) -> Like:
    """A Tell of this event, or of one of this class with these fields; to anybody unless ``to`` is given."""
    return _like(Tell, event, inside, to=to)


def replies(event: Event | type, *, to: str | Envelope | None = None, **inside: Any) -> Like:
    """A Reply with this event; ``to`` is the component that gets it, or the envelope that it answers."""
    return _like(Reply, event, inside, to=to)


def calls(request: Request | type, *, call_id: str | None = None, **inside: Any) -> Like:
    """A Call with this request, or with one of this class with these fields."""
    return _like(Call, request, inside, call_id=call_id)


def notes(level: str | None = None, message: str | None = None) -> Like:
    """A Note, whatever its fields are."""
    return _like(Note, None, {}, level=level, message=message)


def delivered_name(machine: Machine, event: Event) -> str:
    """The name under which the event reaches the machine; its own, if the catalogue does not decide."""
    names = {each.renamed or event.name for each in event.routes if machine.role in each.roles}
    return names.pop() if len(names) == 1 else event.name


class Dialogue:
    """A machine, what it still has to be asked about, and the time."""

    def __init__(self, machine: Machine, *, now: float = 0.0) -> None:
        self.machine, self.now, self.at = machine, now, AT
        self.pending: Effects = []
        self.asks: dict[str, Ask] = {}
        """The open ones, by key."""
        self.timers: dict[str, float] = {}
        """The set ones: when they expire."""
        self.calls: dict[str, Request] = {}
        """The unfinished ones, by call_id."""
        self.envelope: Envelope | None = None
        """Of the event received last."""
        self._received = 0

    # --- what goes in -------------------------------------------------------------------------

    def receive(
        self,
        event: Event,
        *,
        name: str | None = None,
        source: str = SOMEBODY,
        asked: Ask | str | None = None,
        correlation: str = CORRELATION,
        message_id: str | None = None,
        **stamps: str,
    ) -> Dialogue:
        """An event arrives; ``asked`` is the open ask that it answers, or its key; ``stamps`` are what the hub
        has written into its envelope besides.
        """
        self.silent()
        self._received += 1
        name = name or delivered_name(self.machine, event)
        ask = self._answered(asked) if asked is not None else None
        self.envelope = envelope(
            event,
            source,
            message_id or f"m{self._received}",
            correlation_id=correlation,
            reply_to=getattr(self.machine, "component_id", None) if ask is not None else None,
            fact=event.name if name != event.name else None,
        )
        self.envelope = replace(self.envelope, **stamps) if stamps else self.envelope  # type: ignore[arg-type]
        ctx = Context(self.envelope, self.now, self.at, ask)
        return self._did(self.machine.handle(name, event, ctx))

    def answer(
        self, event: Event, *, key: str | None = None, source: str = SOMEBODY, **more: Any
    ) -> Dialogue:
        """The only open ask is answered, or the one of this key."""
        if key is None:
            assert len(self.asks) == 1, f"which of the open asks is answered? {list(self.asks)}"
            key = next(iter(self.asks))
        return self.receive(event, source=source, asked=key, **more)

    def start(self) -> Dialogue:
        """The first hub has accepted us."""
        return self._input(self.machine.start, self.now, self.at)

    def hub_connected(self) -> Dialogue:
        """A hub has accepted us (again)."""
        return self._input(self.machine.hub_connected, self.now, self.at)

    def undeliverable(self, notice: NoComponentsAvailable, asked: Ask | str | None = None) -> Dialogue:
        """The hub found nobody; the ask stays open."""
        ask = self.asks[asked] if isinstance(asked, str) else asked
        return self._input(self.machine.undeliverable, notice, ask, self.now, self.at)

    def refuse(self, asked: Ask | str, error: ErrorInfo) -> Dialogue:
        """The hub refuses an ask."""
        return self._input(self.machine.refused, self._answered(asked), error, self.now, self.at)

    def hinder(self, asked: Ask | str, error: ErrorInfo) -> Dialogue:
        """The ledger cannot do it now; the ask stays open."""
        ask = self.asks[asked] if isinstance(asked, str) else asked
        return self._input(self.machine.hindered, ask, error, self.now, self.at)

    def after(self, seconds: float) -> Dialogue:
        """Time passes; no timer expires by that alone."""
        self.now += seconds
        return self

    def expire(self, key: str) -> Dialogue:
        """A timer that is set expires; if it is not due yet, the time moves to when it is."""
        assert key in self.timers, f"no timer {key!r} is set, only {list(self.timers)}"
        self.now = max(self.now, self.timers.pop(key))
        return self._input(self.machine.timer_expired, key, self.now, self.at)

    def finish(self, call_id: str, answer: Any = None) -> Dialogue:
        """The performer finishes a call; ``answer`` may be an exception."""
        assert call_id in self.calls, f"no call {call_id!r} is open, only {list(self.calls)}"
        del self.calls[call_id]
        return self._input(self.machine.call_finished, call_id, answer, self.now, self.at)

    def settle(self) -> Dialogue:
        """The inbox is empty for now."""
        return self._input(self.machine.settle, self.now, self.at)

    def drain(self) -> Dialogue:
        """The process is asked to end."""
        return self._input(self.machine.drain, self.now, self.at)

    def perform(self, effects: Effects) -> Dialogue:
        """Effects that a method of the machine has returned to whoever called it."""
        self.silent()
        return self._did(effects)

    def __rshift__(self, event: Event) -> Dialogue:
        return self.receive(event)

    # --- what comes out -----------------------------------------------------------------------

    def __lshift__(self, expected: Effect | Like) -> Dialogue:
        __tracebackhide__ = True
        assert self.pending, f"nothing more came, but this was expected:\n    {expected}"
        got = self.pending.pop(0)
        if isinstance(expected, Like):
            problem = expected.problem(got)
        elif got == expected:
            problem = None
        else:
            problem = difference(expected, got)
        left = "".join(f"\n    {effect}" for effect in self.pending) or " nothing"
        assert problem is None, f"{problem}\nexpected\n    {expected}\ngot\n    {got}\nand after it{left}"
        return self

    def silent(self) -> Dialogue:
        """Nothing (more) comes out."""
        __tracebackhide__ = True
        left = "".join(f"\n    {effect}" for effect in self.pending)
        assert not self.pending, f"nobody expected{left}"
        return self

    def take(self) -> Effects:
        """What is left, for looks that need no order."""
        left, self.pending = self.pending, []
        return left

    # --- what the link would do ---------------------------------------------------------------

    def _answered(self, asked: Ask | str) -> Ask:
        key = asked if isinstance(asked, str) else asked.key
        assert key in self.asks, f"no ask {key!r} is open, only {list(self.asks)}"
        return self.asks.pop(key)

    def _input(self, method: Any, *args: Any) -> Dialogue:
        self.silent()
        return self._did(method(*args))

    def _did(self, effects: Effects) -> Dialogue:
        self.pending = list(effects)
        for effect in effects:
            match effect:
                case Ask(key):
                    self.asks[key] = effect
                case CancelAsk(key):
                    self.asks.pop(key, None)
                case SetTimer(key, delay):
                    self.timers[key] = self.now + delay
                case CancelTimer(key):
                    self.timers.pop(key, None)
                case Call() if self.machine.role is Role.CLIENT:
                    pass  # it hands something over, and is never finished
                case Call(call_id, request):
                    assert call_id not in self.calls, f"the call {call_id!r} is open already"
                    self.calls[call_id] = request
                case CancelCall(call_id):
                    assert call_id in self.calls, f"no call {call_id!r} is open"
        return self
