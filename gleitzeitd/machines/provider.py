"""A provider's calls: which run, which wait, and what becomes of each.

A call is named by the engine that makes it, and by workflow, task and attempt: nobody else ends it, or gets
its answer. It is *queued*, in the order of arrival, while as many run
as the provider has capacity for; then it is *running*; then it has *ended*, and its answer is *kept* for a
while:

    execute_method -> queued -> running -> ended, kept -> forgotten
                      refused: overloaded, out of service, no such method, wrong parameters

* Never more calls run than the capacity says, and never one of them twice at once.
* Whoever asks for a call is answered once, when it ends. Asked again while it is queued or running, the
  newest question is the one that is answered; asked again while the answer is kept, the answer is repeated.
* A cancelled call ends when the performer says that nothing of it is alive. A cancel that overtakes its call
  is remembered as the call's answer, so that the call does not run at all.
* Out of service (``shutdown``, or the process is to end), what runs goes on, and what is queued is handed
  back. When the process is to end, what still runs after a while is ended and handed back, too.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import (
    ErrorInfo,
    ExecutionFailed,
    GleitzeitError,
    MalformedData,
    MethodNotSupported,
    ParameterInvalid,
    ProviderNotAvailable,
    ProviderOverloaded,
    ResultInvalid,
    TaskCancelled,
    TaskError,
)
from gleitzeitd.events import Envelope, Event
from gleitzeitd.events import operations as o
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.machines.base import (
    Ask,
    Call,
    CancelCall,
    Context,
    Effects,
    Machine,
    Note,
    Reply,
    Request,
    SetTimer,
)
from gleitzeitd.machines.parcels import VALUE_SIZE, value_problem
from gleitzeitd.model.ledger import OutputChunk
from gleitzeitd.model.method_check import is_open
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId
from gleitzeitd.model.problem import dotted
from gleitzeitd.model.protocol import Method, Protocol, SchemaCheck
from gleitzeitd.model.resources import Resources
from gleitzeitd.model.secret import Place, open_places
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.record import positional_record, record

HEALTH = "health"
"""The id of the call that looks how the provider is; there is one at a time."""
_FORGET = "forget"
"""The timer after which kept answers are looked through."""
_HAND_BACK = "hand back"


@record
class Settings:
    """Section ``[calls]`` of a provider's TOML."""

    backlog: int | None = bounded(None, least=0, most=1_000_000)
    """Calls that are accepted beyond the capacity, and wait; as many as the capacity if it is not given. A
    call that finds this full is refused, and the task is offered again a little later."""
    keep_seconds: float = bounded(900.0, least=0, most=86_400, unit="seconds")
    """The longest time for which an answer is kept, to be repeated if it was lost on its way."""
    max_kept: int = bounded(10_000, least=0, most=10_000_000)
    """Answers kept; the oldest are forgotten first. A call that is asked for again then runs again."""
    hand_back_seconds: float = bounded(5.0, least=0.0, most=3600.0, unit="seconds")
    """How long running calls may go on when the provider is asked to end; then they are ended, and their
    tasks are given to others."""
    max_kept_bytes: int = bounded(64 * 2**20, least=0, most=2**40, unit="bytes")
    """What the results kept may take together as JSON; the oldest are forgotten first."""
    journal_output_bytes: int = bounded(64 * 2**10, least=0, most=2**30, unit="bytes")
    """What a call writes goes into the journal, too, up to this size. 0: nothing of it does."""
    result_bytes: int = bounded(VALUE_SIZE, least=1000, most=VALUE_SIZE, unit="bytes")
    """A result that takes more as JSON fails its task, with TASK_RESULT_INVALID."""


