"""A client's half of a conversation: requests that get one answer each, and workflows to watch.

Everything a person or a program is to be told leaves as a :class:`~gleitzeitd.machines.base.Call`
whose request says what has come; the performer hands it to whoever waits. A watched workflow's
facts come in order and without gaps: a missing one is fetched from the ledger first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import operations as o
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.events.audit import AuditRetrieved
from gleitzeitd.machines.base import (
    Ask,
    Call,
    CancelAsk,
    CancelTimer,
    Context,
    Effects,
    Machine,
    Request,
    SetTimer,
)
from gleitzeitd.machines.feed import read_entry, stamp_of
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId
from gleitzeitd.plain import Json
from gleitzeitd.record import positional_record

HISTORY_PAGE = 500
"""Feed entries fetched at once."""
LOOK_SECONDS = 5.0
"""A watched workflow of which nothing has come for so long is looked at: its last fact may have been lost."""
_LOOK = "watch/look"
_HISTORY = "watch/history/"
_SUBSCRIBE = "watch/subscribe/"


@positional_record
class Answered(Request):
    """The answer to a request; the call's id is the request's."""

    event: Event


@positional_record
class Undelivered(Request):
    """Nobody is there to answer a request yet; it is being repeated."""

    notice: h.NoComponentsAvailable


@positional_record
class RefusedByHub(Request):
    """The hub does not pass a request on; it is not repeated."""

    error: ErrorInfo


@positional_record
class Published(Request):
    """Something that is watched has happened; the call's id is its topic."""

    event: Event
    correlation_id: str


@positional_record
class Gone(Request):
    """A watched workflow was deleted before all of it had come; the call's id is its topic."""


@dataclass(slots=True)
class _Watch:
    cursor: int
    """Number of the last entry passed on."""
    fetching: bool = True
    heard: bool = True
    """Something has come since the last look."""
    exists: bool = False
    """It has been there: if the ledger does not know it any more, it was deleted."""
    missed: bool = False
    """Something came that the page being fetched may have been read too early to hold."""
    existed: bool = False
    """It had been there when the page was asked for: what was submitted since may be missing in it."""
    providers: dict[tuple[TaskId, int], ComponentId] = field(default_factory=dict)
    """Of the attempts that are known to have started and not to have ended: who may tell how they go on."""


