"""What every machine is, and what it may ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, cast

from gleitzeitd.errors import ErrorInfo, NotPermitted, UnknownEvent
from gleitzeitd.events.base import Envelope, Event
from gleitzeitd.events.hub import NoComponentsAvailable
from gleitzeitd.machines.namespaces import refusal, trespass
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json
from gleitzeitd.record import positional_record

TRESPASSERS_NOTED = 1000
"""Peers that asked for what is not of their namespace, of which the journal is told."""


class Request:
    """Base of what a performer can be asked to do: a commit, a query, a provider's work."""

    __slots__ = ()


@positional_record
class Tell:
    """Send an event once. If it is lost, a later one makes up for it."""

    event: Event
    to: ComponentId | None = None
    """For events routed to one component: which."""
    correlation_id: str | None = None
    """Of the chain that the event belongs to, where that is not the chain being handled."""
    cause: str | None = None
    """The ``message_id`` that it follows from, where that is not the event being handled."""


@positional_record
class Ask:
    """Send an event, and repeat it until it is answered. The answer is handled with ``ctx.asked``."""

    key: str
    """Names the ask within the machine; an ask of a key that is open replaces it."""
    event: Event
    to: ComponentId | None = None
    correlation_id: str | None = None
    cause: str | None = None


@positional_record
class CancelAsk:
    """Stop repeating; an answer that still comes is dropped."""

    key: str


@positional_record
class Reply:
    """Answer the command that ``to`` stands for."""

    event: Event
    to: Envelope


@positional_record
class SetTimer:
    """Call ``timer_expired(key)`` after ``delay`` seconds; replaces a timer of the same key."""

    key: str
    delay: float


@positional_record
class CancelTimer:
    """Forget the timer, if it is still set."""

    key: str


@positional_record
class Call:
    """Have the role's performer carry out ``request``; the answer comes to ``call_finished``."""

    call_id: str
    request: Request


@positional_record
class CancelCall:
    """Have the performer stop a call; it still finishes, with whatever came of it."""

    call_id: str


@positional_record
class Note:
    """Write a journal record. ``message`` is constant; what varies is in ``fields``."""

    level: str
    """``debug``, ``info``, ``warning`` or ``error``."""
    message: str
    fields: dict[str, Json]


@positional_record
class Deliver:
    """Hub only: pass the frame being handled on, unread, under ``name``."""

    to: tuple[str, ...]
    """Connections, as the hub's runtime numbers them."""
    name: str
    fact: str | None = None
    """The name under which it was sent, where that differs."""


@positional_record
class Send:
    """Hub only: an event of the hub's own. The runtime makes its envelope."""

    to: tuple[str, ...]
    """Connections."""
    event: Event
    reply_to: ComponentId | None = None
    correlation_id: str | None = None
    """None: a chain begins here."""
    causation_id: str | None = None


@positional_record
class Disconnect:
    """Hub only: cut a connection."""

    connection: str
    reason: str


Effect = (
    Tell
    | Ask
    | CancelAsk
    | Reply
    | SetTimer
    | CancelTimer
    | Call
    | CancelCall
    | Note
    | Deliver
    | Send
    | Disconnect
)
Effects = list[Effect]


def caused(effects: Effects, cause: str | None) -> Effects:
    """The same effects; those events among them that name no cause follow from ``cause``."""
    return [
        replace(effect, cause=cause) if isinstance(effect, Tell | Ask) and effect.cause is None else effect
        for effect in effects
    ]


@positional_record
class Context:
    """What a handler may know besides the event."""

    envelope: Envelope
    now: float
    """Monotonic seconds of this process."""
    at: str
    """The wall clock, ISO 8601 UTC: to be shown to people, never compared."""
    asked: Ask | None = None
    """The ask that the event answers, if it answers one of ours."""