@record
class Work(Request):
    """Call the provider. Answered with :class:`Finished`."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    method: str
    parameters: dict[str, Json]
    timeout: float | None
    """Seconds, from the moment the work begins."""
    silence: float | None = None
    """Seconds that the work may be without output and progress."""
    resources: Resources | None = None
    correlation_id: str
    cause: str | None = field(default=None, compare=False)
    """The ``message_id`` of the question that made it run; the same work if another one had."""


@record
class CheckHealth(Request):
    """See how the provider is. Answered with ``ok``, or with what is wrong."""


@record
class Finished:
    """What came of a call."""

    result: Json = None
    error: ErrorInfo | None = None
    """Why there is no result."""
    output: list[OutputChunk] = field(default_factory=list)
    """The tail of what the work wrote."""
    started_at: str = ""
    finished_at: str = ""


@dataclass(slots=True)
class _Call:
    work: Work
    execute: Envelope
    """The newest question for it."""
    keep: float
    cancel: Envelope | None = None
    alone: bool = False
    once: bool = False
    handed_back: bool = False
    """It is being ended since the process is."""


@positional_record
class _Kept:
    answer: Event
    until: float
    size: int


@dataclass(slots=True)
class ProviderMachine(Machine):
    """One provider process."""

    role = Role.PROVIDER

    component_id: ComponentId
    protocol: Protocol
    capacity: int
    """Calls that run at once, at least 1."""
    check: SchemaCheck
    settings: Settings = field(default_factory=Settings)
    epoch: int = 0
    """That of the link's identity."""
    _in_service: bool = True
    _draining: bool = False
    """It is about to end, or an operator wants it to take nothing new."""
    _ending: bool = False
    _connected_before: bool = False
    _running: dict[str, _Call] = field(default_factory=dict)
    _queued: OrderedDict[str, _Call] = field(default_factory=OrderedDict)
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict)
    _kept_bytes: int = 0
    _forgetting: bool = False
    _health_askers: dict[ComponentId, Envelope] = field(default_factory=dict)
    _ended: int = 0
    _failed: int = 0

    # --- being known --------------------------------------------------------------------------

    def start(self, now: float, at: str) -> Effects:
        """Say what is served, and by whom."""
        return self._register()

    def hub_connected(self, now: float, at: str) -> Effects:
        """The hub has told the registries that we were gone."""
        again, self._connected_before = self._connected_before, True
        return self._register() if again else []

    def on_initialize(self, event: r.Initialize, ctx: Context) -> Effects:
        """It also brings back what a registry had taken out of service."""
        self._in_service = not self._draining
        return self._register()

    def on_protocol_registered(self, event: r.ProtocolRegistered, ctx: Context) -> Effects:
        return []  # the ask is closed; that is all there is to know

    def on_provider_registered(self, event: r.ProviderRegistered, ctx: Context) -> Effects:
        return []  # as above

    def _register(self) -> Effects:
        return [Ask("protocol", r.RegisterProtocol(protocol=self.protocol)), self._announce()]

    def _announce(self) -> Ask:
        room = self.capacity if self._in_service else 0
        hello = r.RegisterProvider(protocol=self.protocol.name, capacity=room, epoch=self.epoch)
        return Ask("provider", hello)

    # --- calls --------------------------------------------------------------------------------

    def on_execute_method(self, event: v.ExecuteMethod, ctx: Context) -> Effects:
        call_id = _call_id(event, ctx)
        call = self._running.get(call_id) or self._queued.get(call_id)
        if call is not None:
            call.execute = ctx.envelope
            return []
        if (kept := self._kept_answer(call_id, ctx.now)) is not None:
            return [Reply(kept, ctx.envelope)]
        if (error := self._refusal(event)) is not None:
            return [Reply(_error(event, error), ctx.envelope)]
        work = Work(
            workflow_id=event.workflow_id,
            task_id=event.task_id,
            attempt=event.attempt,
            method=event.method,
            parameters=event.parameters,
            timeout=event.timeout,
            silence=event.silence,
            resources=event.resources,
            correlation_id=ctx.envelope.correlation_id,
            cause=ctx.envelope.message_id,
        )
        self._queued[call_id] = _Call(work, ctx.envelope, event.keep, alone=event.alone, once=event.once)
        return self._begin()

    def _refusal(self, event: v.ExecuteMethod) -> TaskError | None:
        if event.epoch not in (0, self.epoch):
            return ProviderNotAvailable(f"{self.component_id} has been started again since the call was made")
        if not self._in_service:
            return ProviderOverloaded(f"{self.component_id} takes no more calls: it is going out of service")
        backlog = self.capacity if self.settings.backlog is None else self.settings.backlog
        if self.load() >= self.capacity + backlog:
            return ProviderOverloaded(
                f"{self.component_id} has no room: {len(self._running)} calls run, {len(self._queued)} wait"
            )
        method = self.protocol.methods.get(event.method)
        if method is None:
            hint = did_you_mean(event.method, self.protocol.methods)
            return MethodNotSupported(f"{self.protocol.name} has no method {event.method!r}{hint}")
        try:
            problems = self._problems(method.parameters, event.parameters, "")
            if problems and (unknown := open_places(event.parameters)):
                problems = self._problems(method.parameters, event.parameters, "", unknown)
        except MalformedData as problem:
            return ParameterInvalid(f"{event.method}: the schema of its parameters cannot be used: {problem}")
        return ParameterInvalid(f"{event.method}: {problems}") if problems else None

    def _begin(self) -> Effects:
        effects: Effects = []
        while self._queued and len(self._running) < self.capacity:
            call_id, call = next(iter(self._queued.items()))
            if self._running and (call.alone or any(other.alone for other in self._running.values())):
                break  # nothing overtakes a call that has to be alone, or it would wait for ever
            del self._queued[call_id]
            self._running[call_id] = call
            effects.append(Call(call_id, call.work))
        return effects

    def call_finished(self, call_id: str, answer: object, now: float, at: str) -> Effects:
        """A call has ended, to its last process; or the provider has said how it is."""
        if call_id == HEALTH:
            return self._healthy(answer)
        call = self._running.pop(call_id)
        return [*self._end(call_id, call, *self._outcome(call, answer, at), now), *self._begin()]

    def _outcome(self, call: _Call, answer: object, at: str) -> tuple[v.MethodResult | v.ProviderError, int]:
        """The answer, and the bytes of the result in it."""
        work = call.work
        finished = answer if isinstance(answer, Finished) else Finished(error=_info(answer), finished_at=at)
        error, size = finished.error, 0
        if error is None:
            try:
                size = self._result_size(work.method, finished.result)
            except ResultInvalid as problem:
                error = problem.info()
        if error is not None:
            if call.handed_back and error.code == TaskCancelled.code:
                error = self._why_handed_back(call)
            failed = v.ProviderError(
                workflow_id=work.workflow_id,
                task_id=work.task_id,
                attempt=work.attempt,
                error=error,
                output=finished.output,
                started_at=finished.started_at,
                finished_at=finished.finished_at,
            )
            return failed, 0
        done = v.MethodResult(
            workflow_id=work.workflow_id,
            task_id=work.task_id,
            attempt=work.attempt,
            result=finished.result,
            output=finished.output,
            started_at=finished.started_at,
            finished_at=finished.finished_at,
        )
        return done, size

    def _result_size(self, name: str, result: Json) -> int:
        method: Method = self.protocol.methods[name]
        try:
            text = json.dumps(result, ensure_ascii=False, allow_nan=False)
            size = len(text.encode())
            unfit = value_problem(result, text, "calls.result_bytes", self.settings.result_bytes)
            problems = self._problems(method.returns, result, "result") or unfit
        except MalformedData as problem:
            raise ResultInvalid(f"{name}: the schema of its result cannot be used: {problem}") from None
        except (TypeError, ValueError, RecursionError) as problem:
            raise ResultInvalid(f"{name}: the result is no JSON: {problem}") from None
        if problems:
            raise ResultInvalid(f"{name}: {problems}")
        return size

    def _problems(
        self, schema: dict[str, Json], value: Json, root: str, unknown: Collection[Place] = ()
    ) -> str:
        """All problems in one line; empty if there is none. An empty schema admits anything."""
        if not schema:
            return ""
        found = [p for p in self.check(schema, value) if not is_open(p.path, unknown)]
        places = [(dotted((root, *p.path) if root else p.path), p.message) for p in found]
        return "; ".join(f"{place}: {message}" if place else message for place, message in places)

    def _end(self, call_id: str, call: _Call, event: Event, size: int, now: float) -> Effects:
        self._ended += 1
        self._failed += isinstance(event, v.ProviderError)
        effects: Effects = [Reply(event, call.execute)]
        if call.cancel is not None:
            effects.append(Reply(event, call.cancel))
        return effects + self._keep(call_id, event, size, call.keep, now)

    # --- the end of calls that nobody wants any more ------------------------------------------

    def on_cancel_method(self, event: v.CancelMethod, ctx: Context) -> Effects:
        call_id = _call_id(event, ctx)
        if (running := self._running.get(call_id)) is not None:
            first, running.cancel = running.cancel is None, ctx.envelope
            return [CancelCall(call_id)] if first else []
        if (kept := self._kept_answer(call_id, ctx.now)) is not None:
            return [Reply(kept, ctx.envelope)]
        cancelled = _error(event, TaskCancelled(event.reason or "cancelled"))
        queued = self._queued.pop(call_id, None)
        if queued is not None:
            queued.cancel = ctx.envelope
            return self._end(call_id, queued, cancelled, 0, ctx.now)
        keep = self.settings.keep_seconds
        return [Reply(cancelled, ctx.envelope), *self._keep(call_id, cancelled, 0, keep, ctx.now)]

    def on_shutdown(self, event: r.Shutdown, ctx: Context) -> Effects:
        note = Note("info", "taken out of service by the registry", {"reason": event.reason})
        return [note, *self._leave_service()]

    def drain(self, now: float, at: str) -> Effects:
        """Take nothing more, and hand back what has not begun."""
        self._draining = self._ending = True
        return [*self._leave_service(), SetTimer(_HAND_BACK, self.settings.hand_back_seconds)]

    def _hand_back(self) -> Effects:
        """The process cannot wait any longer for what runs."""
        effects: Effects = []
        for call_id, call in self._running.items():
            if call.cancel is None and not call.handed_back:
                call.handed_back = True
                effects.append(CancelCall(call_id))
        return effects

    def _why_handed_back(self, call: _Call) -> ErrorInfo:
        why = f"{self.component_id} was shut down; the work was ended"
        return (ProviderNotAvailable(why) if call.once else ProviderOverloaded(why)).info()

    def on_drain_component(self, event: o.DrainComponent, ctx: Context) -> Effects:
        """An operator's wish: what runs has all the time that it needs."""
        before = self._draining
        self._draining = self._ending or not event.undo
        effects: Effects = []
        if self._draining and not before:
            effects = self._leave_service()
        elif before and not self._draining:
            self._in_service = True  # a registry that thinks otherwise says so at its next check
            effects = [self._announce()]
        state = o.ComponentDraining(draining=self._draining, load=self.load())
        return [Reply(state, ctx.envelope), *effects]

    def _leave_service(self) -> Effects:
        self._in_service = False
        effects: Effects = [self._announce()]
        for call in self._queued.values():
            # Not kept: the attempt has not begun, and may be tried again.
            error = ProviderOverloaded(f"{self.component_id} went out of service before the call began")
            effects.append(Reply(_error(call.work, error), call.execute))
        self._queued.clear()
        return effects

    def drained(self) -> bool:
        return not self._running and not self._queued

    # --- answers that may have to be repeated -------------------------------------------------

    def _kept_answer(self, call_id: str, now: float) -> Event | None:
        kept = self._kept.get(call_id)
        return kept.answer if kept is not None and kept.until > now else None

    def _keep(self, call_id: str, event: Event, size: int, seconds: float, now: float) -> Effects:
        seconds = min(seconds, self.settings.keep_seconds)
        self._forget(call_id)
        if seconds <= 0 or size > self.settings.max_kept_bytes or not self.settings.max_kept:
            return []
        self._kept[call_id] = _Kept(event, now + seconds, size)
        self._kept_bytes += size
        while len(self._kept) > self.settings.max_kept or self._kept_bytes > self.settings.max_kept_bytes:
            self._forget(next(iter(self._kept)))
        if self._forgetting:
            return []
        self._forgetting = True
        return [SetTimer(_FORGET, seconds)]

    def _forget(self, call_id: str) -> None:
        kept = self._kept.pop(call_id, None)
        if kept is not None:
            self._kept_bytes -= kept.size

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        """Some kept answers are out of date, or the time to finish is over."""
        if key == _HAND_BACK:
            return self._hand_back()
        for call_id in [call_id for call_id, kept in self._kept.items() if kept.until <= now]:
            self._forget(call_id)
        self._forgetting = bool(self._kept)
        if not self._forgetting:
            return []
        # Never more often than once per second, however many different times there are.
        return [SetTimer(_FORGET, max(1.0, min(kept.until for kept in self._kept.values()) - now))]

    # --- how it is ----------------------------------------------------------------------------

    def on_health_check(self, event: r.HealthCheck, ctx: Context) -> Effects:
        asked = bool(self._health_askers)
        self._health_askers[ctx.envelope.source_component] = ctx.envelope
        return [] if asked else [Call(HEALTH, CheckHealth())]

    def _healthy(self, answer: object) -> Effects:
        askers, self._health_askers = self._health_askers, {}
        health = answer if isinstance(answer, str) else _info(answer).message
        status = r.HealthStatus(health=health, running=len(self._running))
        return [Reply(status, envelope) for envelope in askers.values()]

    def status(self) -> str:
        return "draining" if self._draining else "healthy"

    def load(self) -> int:
        return len(self._running) + len(self._queued)

    def figures(self) -> dict[str, Json]:
        return {
            "running": len(self._running),
            "queued": len(self._queued),
            "capacity": self.capacity,
            "finished": self._ended,
            "failed": self._failed,
        }

    def status_line(self) -> str:
        ran = f"{self._ended} finished, {self._failed} of them failed"
        return f"{len(self._running)} of {self.capacity} running, {len(self._queued)} queued, {ran}"


def _call_id(event: v.ExecuteMethod | v.CancelMethod, ctx: Context) -> str:
    engine = ctx.envelope.source_component
    return f"{event.workflow_id}/{event.task_id}/{event.attempt}@{engine}"


def _error(about: v.ExecuteMethod | v.CancelMethod | Work, error: TaskError) -> v.ProviderError:
    return v.ProviderError(
        workflow_id=about.workflow_id, task_id=about.task_id, attempt=about.attempt, error=error.info()
    )


def _info(answer: object) -> ErrorInfo:
    match answer:
        case ErrorInfo():
            return answer
        case GleitzeitError():
            return answer.info()
        case _:
            return ExecutionFailed(f"{type(answer).__name__}: {answer}").info()
