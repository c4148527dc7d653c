"""The dependency resolver: a workflow's course from its submission to its end.

It checks what is submitted, and refuses with all reasons at once, or has it saved and says so. Of the
workflows in its shards it follows every ending of a task: frees what depends on it (references replaced
by results), skips what can never run, and declares the workflow ended. Each decision is asked of the
ledger, and counts when it comes back by the feed or in the answer; until then it is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from gleitzeitd import errors
from gleitzeitd.bounds import bounded
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Envelope, Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events.codec import dumps
from gleitzeitd.machines.analysis import analyzed
from gleitzeitd.machines.audit import actor_of, signed
from gleitzeitd.machines.base import Ask, CancelAsk, Context, Effects, Note, Reply, caused
from gleitzeitd.machines.feed import stamp_of
from gleitzeitd.machines.follower import Follower
from gleitzeitd.machines.parcels import parcels, value_problem, weight
from gleitzeitd.machines.submission import Submission, digest, refusal, turned_down
from gleitzeitd.model.change import NOT_THE_OWNER
from gleitzeitd.model.course import Course
from gleitzeitd.model.ledger import FeedStamp, ReadyTask, SkippedTask, TaskState, WorkflowState
from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import ComponentId, Role, Shard, TaskId, WorkflowId, shard_of
from gleitzeitd.model.protocol import Protocol, SchemaCheck
from gleitzeitd.model.reference import PYTHON_SOURCE, substitute
from gleitzeitd.model.workflow import INPUTS, Task, Workflow
from gleitzeitd.plain import Json, from_plain, to_plain
from gleitzeitd.record import record

RESULTS_AT_ONCE = 500
"""Results that one query asks for."""


@record
class Settings:
    """Section ``[dependency_resolver]`` of dependency-resolver.toml."""

    tasks_per_event: int = bounded(200, least=1, most=10_000)
    """Tasks that one event makes ready; more of one workflow go into several events."""
    workflows: int = bounded(100_000, least=1)
    """Unfinished workflows that this resolver takes; beyond it, a submission is refused with "later"."""


@dataclass(slots=True, kw_only=True)
class DependencyResolver(Follower):
    """Decides for the workflows of its shards."""

    role = Role.DEPENDENCY_RESOLVER
    component_id: ComponentId
    settings: Settings = field(default_factory=Settings)
    check: SchemaCheck = lambda schema, value: []
    """Validates JSON Schema; handed in, since this module knows no validator."""
    limits: WorkflowLimits = LIMITS
    _courses: dict[WorkflowId, Course] = field(default_factory=dict)
    _submissions: dict[WorkflowId, Submission] = field(default_factory=dict)
    _touched: dict[WorkflowId, str | None] = field(default_factory=dict)  # in order, each with its cause
    _analyzed: set[WorkflowId] = field(default_factory=set)
    _fetching: dict[WorkflowId, set[TaskId]] = field(default_factory=dict)  # results being read
    _reloading: dict[WorkflowId, int] = field(default_factory=dict)  # -> the last entry about it meanwhile
    _askers: dict[str, Envelope] = field(default_factory=dict)  # key of an ask -> who waits for its answer
    _document: Json = None  # what was taken over last, as it was kept and as it was read
    _workflow: Workflow = field(default_factory=Workflow)
    _protocols: dict[str, Protocol] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)

    def start(self, now: float, at: str) -> Effects:
        # Slots dataclasses lose the implicit super().
        return [*Follower.start(self, now, at), Ask("protocols", r.ListProtocols())]

    # --- submission -----------------------------------------------------------------------------

    def on_analyze_workflow(self, event: d.SubmitWorkflow, ctx: Context) -> Effects:
        if not self.owns(event.shard()) or self.leaving:
            return []  # the client asks again, and by then the hub knows the owner
        pending = self._submissions.get(event.workflow_id)
        if pending is not None:
            pending.askers.append(ctx.envelope)
            return []
        here = len(self._courses) + len(self._submissions)
        if here >= self.settings.workflows and event.workflow_id not in self._courses:
            why = f"{here} workflows are unfinished (dependency_resolver.workflows): try again later"
            full = errors.LimitExceeded(why, retry_after=2.0)
            return turned_down(event.workflow_id, full, (), ctx.envelope)
        submission, problems = analyzed(event, ctx.envelope, self._protocols, self.check, self.limits)
        if submission is None:
            found = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the workflow"
            return turned_down(event.workflow_id, errors.WorkflowInvalid(found), problems, ctx.envelope)
        self._submissions[event.workflow_id] = submission
        save = p.SaveWorkflow(
            workflow_id=event.workflow_id,
            digest=digest(event),
            workflow=to_plain(submission.workflow),
            inputs=submission.inputs,
            epoch=self._epoch(event.workflow_id),
            by=actor_of(ctx.envelope),
        )
        return [Ask(f"save/{event.workflow_id}", save)]

    def on_data_saved(self, event: p.DataSaved, ctx: Context) -> Effects:
        if ctx.asked is None:
            return []
        match ctx.asked.event:
            case p.SaveWorkflow():
                return self._saved(ctx.asked.event, event)
            case d.WorkflowAnalyzed() | d.DependenciesSatisfied():
                course = self._courses.get(ctx.asked.event.workflow_id)
                if course is not None and event.status in ("ok", "duplicate"):
                    for task in ctx.asked.event.tasks:
                        course.queued(task.task_id)
            case d.CancelWorkflow() | d.ResolveTask():
                asker = self._askers.pop(ctx.asked.key)
                if event.message == NOT_THE_OWNER:
                    return []  # the client asks again, and by then the hub knows the owner
                return [Reply(p.DataSaved(status=event.status, message=event.message), asker)]
        return []

    def _saved(self, asked: p.SaveWorkflow, event: p.DataSaved) -> Effects:
        workflow_id = asked.workflow_id
        submission = self._submissions.pop(workflow_id, None)
        if submission is None:
            return []
        if event.status == "conflict":
            conflict = errors.WorkflowConflict(event.message)
            return [refusal(workflow_id, conflict, (), asker) for asker in submission.askers]
        if event.status not in ("ok", "duplicate"):
            return []  # the shard is another's by now: the client asks again, and reaches that one
        duplicate = event.status == "duplicate"
        accepted = d.WorkflowSubmitted(
            workflow_id=workflow_id, duplicate=duplicate, warnings=submission.warnings
        )
        effects: Effects = [Reply(accepted, asker) for asker in submission.askers]
        if not self.owns(shard_of(workflow_id)) or workflow_id in self._courses:
            return effects
        if duplicate or submission.overtaken or asked.epoch != self._epoch(workflow_id):
            # Our own repeat, or one that ended long ago; or the shard was another's in between.
            effects += self._reload(workflow_id)
        else:
            course = Course.of(workflow_id, submission.workflow, submission.inputs, submission.correlation_id)
            self._courses[workflow_id] = course
            self._touched[workflow_id] = self.cause
            fields: dict[str, Json] = {
                "workflow_id": workflow_id,
                "workflow_name": submission.workflow.name,
                "tasks": len(submission.workflow.tasks),
            }
            effects.append(Note("info", "workflow accepted", fields))
        return effects

    # --- the projection ---------------------------------------------------------------------------

    def previous(self, stamp: FeedStamp) -> int:
        return stamp.after_resolver

    def forget(self, shard: Shard) -> None:
        for workflow_id in [w for w in self._courses if shard_of(w) == shard]:
            self._drop(workflow_id)

    def _drop(self, workflow_id: WorkflowId) -> None:
        self._courses.pop(workflow_id, None)
        self._touched.pop(workflow_id, None)
        self._fetching.pop(workflow_id, None)
        self._analyzed.discard(workflow_id)

    def take_over(self, shard: Shard, item: Json, now: float) -> None:
        workflow_id = WorkflowId(item["workflow_id"])
        states = {TaskId(t): TaskState(s) for t, s in item["states"].items()}
        if item["document"] != self._document:  # the same one is often submitted again and again
            self._document, self._workflow = item["document"], from_plain(Workflow, item["document"])
        workflow = self._workflow
        course = Course.of(workflow_id, workflow, item["inputs"], item["correlation_id"], states)
        course.cancelling = item["state"] == WorkflowState.CANCELLING.value
        self._drop(workflow_id)
        self._courses[workflow_id] = course
        self._touched[workflow_id] = self.cause
        if course.begun():
            self._analyzed.add(workflow_id)

    def _reload(self, workflow_id: WorkflowId) -> Effects:
        query = p.QueryData(
            kind_of_data="snapshot",
            workflow_id=workflow_id,
            shard_number=shard_of(workflow_id),
            audience=self.role,
        )
        self._reloading[workflow_id] = 0
        return [Ask(f"reload/{workflow_id}", query)]

    def apply(self, event: Event, correlation_id: str, now: float) -> None:
        workflow_id, stamp = WorkflowId(event.topic() or ""), stamp_of(event)
        if workflow_id in self._reloading and stamp is not None:
            self._reloading[workflow_id] = stamp.number
        course = self._courses.get(workflow_id)
        if course is None:
            if workflow_id in self._submissions:
                self._submissions[workflow_id].overtaken = True
            return
        match event:
            case e.TaskCompleted(task_id=task_id, result=result):
                course.completed(task_id, result)
            case e.TaskFailed(task_id=task_id, retry_in=None):
                course.ended(task_id, TaskState.FAILED)
            case e.TaskCancelled(task_ids=task_ids):
                for task_id in task_ids:
                    course.ended(task_id, TaskState.CANCELLED)
            case d.TaskSkipped(tasks=tasks):
                for task in tasks:
                    course.ended(task.task_id, TaskState.FAILED if task.failed else TaskState.SKIPPED)
            case d.WorkflowCancelling():
                course.cancelling = True
            case d.WorkflowCompleted() | d.WorkflowFailed() | d.WorkflowCancelled():
                self._drop(course.workflow_id)
                return
        self._touched[course.workflow_id] = self.cause

    def on_task_completed(self, event: Event, ctx: Context) -> Effects:
        return self.follow(event, ctx)

    on_task_failed = on_task_cancelled = on_task_skipped = on_workflow_cancelling = on_task_completed

    def _on_ended(self, event: Event, status: str, ctx: Context) -> Effects:
        workflow_id = WorkflowId(event.topic() or "")
        known = workflow_id in self._courses
        effects = self.follow(event, ctx)
        if known and workflow_id not in self._courses:
            error = getattr(event, "error", None)
            fields: dict[str, Json] = {"workflow_id": workflow_id, "error": error}
            effects.append(Note("info" if error is None else "notice", f"workflow {status}", fields))
        return effects

    def on_workflow_completed(self, event: d.WorkflowCompleted, ctx: Context) -> Effects:
        return self._on_ended(event, "completed", ctx)

    def on_workflow_failed(self, event: d.WorkflowFailed, ctx: Context) -> Effects:
        return self._on_ended(event, "failed", ctx)

    def on_workflow_cancelled(self, event: d.WorkflowCancelled, ctx: Context) -> Effects:
        return self._on_ended(event, "cancelled", ctx)

    # --- what follows -----------------------------------------------------------------------------

    def settle(self, now: float, at: str) -> Effects:
        """All that has just been heard is judged together: one event frees many tasks."""
        effects: Effects = []
        touched, self._touched = self._touched, {}
        for workflow_id, cause in touched.items():
            course = self._courses.get(workflow_id)
            if course is not None and self.owns(shard_of(workflow_id)):
                effects += caused(self._judge(course), cause)
            elif course is not None:
                self._touched[workflow_id] = cause  # until the rest of the shard's snapshot has come
        return effects

    def _judge(self, course: Course) -> Effects:
        ready: list[ReadyTask] = []
        failed: list[SkippedTask] = []
        stalled: list[Task] = []
        missing: dict[TaskId, None] = {}
        for task in course.take_freed():
            if lacking := course.missing_results(task):
                stalled.append(task)
                missing.update(dict.fromkeys(lacking))
            else:
                self._complete(course, task, ready, failed)
        course.put_back(stalled)
        effects = self._ask_results(course, missing) + self._make_ready(course, ready)
        skipped = failed + course.take_doomed()
        if skipped:
            event: Event = d.TaskSkipped(
                workflow_id=course.workflow_id,
                tasks=skipped,
                epoch=self._epoch(course.workflow_id),
                cursor=self._cursor(course.workflow_id),
            )
            effects.append(self._decision("skip", course, event))
        return effects + self._end(course)

    def _complete(
        self, course: Course, task: Task, ready: list[ReadyTask], failed: list[SkippedTask]
    ) -> None:
        """Replace a task's references; if that cannot be done, the task has failed."""
        try:
            parameters = substitute(
                task.parameters,
                lambda name: course.inputs if name == INPUTS else course.results[TaskId(name)],
                python_keys=PYTHON_SOURCE.get(task.protocol, ()),
                room=(most := self.limits.parameter_bytes),
            )
            text = dumps(parameters)
            if unfit := value_problem(parameters, text, "workflow_limits.parameter_bytes", most):
                raise errors.ParameterInvalid(f"its parameters are {unfit}")
        except errors.ParameterInvalid as problem:
            failed.append(SkippedTask(task_id=task.id, error=problem.info(), failed=True))
        else:
            ready.append(ReadyTask(task_id=task.id, parameters=parameters))

    def _make_ready(self, course: Course, ready: list[ReadyTask]) -> Effects:
        effects: Effects = []
        most = self.settings.tasks_per_event
        for part in parcels(ready, lambda task: weight(task.parameters), most=most):
            first = course.workflow_id not in self._analyzed
            self._analyzed.add(course.workflow_id)
            event = (d.WorkflowAnalyzed if first else d.DependenciesSatisfied)(
                workflow_id=course.workflow_id,
                tasks=part,
                epoch=self._epoch(course.workflow_id),
                cursor=self._cursor(course.workflow_id),
            )
            effects.append(self._decision("ready", course, event))
        return effects

    def _end(self, course: Course) -> Effects:
        ending = course.ending()
        if ending is None:
            return []
        workflow_id, epoch = course.workflow_id, self._epoch(course.workflow_id)
        match ending.state:
            case WorkflowState.COMPLETED:
                event: Event = d.WorkflowCompleted(workflow_id=workflow_id, epoch=epoch)
            case WorkflowState.CANCELLED:
                event = d.WorkflowCancelled(workflow_id=workflow_id, epoch=epoch)
            case _:
                assert ending.error is not None
                event = d.WorkflowFailed(workflow_id=workflow_id, error=ending.error, epoch=epoch)
        return [Ask(f"end/{workflow_id}", event, correlation_id=course.correlation_id)]

    def _decision(self, kind: str, course: Course, event: Event) -> Ask:
        key = f"{kind}/{course.workflow_id}/{next(self._numbers)}"
        return Ask(key, event, correlation_id=course.correlation_id)

    def _ask_results(self, course: Course, missing: Iterable[TaskId]) -> Effects:
        """Have those read that are not being read already."""
        fetching = self._fetching.setdefault(course.workflow_id, set())
        wanted = [str(task_id) for task_id in missing if task_id not in fetching]
        fetching.update(TaskId(task_id) for task_id in wanted)
        asks: Effects = []
        for start in range(0, len(wanted), RESULTS_AT_ONCE):
            part = wanted[start : start + RESULTS_AT_ONCE]
            query = p.QueryData(kind_of_data="results", workflow_id=course.workflow_id, task_ids=part)
            key = f"results/{course.workflow_id}/{next(self._numbers)}"
            asks.append(Ask(key, query, correlation_id=course.correlation_id))
        if not fetching:
            del self._fetching[course.workflow_id]
        return asks

    def _epoch(self, workflow_id: WorkflowId) -> int:
        state = self.shards.get(shard_of(workflow_id))
        return state.epoch if state is not None else 0

    def _cursor(self, workflow_id: WorkflowId) -> int:
        state = self.shards.get(shard_of(workflow_id))
        return state.cursor if state is not None else 0

    # --- answers of the ledger and the registry ---------------------------------------------------

    def answered(self, query: p.QueryData, event: p.DataRetrieved, ctx: Context) -> Effects:
        workflow_id = query.workflow_id
        assert workflow_id is not None
        assert ctx.asked is not None
        if query.kind_of_data == "results":
            self._results(workflow_id, query.task_ids, event.items)
            return []
        if query.kind_of_data == "snapshot":
            shard = shard_of(workflow_id)
            if event.number < self._reloading.pop(workflow_id, 0):
                return self._reload(workflow_id)  # the feed has overtaken what was read
            if self.owns(shard):
                for item in event.items:
                    self.take_over(shard, item, ctx.now)
            waiting = self._askers.pop(ctx.asked.key, None)
            return [] if waiting is None else self._status(workflow_id, waiting)
        return [Reply(_status_of(workflow_id, event.items), self._askers.pop(ctx.asked.key))]

    def _results(self, workflow_id: WorkflowId, asked: list[str], items: list[Json]) -> None:
        course = self._courses.get(workflow_id)
        if course is None:
            return
        for task_id, result in items:
            course.keep(TaskId(task_id), result)
        if items:
            # What did not fit into the page is asked for again.
            self._fetching.get(workflow_id, set()).difference_update(TaskId(t) for t in asked)
            self._touched[workflow_id] = self.cause

    def on_persistence_error(self, event: p.PersistenceError, ctx: Context) -> Effects:
        """Only errors that asking again does not help come here."""
        if ctx.asked is None:
            return []
        return self._failed(ctx.asked, event.error, "the ledger refused")

    def hindered(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        """What is new is not accepted while the ledger cannot keep it; what runs goes on being asked."""
        if not isinstance(asked.event, p.SaveWorkflow | d.CancelWorkflow):
            return []
        return [CancelAsk(asked.key), *self._failed(asked, error, "the ledger cannot keep anything now")]

    def refused(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        return self._failed(asked, error, "the hub refused")

    def _failed(self, asked: Ask, error: ErrorInfo, message: str) -> Effects:
        event = asked.event
        effects: Effects = [Note("error", message, {"event": event.name, "error": error})]
        if isinstance(event, p.SaveWorkflow):
            submission = self._submissions.pop(event.workflow_id, None)
            for asker in submission.askers if submission is not None else ():
                effects.append(Reply(d.WorkflowRefused(workflow_id=event.workflow_id, error=error), asker))
        waiting = self._askers.pop(asked.key, None)
        if waiting is not None:
            effects.append(Reply(p.DataSaved(status="error", message=str(error)), waiting))
        if isinstance(event, p.QueryData):
            if event.workflow_id is not None:
                self._reloading.pop(event.workflow_id, None)
                self._fetching.pop(event.workflow_id, None)
            else:
                effects += self.begin_anew(event.shard_number)
        return effects

    def on_protocol_list(self, event: r.ProtocolList, ctx: Context) -> Effects:
        self._protocols.update({protocol.name: protocol for protocol in event.protocols})
        return []

    def on_protocol_registered(self, event: r.ProtocolRegistered, ctx: Context) -> Effects:
        self._protocols[event.protocol.name] = event.protocol
        return []

    # --- what clients ask -------------------------------------------------------------------------

    def on_cancel_workflow(self, event: d.CancelWorkflow | d.ResolveTask, ctx: Context) -> Effects:
        key = f"{event.name}/{event.workflow_id}/{next(self._numbers)}"
        self._askers[key] = ctx.envelope
        return [Ask(key, signed(event, ctx.envelope))]

    on_resolve_task = on_cancel_workflow

    def on_check_dependencies(self, event: d.CheckDependencies, ctx: Context) -> Effects:
        """What the ledger has counts: the projection is made anew."""
        if not self.owns(event.shard()):
            return []
        self._askers[f"reload/{event.workflow_id}"] = ctx.envelope
        return self._reload(event.workflow_id)

    def on_query_status(self, event: d.QueryStatus, ctx: Context) -> Effects:
        return self._status(event.workflow_id, ctx.envelope)

    def _status(self, workflow_id: WorkflowId, asker: Envelope) -> Effects:
        course = self._courses.get(workflow_id)
        if course is not None:
            status = WorkflowState.CANCELLING if course.cancelling else WorkflowState.RUNNING
            answer = d.StatusResponse(
                workflow_id=workflow_id,
                workflow_name=course.workflow.name,
                status=status.value,
                counts=course.counts(),
            )
            return [Reply(answer, asker)]
        key = f"status/{next(self._numbers)}"
        self._askers[key] = asker
        return [Ask(key, p.QueryData(kind_of_data="workflow", workflow_id=workflow_id))]

    # --- how it is --------------------------------------------------------------------------------

    def load(self) -> int:
        return len(self._courses)

    def figures(self) -> dict[str, Json]:
        return {
            "workflows": len(self._courses),
            "submissions": len(self._submissions),
            "shards": sum(state.loaded for state in self.shards.values()),
        }


def _status_of(workflow_id: WorkflowId, items: list[Json]) -> d.StatusResponse:
    if not items:
        return d.StatusResponse(workflow_id=workflow_id, status="unknown")
    (summary,) = items
    return d.StatusResponse(workflow_id=workflow_id, workflow_name=summary["name"], status=summary["status"])
