"""What a machine says to others, as records for the operator: one workflow's way through all daemons.

It stands around a machine, and changes nothing of what that decides: behind each effect that matters to
somebody who reads ``journalctl GLEITZEIT_WORKFLOW=...`` it puts a note. The table below is the whole story.

    resolver       workflow accepted, refused, completed, failed, cancelled; tasks skipped
    persistence    tasks recorded; a task will be tried again; the end recorded
    queue manager  tasks queued (and at debug: a task leased)
    engine         a task started, completed, failed
    provider       a call done, or failed
    hub            a component registered, disconnected

Parameters and results are not among the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from gleitzeitd.errors import ErrorInfo, ProviderOverloaded
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.events.hub import NoComponentsAvailable
from gleitzeitd.machines.base import Ask, Context, Effects, Machine, Note, Reply, Tell
from gleitzeitd.machines.members import Member
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json


class _Words(NamedTuple):
    level: str
    message: str
    fields: Callable[[Any], dict[str, Json]]


def _attempt(event: Any) -> dict[str, Json]:
    return {"workflow_id": event.workflow_id, "task_id": event.task_id, "attempt": event.attempt}


def _took(event: Any) -> dict[str, Json]:
    """An attempt that has ended, and how many seconds it took."""
    try:
        took = datetime.fromisoformat(event.finished_at) - datetime.fromisoformat(event.started_at)
    except (ValueError, TypeError):
        return _attempt(event)
    return {**_attempt(event), "seconds": round(took.total_seconds(), 3)}


def _failed(event: Any) -> dict[str, Json]:
    return {**_took(event), "error": event.error}


def _started(event: e.TaskStarted) -> dict[str, Json]:
    return {**_attempt(event), "provider": event.provider_id}


def _leased(event: q.ExecuteTask) -> dict[str, Json]:
    return {**_attempt(event.task), "method": event.task.method, "engine": event.task.engine_id}


def _tasks(event: Any) -> dict[str, Json]:
    return {"workflow_id": event.workflow_id, "tasks": len(event.tasks)}


def _queued(event: q.TaskEnqueued) -> dict[str, Json]:
    return {"workflow_id": event.workflow_id, "tasks": len(event.task_ids), "waiting": event.depth}


def _again(event: e.TaskFailed) -> dict[str, Json]:
    return {**_attempt(event), "seconds": round(event.retry_in or 0.0, 3), "error": event.error}


def _refused(event: d.WorkflowRefused) -> dict[str, Json]:
    return {"workflow_id": event.workflow_id, "error": event.error, "problems": len(event.problems)}


def _workflow(event: Any) -> dict[str, Json]:
    return {"workflow_id": event.workflow_id}


def _protocol(event: r.RegisterProvider) -> dict[str, Json]:
    return {"protocol": event.protocol, "capacity": event.capacity}


_WORDS: dict[Role, dict[type[Event], _Words]] = {
    Role.DEPENDENCY_RESOLVER: {
        d.WorkflowRefused: _Words("notice", "workflow refused", _refused),
        d.WorkflowAnalyzed: _Words("debug", "tasks are ready", _tasks),
        d.DependenciesSatisfied: _Words("debug", "tasks are ready", _tasks),
        d.TaskSkipped: _Words("info", "tasks skipped", _tasks),
    },
    Role.PERSISTENCE: {
        d.WorkflowAnalyzed: _Words("info", "workflow recorded, its first tasks are ready", _tasks),
        d.DependenciesSatisfied: _Words("debug", "tasks recorded", _tasks),
        d.WorkflowCompleted: _Words("info", "end of workflow recorded", _workflow),
        d.WorkflowFailed: _Words("info", "end of workflow recorded", _workflow),
        d.WorkflowCancelled: _Words("info", "end of workflow recorded", _workflow),
        d.WorkflowCancelling: _Words("info", "workflow is being cancelled", _workflow),
        e.TaskFailed: _Words("info", "task is tried again", _again),
        e.TaskLost: _Words("info", "tasks are given out again", _tasks),
    },
    Role.QUEUE_MANAGER: {
        q.TaskEnqueued: _Words("info", "tasks queued", _queued),
        q.ExecuteTask: _Words("debug", "task leased", _leased),
    },
    Role.EXECUTION_ENGINE: {
        e.TaskStarted: _Words("info", "task started", _started),
        e.TaskCompleted: _Words("info", "task completed", _took),
        e.TaskFailed: _Words("notice", "task failed", _failed),
    },
    Role.PROVIDER: {
        v.MethodResult: _Words("info", "call done", _took),
        v.ProviderError: _Words("info", "call failed", _failed),
        r.RegisterProvider: _Words("debug", "offers its protocol", _protocol),
    },
}


def told(role: Role, event: Event) -> Note | None:
    """The record of an event that a role sends; None if it makes none."""
    words = _WORDS.get(role, {}).get(type(event))
    if words is None:
        return None
    level, message, fields = words
    if isinstance(event, e.TaskFailed):
        if role is Role.PERSISTENCE and event.retry_in is None:
            return None  # the engine has said it
        if role is Role.EXECUTION_ENGINE and _handed_back(event.error):
            level, message = "info", "task handed back"
    return Note(level, message, fields(event))


def _handed_back(error: ErrorInfo) -> bool:
    return error.name == ProviderOverloaded.name


def of_member(message: str, member: Member, reason: str = "", *, quiet: bool = False) -> Note:
    """A component comes or goes; commands and browsers do so all the time, and nobody has to know. ``quiet``:
    it goes for a reason that has been said already.
    """
    level = "debug" if quiet or member.role is Role.CLIENT else "info"
    fields: dict[str, Json] = {"peer": member.component_id, "peer_role": member.role.value}
    return Note(level, message, {**fields, "reason": reason})


class Narrator(Machine):
    """A machine, and notes about what it says."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        # The link and the performer know it as the machine that it stands for.
        self.role = machine.role  # type: ignore[misc] # a class variable of machines, and that of this one
        self.component_id = getattr(machine, "component_id", ComponentId(""))
        self._words = _WORDS.get(machine.role, {})

    def _narrated(self, effects: Effects) -> Effects:
        words = self._words
        if not any(
            isinstance(effect, (Ask, Tell, Reply)) and type(effect.event) in words for effect in effects
        ):
            return effects
        out: Effects = []
        for effect in effects:
            out.append(effect)
            if isinstance(effect, (Ask, Tell, Reply)) and (note := told(self.role, effect.event)) is not None:
                of = effect.to if isinstance(effect, Reply) else effect
                if of.correlation_id:
                    note.fields["correlation_id"] = of.correlation_id
                out.append(note)
        return out

    def start(self, now: float, at: str) -> Effects:
        return self._narrated(self.machine.start(now, at))

    def handle(self, name: str, event: Event, ctx: Context) -> Effects:
        return self._narrated(self.machine.handle(name, event, ctx))

    def call_finished(self, call_id: str, answer: Any, now: float, at: str) -> Effects:
        return self._narrated(self.machine.call_finished(call_id, answer, now, at))

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        return self._narrated(self.machine.timer_expired(key, now, at))

    def settle(self, now: float, at: str) -> Effects:
        return self._narrated(self.machine.settle(now, at))

    def hub_connected(self, now: float, at: str) -> Effects:
        return self._narrated(self.machine.hub_connected(now, at))

    def isolated(self) -> None:
        self.machine.isolated()

    def undeliverable(self, notice: NoComponentsAvailable, asked: Ask | None, now: float, at: str) -> Effects:
        return self._narrated(self.machine.undeliverable(notice, asked, now, at))

    def refused(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        return self._narrated(self.machine.refused(asked, error, now, at))

    def hindered(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        return self._narrated(self.machine.hindered(asked, error, now, at))

    def drain(self, now: float, at: str) -> Effects:
        return self._narrated(self.machine.drain(now, at))

    def drained(self) -> bool:
        return self.machine.drained()

    def status(self) -> str:
        return self.machine.status()

    def load(self) -> int:
        return self.machine.load()

    def figures(self) -> dict[str, Json]:
        return self.machine.figures()

    def inventory(self) -> list[list[Json]] | None:
        return self.machine.inventory()

    def status_line(self) -> str:
        return self.machine.status_line()