class Machine:
    """Base class of all machines.

    The handler of an event delivered as ``foo_bar`` is ``on_foo_bar(event, ctx)``.
    """

    role: ClassVar[Role]
    component_id: ComponentId
    _trespassers: frozenset[ComponentId] = frozenset()

    def start(self, now: float, at: str) -> Effects:
        """What to do first: once, when the process has a hub."""
        return []

    def handle(self, name: str, event: Event, ctx: Context) -> Effects:
        """Decide what follows from ``event``, delivered under ``name``.

        Raises:
            UnknownEvent: it is for another role.
        """
        if ctx.envelope.namespace is not None and (problem := trespass(event, ctx.envelope.namespace)):
            return [*self._note(event, problem, ctx), Reply(refusal(event, problem), ctx.envelope)]
        handler = cast("Callable[[Any, Context], Effects] | None", getattr(self, f"on_{name}", None))
        if handler is None:
            raise UnknownEvent(f"{name[:100]}: a {self.role} does not get this")
        return handler(event, ctx)

    def _note(self, event: Event, problem: NotPermitted, ctx: Context) -> list[Note]:
        """For the journal, once of each peer: whoever repeats himself does not fill it."""
        peer = ctx.envelope.source_component
        if peer in self._trespassers or len(self._trespassers) >= TRESPASSERS_NOTED:
            return []
        self._trespassers = self._trespassers | {peer}
        fields: dict[str, Json] = {"event": event.name, "peer": peer, "error": problem}
        return [Note("warning", "an event was refused", fields)]

    def call_finished(self, call_id: str, answer: Any, now: float, at: str) -> Effects:
        """Decide what follows from a finished call; ``answer`` may be an exception."""
        raise AssertionError(f"{self.role} made no call {call_id}")

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        """Decide what follows from an expired timer."""
        raise AssertionError(f"{self.role} set no timer {key}")

    def settle(self, now: float, at: str) -> Effects:
        """What follows from all that has just been handled: called once when the inbox is empty."""
        return []

    def hub_connected(self, now: float, at: str) -> Effects:
        """A hub can be reached (again): tell it what only we know."""
        return []

    def isolated(self) -> None:
        """No hub can be reached any more: what others do is not to be seen."""

    def undeliverable(self, notice: NoComponentsAvailable, asked: Ask | None, now: float, at: str) -> Effects:
        """The hub found nobody for an event of ours; an ask is repeated anyway."""
        return []

    def refused(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        """The hub refused an ask of ours; it is not repeated."""
        return []

    def hindered(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        """The ledger cannot do now what was asked, and may later; the ask is repeated, unless cancelled.

        No emission of it is under way any more: whoever cancels it can be sure that nothing comes of it.
        """
        return []

    def drain(self, now: float, at: str) -> Effects:
        """The process is asked to end: take nothing new; hand back or finish what is in flight."""
        return []

    def drained(self) -> bool:
        """Whether nothing is in flight any more, so that the process can end."""
        return True

    def status(self) -> str:
        """How it is, for heartbeats: ``healthy``, or ``draining`` when it takes nothing new."""
        return "healthy"

    def load(self) -> int:
        """What the hub's least-loaded choice compares: work in flight."""
        return 0

    def figures(self) -> dict[str, Json]:
        """The role's own figures for heartbeats, metrics and the status line."""
        return {}

    def inventory(self) -> list[list[Json]] | None:
        """For engines: the attempts held, as ``[workflow_id, task_id, attempt]``; else None."""
        return None

    def status_line(self) -> str:
        """For ``systemctl status``: what an operator wants to know, in one line."""
        return ", ".join(counted(n, key) for key, n in self.figures().items() if type(n) is int)


def counted(number: int, things: str) -> str:
    """``3 leases``, ``1 retry waiting``; ``things`` are plurals, as ``retries_waiting``."""
    words = things.replace("_", " ")
    if number == 1:
        words = re.sub(r"ies\b", "y", words)
        words = re.sub(r"(?<=\w)s\b", "", words)
    return f"{number} {words}"