@dataclass(slots=True)
class Client(Machine):
    """One client's connection."""

    role = Role.CLIENT

    component_id: ComponentId
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _dropped: int = 0  # what was said of attempts by those who do not run them

    # --- what the person or program wants -----------------------------------------------------

    def ask(self, request_id: str, event: Event, to: ComponentId | None = None) -> Effects:
        """Send a request; its answer comes as a call of this id. ``to``: for whom, if it is directed."""
        assert not request_id.startswith("watch/")
        return [Ask(request_id, event, to=to)]

    def forget(self, request_id: str) -> Effects:
        """Nobody waits for the answer any more."""
        return [CancelAsk(request_id)]

    def watch(self, topic: str, after: int = 0, *, exists: bool = False) -> Effects:
        """Follow a workflow from the entry after ``after`` on; or ``components``, ``queues``, ``*``.

        ``exists``: the workflow is there already, and is not to be submitted yet.
        """
        look: Effects = [] if self._watches else [SetTimer(_LOOK, LOOK_SECONDS)]
        known = exists or after > 0 or (topic in self._watches and self._watches[topic].exists)
        self._watches[topic] = _Watch(after, fetching=_has_history(topic), exists=known)
        return [Ask(_SUBSCRIBE + topic, h.Subscribe(topics=[topic])), *look]

    def unwatch(self, topic: str) -> Effects:
        """No more of it."""
        self._watches.pop(topic, None)
        stop: Effects = [CancelAsk(_HISTORY + topic)]
        if not self._watches:
            stop.append(CancelTimer(_LOOK))
        # Under one key: whichever of the two is asked last must not be undone by a repeat of the other.
        return [*stop, Ask(_SUBSCRIBE + topic, h.Unsubscribe(topics=[topic]))]

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        assert key == _LOOK, key
        effects: Effects = [SetTimer(_LOOK, LOOK_SECONDS)]
        for topic, watch in self._watches.items():
            if not watch.heard and not watch.fetching:
                effects += self._fetch(topic)
            watch.heard = False
        return effects

    # --- sessions -----------------------------------------------------------------------------

    def hub_connected(self, now: float, at: str) -> Effects:
        """A hub remembers no subscription of an earlier connection."""
        return [Ask(_SUBSCRIBE + topic, h.Subscribe(topics=[topic])) for topic in self._watches]

    def undeliverable(
        self, notice: h.NoComponentsAvailable, asked: Ask | None, now: float, at: str
    ) -> Effects:
        """Tell who waits, so that a timeout can say why."""
        return [Call(asked.key, Undelivered(notice))] if asked is not None else []

    def refused(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        """Tell who waits."""
        return [Call(asked.key, RefusedByHub(error))]

    # --- answers ------------------------------------------------------------------------------

    def _answer(self, event: Event, ctx: Context) -> Effects:
        return [Call(ctx.asked.key, Answered(event))] if ctx.asked is not None else []

    def on_workflow_submitted(self, event: d.WorkflowSubmitted, ctx: Context) -> Effects:
        if event.workflow_id in self._watches:
            self._watches[event.workflow_id].exists = True
        return self._answer(event, ctx)

    def on_workflow_refused(self, event: d.WorkflowRefused, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_status_response(self, event: d.StatusResponse, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_data_saved(self, event: p.DataSaved, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_persistence_error(self, event: p.PersistenceError, ctx: Context) -> Effects:
        if ctx.asked is None or not ctx.asked.key.startswith(_HISTORY):
            return self._answer(event, ctx)
        watch = self._watches.get(ctx.asked.key.removeprefix(_HISTORY))
        if watch is not None:
            watch.fetching = watch.heard = False  # the next look, or the next gap, tries again
        return []

    def on_component_draining(self, event: o.ComponentDraining, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_component_list(self, event: h.ComponentList, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_audit_retrieved(self, event: AuditRetrieved, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_trace_data(self, event: h.TraceData, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_protocol_registered(self, event: r.ProtocolRegistered, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_protocol_list(self, event: r.ProtocolList, ctx: Context) -> Effects:
        return self._answer(event, ctx)

    def on_subscribed(self, event: h.Subscribed, ctx: Context) -> Effects:
        if ctx.asked is None:  # a second hub's answer: what went through it until now may be missing
            return [effect for topic in event.topics for effect in self._refetch(topic)]
        if not ctx.asked.key.startswith(_SUBSCRIBE):
            return []
        # Only what was published before the subscription has to be fetched.
        return self._fetch(ctx.asked.key.removeprefix(_SUBSCRIBE))

    def _refetch(self, topic: str) -> Effects:
        watch = self._watches.get(topic)
        if watch is None or not watch.fetching:
            return self._fetch(topic)
        watch.missed = True
        return []

    def on_data_retrieved(self, event: p.DataRetrieved, ctx: Context) -> Effects:
        if ctx.asked is None or not ctx.asked.key.startswith(_HISTORY):
            return self._answer(event, ctx)
        topic = ctx.asked.key.removeprefix(_HISTORY)
        watch = self._watches.get(topic)
        if watch is None:
            return []
        watch.fetching = False
        if not event.known and watch.existed:
            return [Call(topic, Gone())]
        watch.exists = watch.exists or event.known
        effects: Effects = []
        for item in event.items:
            entry = read_entry(item)
            effects += self._pass_on(topic, watch, entry.event, entry.correlation_id)
        return effects + (self._fetch(topic) if event.next is not None or watch.missed else [])

    def _fetch(self, topic: str) -> Effects:
        watch = self._watches.get(topic)
        if watch is None or not _has_history(topic):
            return []
        watch.fetching, watch.missed, watch.existed = True, False, watch.exists
        query = p.QueryData(
            kind_of_data="history", workflow_id=WorkflowId(topic), after=watch.cursor, limit=HISTORY_PAGE
        )
        return [Ask(_HISTORY + topic, query)]

    # --- what is published ----------------------------------------------------------------------

    def _published(self, event: Event, ctx: Context) -> Effects:
        topic = event.topic() or ""
        watch = self._watches.get(topic)
        if watch is None:
            watch = self._watches.get("*")
            return [Call("*", Published(event, ctx.envelope.correlation_id))] if watch is not None else []
        stamp = stamp_of(event)
        if stamp is None:
            return [Call(topic, Published(event, ctx.envelope.correlation_id))]
        if stamp.after_workflow > watch.cursor:
            watch.missed = True
            return [] if watch.fetching else self._fetch(topic)
        return self._pass_on(topic, watch, event, ctx.envelope.correlation_id)

    def _streamed(self, event: v.TaskOutput | v.TaskProgress, ctx: Context) -> Effects:
        """Only from the provider that has been given the work, as far as that is known yet."""
        watch = self._watches.get(event.workflow_id) or self._watches.get("*")
        provider = watch.providers.get((event.task_id, event.attempt)) if watch is not None else None
        if provider not in (None, ctx.envelope.source_component):
            self._dropped += 1
            return []
        return self._published(event, ctx)

    def _pass_on(self, topic: str, watch: _Watch, event: Event, correlation_id: str) -> Effects:
        stamp = stamp_of(event)
        assert stamp is not None
        if stamp.number <= watch.cursor:
            return []
        watch.cursor = stamp.number
        match event:
            case e.TaskStarted():
                watch.providers[event.task_id, event.attempt] = event.provider_id
            case e.TaskCompleted() | e.TaskFailed():
                watch.providers.pop((event.task_id, event.attempt), None)
        watch.exists = True
        watch.heard = True
        return [Call(topic, Published(event, correlation_id))]

    def on_component_disconnected(self, event: h.ComponentDisconnected, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_workflow_analyzed(self, event: d.WorkflowAnalyzed, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_dependencies_satisfied(self, event: d.DependenciesSatisfied, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_skipped(self, event: d.TaskSkipped, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_execution_blocked(self, event: d.ExecutionBlocked, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_workflow_cancelling(self, event: d.WorkflowCancelling, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_workflow_completed(self, event: d.WorkflowCompleted, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_workflow_failed(self, event: d.WorkflowFailed, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_workflow_cancelled(self, event: d.WorkflowCancelled, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_enqueue_task(self, event: q.EnqueueTask, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_enqueued(self, event: q.TaskEnqueued, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_queue_stats_changed(self, event: q.QueueStatsChanged, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_started(self, event: e.TaskStarted, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_completed(self, event: e.TaskCompleted, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_failed(self, event: e.TaskFailed, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_cancelled(self, event: e.TaskCancelled, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_lost(self, event: e.TaskLost, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_unknown(self, event: e.TaskUnknown, ctx: Context) -> Effects:
        return self._published(event, ctx)

    def on_task_output(self, event: v.TaskOutput, ctx: Context) -> Effects:
        return self._streamed(event, ctx)

    def on_task_progress(self, event: v.TaskProgress, ctx: Context) -> Effects:
        return self._streamed(event, ctx)

    def figures(self) -> dict[str, Json]:
        return {"streams_dropped": self._dropped} if self._dropped else {}


def _has_history(topic: str) -> bool:
    return topic not in ("*", "components", "queues")
