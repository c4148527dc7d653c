"""The execution engine: one attempt of a task from its lease to its durable end.

An attempt waits for a provider with room, is called, and reports: its result, its error, or that its
work has been ended. It holds a slot until the ledger has answered that report. The ledger decides;
an answer ``stale`` means that the attempt is another's by now, and its work is ended and discarded.
The engine's inventory, sent with every heartbeat, lists every attempt that it holds.

    waiting -> calling -> reporting
                  |-> ending -> reporting      cancelled, or over its deadline

Between waiting and calling, an attempt that may not run twice is *starting*: until the ledger has noted the
start, so that what may have run is never taken for what has not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from gleitzeitd import errors
from gleitzeitd.bounds import bounded
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Event
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import operations as o
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import (
    Ask,
    CancelAsk,
    CancelTimer,
    Context,
    Effects,
    Note,
    Reply,
    SetTimer,
    Tell,
    caused,
)
from gleitzeitd.machines.lessors import LeaseTaker, Lessors
from gleitzeitd.machines.room import DISCONNECTED_SECONDS, UNREACHABLE_SECONDS, Offer, Room
from gleitzeitd.machines.run import Phase, Run, name_of
from gleitzeitd.machines.starts import HELD_SECONDS, Starts
from gleitzeitd.model.ledger import Attempt
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId
from gleitzeitd.plain import Json
from gleitzeitd.record import record


@record
class Settings:
    """Section ``[execution_engine]`` of execution-engine.toml."""

    slots: int = bounded(512, least=1, most=10_000)
    """Attempts that the engine holds at once. Providers have limits of their own."""
    overtime_seconds: float = bounded(5.0, least=0.5, most=600.0, unit="seconds")
    """How long past a task's timeout a provider has to end the work, before the engine ends the call."""
    hand_back_seconds: float = bounded(5.0, least=0.0, most=3600.0, unit="seconds")
    """How long running tasks may go on when the engine is asked to end; then they are handed back."""


_TICK = "request"
_HAND_BACK = "hand back"
_STARTS = "starts"
TICK_SECONDS = 1.0
KEPT_FREE = 8  # of so many slots one is kept free of each protocol, if there are others
UNWANTED_LIMIT = 1000
"""Attempts remembered that were cancelled before they had come; the oldest are forgotten."""


_HANDED_BACK = errors.ProviderOverloaded("the engine is shutting down; the task is handed back").info()


def _lost(why: str) -> ErrorInfo:
    return errors.ProviderNotAvailable(why).info()


@dataclass(slots=True)
class ExecutionEngine(LeaseTaker):
    """Runs what it is given, in a fixed number of slots."""

    role = Role.EXECUTION_ENGINE

    component_id: ComponentId
    settings: Settings = field(default_factory=Settings)
    _runs: dict[Attempt, Run] = field(default_factory=dict)
    _waiting: dict[str, OrderedDict[Attempt, None]] = field(default_factory=dict)  # protocol -> in order
    _room: Room = field(default_factory=Room)
    _received: dict[ComponentId, int] = field(default_factory=dict)
    _unwanted: dict[Attempt, None] = field(default_factory=dict)  # cancelled before they have come
    _starts: Starts = field(default_factory=Starts)
    lessors: Lessors = field(default_factory=Lessors)
    _offer: Offer = field(default_factory=lambda: Offer(-1, {}))
    """What queue managers were told last."""
    _draining: bool = False
    """It takes nothing new: it is about to end, or an operator wants it so."""
    _ending: bool = False
    _isolated: bool = False
    _completed: int = 0
    _failed: int = 0

    # --- slots and room -----------------------------------------------------------------------------

    def start(self, now: float, at: str) -> Effects:
        return [Ask("providers", r.FindProvider()), SetTimer(_TICK, TICK_SECONDS)]

    def isolated(self) -> None:
        self._isolated = True

    def hub_connected(self, now: float, at: str) -> Effects:
        # What runs may be another's by now: the ledger says so when it is told of the start once more. Not of
        # what may not run twice: that is nobody else's, and what comes of it is still wanted.
        runs = [run for run in self._runs.values() if run.phase is Phase.CALLING and not run.task.once]
        again = [self._started(run) for run in runs] if self._isolated else []
        self._isolated = False
        return [self._capacity(), Ask("providers", r.FindProvider()), *again]

    def _capacity(self) -> Tell:
        return Tell(e.CapacityUpdate(slots=self.settings.slots, draining=self._draining))

    def _request(self, *, always: bool) -> Effects:
        if self._draining:
            return []
        free = max(self.settings.slots - len(self._runs), 0)
        waiting = {name: len(attempts) for name, attempts in self._waiting.items()}
        room, calls = self._room.left(waiting), self._room.calls(waiting)
        if len(room) > 1:  # a provider that hangs must not take the slots of all others with it
            most = self.settings.slots - self.settings.slots // KEPT_FREE
            room = {name: min(left, max(most - calls.get(name, 0), 0)) for name, left in room.items()}
        if not always and not self._offer.is_outdated(free, room):
            return []
        self._offer = Offer(free, room)
        request = q.RequestNextTask(slots=free, room=room, calls=calls, received=dict(self._received))
        return [Tell(request)]

    def settle(self, now: float, at: str) -> Effects:
        """Slots that have become free are offered at once, if few are known to be."""
        return self._request(always=False)

    # --- providers ----------------------------------------------------------------------------------

    def on_provider_found(self, event: r.ProviderFound, ctx: Context) -> Effects:
        if ctx.asked is None:
            return []
        self._room.know_only(event.providers)
        return self._dispatch(list(self._waiting), ctx.at)

    def on_provider_registered(self, event: r.ProviderRegistered, ctx: Context) -> Effects:
        self._room.know(event.provider)
        again = self._order_again(event.provider.component_id, other_than=event.provider.epoch)
        return again + self._dispatch([event.provider.protocol], ctx.at)

    def on_component_disconnected(self, event: h.ComponentDisconnected, ctx: Context) -> Effects:
        if event.component_type is Role.QUEUE_MANAGER:
            self._received.pop(event.component_id, None)  # both sides count anew
        if event.component_type is not Role.PROVIDER:
            return []
        self._room.doubt(event.component_id, ctx.now + DISCONNECTED_SECONDS)
        return self._not_begun(event.component_id, ctx.at) + self._order_again(event.component_id)

    def _order_again(self, provider: ComponentId, other_than: int = 0) -> Effects:
        """Make the calls in a provider again, at once: its connection has ended, or its process is another.

        One that is still there, by another hub or by a new connection, takes the repeat for what it is. A
        process that was started again refuses what its former self was asked; where nobody is, hubs say so.
        """
        return [
            self._order(run)
            for run in self._runs.values()
            if run.provider == provider
            and run.phase in (Phase.CALLING, Phase.ENDING)
            and (not other_than or other_than != run.epoch)
        ]

    def undeliverable(
        self, notice: h.NoComponentsAvailable, asked: Ask | None, now: float, at: str
    ) -> Effects:
        """A provider may be on its way back to a hub that was started again: it has some time."""
        orders = (v.ExecuteMethod, v.CancelMethod)
        if asked is None or not isinstance(asked.event, orders) or asked.to is None:
            return []
        if now < self._room.doubt(asked.to, now + UNREACHABLE_SECONDS):
            return []
        return self._provider_gone(asked.to, "it is not connected", at)

    def _not_begun(self, provider: ComponentId, at: str) -> Effects:
        early = errors.ProviderOverloaded(f"{provider} went away before the call").info()
        starting = [run for run in self._runs.values() if run.phase is Phase.STARTING]
        return [x for run in starting if run.provider == provider for x in self._report_error(run, early, at)]

    def _provider_gone(self, provider: ComponentId, why: str, at: str) -> Effects:
        self._room.forget(provider)
        effects = self._not_begun(provider, at)
        for run in [run for run in self._runs.values() if run.provider == provider]:
            if run.phase in (Phase.CALLING, Phase.ENDING):
                lost = errors.ProviderNotAvailable(f"{provider} went away during the call: {why}")
                effects += self._report_error(run, run.error or lost.info(), at)
        return effects

    def _dispatch(self, protocols: Iterable[str], at: str) -> Effects:
        """Call providers with attempts that wait for room."""
        effects: Effects = []
        for protocol in protocols:
            waiting = self._waiting.get(protocol, OrderedDict())
            while waiting:
                provider = self._room.best(protocol)
                if provider is None:
                    break
                attempt, _ = waiting.popitem(last=False)
                effects += self._call(self._runs[attempt], provider, at)
            if not waiting:
                self._waiting.pop(protocol, None)
        return effects

    # --- attempts -----------------------------------------------------------------------------------

    def take(self, event: q.ExecuteTask, ctx: Context) -> Effects:
        task = event.task
        self._received[ctx.envelope.source_component] = event.number
        self._offer.take(task.protocol)
        run = Run(task, ctx.envelope.correlation_id, ctx.envelope.message_id)
        if run.attempt in self._runs:
            return []
        self._runs[run.attempt] = run
        if run.attempt in self._unwanted:
            del self._unwanted[run.attempt]
            early = errors.TaskCancelled("cancelled before it had come").info()
            return caused(self._report_error(run, early, ctx.at), run.cause)
        if self._draining:
            return caused(self._report_error(run, _HANDED_BACK, ctx.at), run.cause)
        self._waiting.setdefault(task.protocol, OrderedDict())[run.attempt] = None
        return self._dispatch([task.protocol], ctx.at)

    def _call(self, run: Run, provider: ComponentId, at: str) -> Effects:
        run.provider, run.epoch, run.started_at = provider, self._room.epoch(provider), at
        self._room.take(provider)
        if run.task.once:
            run.phase = Phase.STARTING
            return [self._started(run)]
        call, *timer = self._execute(run)
        if self._starts.is_held(run.attempt):
            return [call, *timer]
        return [call, self._started(run), SetTimer(_STARTS, HELD_SECONDS), *timer]

    def _started(self, run: Run) -> Ask:
        started = run.started(self.component_id)
        return Ask(
            f"start/{name_of(run.attempt)}", started, correlation_id=run.correlation_id, cause=run.cause
        )

    def _tell_held(self) -> Effects:
        runs = [self._runs.get(attempt) for attempt in self._starts.due()]
        effects: Effects = [self._started(x) for x in runs if x and x.phase in (Phase.CALLING, Phase.ENDING)]
        return effects if self._starts.idle else [*effects, SetTimer(_STARTS, HELD_SECONDS)]

    def _execute(self, run: Run) -> Effects:
        run.phase = Phase.CALLING
        if run.task.timeout is None:
            return [self._order(run)]
        limit = run.task.timeout + self.settings.overtime_seconds
        return [self._order(run), SetTimer(f"deadline/{name_of(run.attempt)}", limit)]

    def _order(self, run: Run) -> Ask:
        key = f"call/{name_of(run.attempt)}"
        return Ask(key, run.order(), to=run.provider, correlation_id=run.correlation_id, cause=run.cause)

    def _run_of(self, event: v.MethodResult | v.ProviderError, ctx: Context) -> Run | None:
        """The attempt that is answered, if it is the provider called that answers."""
        run = self._runs.get(Attempt(event.workflow_id, event.task_id, event.attempt))
        if run is None or run.provider != ctx.envelope.source_component:
            return None
        self._room.heard(run.provider)
        return run if run.phase in (Phase.CALLING, Phase.ENDING) else None

    def on_method_result(self, event: v.MethodResult, ctx: Context) -> Effects:
        run = self._run_of(event, ctx)
        if run is None:
            return []
        done = e.TaskCompleted(
            workflow_id=event.workflow_id,
            task_id=event.task_id,
            attempt=event.attempt,
            result=event.result,
            output=event.output,
            started_at=event.started_at,
            finished_at=event.finished_at or ctx.at,
        )
        self._completed += 1
        return self._report(run, done, ctx.at)

    def on_provider_error(self, event: v.ProviderError, ctx: Context) -> Effects:
        run = self._run_of(event, ctx)
        if run is None:
            return []
        failed = e.TaskFailed(
            workflow_id=event.workflow_id,
            task_id=event.task_id,
            attempt=event.attempt,
            error=run.error or event.error,
            output=event.output,
            started_at=event.started_at,
            finished_at=event.finished_at or ctx.at,
        )
        self._failed += 1
        return self._report(run, failed, ctx.at)

    def _report_error(self, run: Run, error: ErrorInfo, at: str) -> Effects:
        return self._report(run, run.failed(error, at), at)

    def _report(self, run: Run, event: Event, at: str) -> Effects:
        """From here on only the ledger's answer matters; the provider has room for another call."""
        effects = self._leave_provider(run)
        run.phase = Phase.REPORTING
        name = name_of(run.attempt)
        effects += [
            CancelAsk(f"start/{name}"),
            Ask(f"end/{name}", event, correlation_id=run.correlation_id),
        ]
        return effects + self._dispatch([run.task.protocol], at)

    def _leave_provider(self, run: Run) -> Effects:
        waiting = self._waiting.get(run.task.protocol)
        if waiting is not None and run.phase is Phase.WAITING:
            waiting.pop(run.attempt, None)
        if run.phase in (Phase.WAITING, Phase.REPORTING) or run.provider is None:
            return []
        self._room.give_back(run.provider)
        name = name_of(run.attempt)
        effects: Effects = [CancelAsk(f"call/{name}")]
        if run.task.timeout is not None or run.phase is Phase.ENDING:
            effects.append(CancelTimer(f"deadline/{name}"))
        return effects

    # --- the ledger's answers -------------------------------------------------------------------------

    def on_data_saved(self, event: p.DataSaved, ctx: Context) -> Effects:
        if ctx.asked is None:
            return []
        asked = ctx.asked.event
        assert isinstance(asked, (e.TaskStarted, e.TaskCompleted, e.TaskFailed))
        run = self._runs.get(Attempt(asked.workflow_id, asked.task_id, asked.attempt))
        if run is None:
            return []
        if isinstance(asked, e.TaskStarted) and event.status != "stale":
            return self._execute(run) if run.phase is Phase.STARTING else []
        if event.status != "stale":
            del self._runs[run.attempt]
            return []
        fields: dict[str, Json] = {
            "workflow_id": asked.workflow_id,
            "task_id": asked.task_id,
            "attempt": asked.attempt,
        }
        return [Note("warning", "an outdated attempt was discarded", fields), *self._discard(run, ctx.at)]

    def _discard(self, run: Run, at: str) -> Effects:
        """The attempt is another's: its work is ended, and nobody is told what came of it."""
        effects = self._leave_provider(run)
        if run.phase in (Phase.CALLING, Phase.ENDING) and run.provider is not None:
            order = run.cancellation("the attempt is outdated")
            effects.append(Tell(order, to=run.provider, correlation_id=run.correlation_id))
        effects += [CancelAsk(f"start/{name_of(run.attempt)}"), CancelAsk(f"end/{name_of(run.attempt)}")]
        del self._runs[run.attempt]
        return effects + self._dispatch([run.task.protocol], at)

    def on_persistence_error(self, event: p.PersistenceError, ctx: Context) -> Effects:
        """The ledger will never take this report; another attempt may be luckier."""
        if ctx.asked is None:
            return []
        fields: dict[str, Json] = {"event": ctx.asked.event.name, "error": event.error}
        effects: Effects = [Note("error", "the ledger refused", fields)]
        if isinstance(ctx.asked.event, (e.TaskStarted, e.TaskCompleted, e.TaskFailed)):
            self._forget(ctx.asked.event)
        return effects

    def refused(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        """The hub does not pass it on, now or ever: it may be too large."""
        event = asked.event
        effects: Effects = [Note("error", "the hub refused", {"event": event.name, "error": error})]
        match event:
            case v.ExecuteMethod() | v.CancelMethod():
                run = self._runs.get(Attempt(event.workflow_id, event.task_id, event.attempt))
                if run is not None and run.phase in (Phase.CALLING, Phase.ENDING):
                    effects += self._report_error(run, error, at)
            case e.TaskCompleted():
                run = self._runs.get(Attempt(event.workflow_id, event.task_id, event.attempt))
                if run is not None:
                    effects += self._report_error(run, error, at)
            case e.TaskStarted() | e.TaskFailed():
                self._forget(event)
        return effects

    def _forget(self, event: e.TaskStarted | e.TaskCompleted | e.TaskFailed) -> None:
        """No longer listed in the inventory, the attempt is taken back by the ledger."""
        run = self._runs.get(Attempt(event.workflow_id, event.task_id, event.attempt))
        if run is not None and (run.phase is Phase.STARTING or not isinstance(event, e.TaskStarted)):
            self._leave_provider(run)
            del self._runs[run.attempt]

    # --- ending work before its time --------------------------------------------------------------------

    def on_cancel_task(self, event: e.CancelTask, ctx: Context) -> Effects:
        attempt = Attempt(event.workflow_id, event.task_id, event.attempt)
        run = self._runs.get(attempt)
        if run is None:
            # The order to run it comes from another, by another hub perhaps: it may be on its way.
            self._unwanted[attempt] = None
            if len(self._unwanted) > UNWANTED_LIMIT:
                del self._unwanted[next(iter(self._unwanted))]
            return []
        if run.phase is Phase.REPORTING:
            return []
        error = errors.TaskCancelled(event.reason or "cancelled").info()
        if run.phase in (Phase.WAITING, Phase.STARTING):
            return self._report_error(run, error, ctx.at)
        return self._end_call(run, error)

    def _end_call(self, run: Run, error: ErrorInfo) -> Effects:
        """Have the provider end the work; if it does not say so in time, the call has ended anyway."""
        if run.phase is Phase.ENDING:
            return []
        run.phase, run.error = Phase.ENDING, error
        timer = SetTimer(f"deadline/{name_of(run.attempt)}", self.settings.overtime_seconds)
        return [self._order(run), timer]

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        if key == _TICK:
            return [SetTimer(_TICK, TICK_SECONDS), *self._request(always=True)]
        if key == _STARTS:
            return self._tell_held()
        if key == _HAND_BACK:
            effects: Effects = []
            lost = _lost("the engine is shutting down; the work was ended")
            for called in [run for run in self._runs.values() if run.phase is Phase.CALLING]:
                ended = self._end_call(called, lost if called.task.once else _HANDED_BACK)
                effects += caused(ended, called.cause)
            return effects
        workflow_id, task_id, number = key.removeprefix("deadline/").rsplit("/", 2)
        run = self._runs.get(Attempt(WorkflowId(workflow_id), TaskId(task_id), int(number)))
        if run is None or run.phase is Phase.REPORTING:
            return []
        timeout = errors.TaskTimeout(f"the attempt took longer than its timeout of {run.task.timeout} s")
        if run.phase is Phase.CALLING:
            return caused(self._end_call(run, timeout.info()), run.cause)
        error = run.error or timeout.info()
        if run.task.once:  # its work may go on, and only whoever knows the task can judge that
            error = _lost(f"{run.provider} has not ended the work in time: {error.message}")
        return caused(self._report_error(run, error, at), run.cause)

    def drain(self, now: float, at: str) -> Effects:
        self._draining = self._ending = True
        timer = SetTimer(_HAND_BACK, self.settings.hand_back_seconds)
        return [self._capacity(), timer, *self._hand_back(at)]

    def _hand_back(self, at: str) -> Effects:
        """What has not begun goes to others."""
        effects: Effects = []
        for run in [x for x in self._runs.values() if x.phase in (Phase.WAITING, Phase.STARTING)]:
            effects += caused(self._report_error(run, _HANDED_BACK, at), run.cause)
        return effects

    def on_drain_component(self, event: o.DrainComponent, ctx: Context) -> Effects:
        """An operator's wish: unlike :meth:`drain` it gives what runs all the time that it needs."""
        effects: Effects = []
        if not event.undo:
            self._draining = True
            effects = [self._capacity(), *self._hand_back(ctx.at)]
        elif self._draining and not self._ending:
            self._draining = False
            effects = [self._capacity(), *self._request(always=True)]
        state = o.ComponentDraining(draining=self._draining, load=self.load())
        return [Reply(state, ctx.envelope), *effects]

    def drained(self) -> bool:
        return not self._runs

    # --- how it is --------------------------------------------------------------------------------------

    def status(self) -> str:
        return "draining" if self._draining else "healthy"

    def load(self) -> int:
        return len(self._runs)

    def inventory(self) -> list[list[Json]] | None:
        return [list(attempt) for attempt in self._runs]

    def figures(self) -> dict[str, Json]:
        return {
            "running": len(self._runs),
            "slots": self.settings.slots,
            "completed": self._completed,
            "failed": self._failed,
            "providers": len(self._room),
            **self.lessors.figures(),
        }
