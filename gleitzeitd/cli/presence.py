"""Who is there, as far as the hub knows: whether what a task waits for still can come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import click

from gleitzeitd.cli.connection import Session
from gleitzeitd.errors import AnswerTimeout
from gleitzeitd.events.hub import INSECURE, ComponentInfo
from gleitzeitd.model.ledger import HELD
from gleitzeitd.model.names import Role
from gleitzeitd.model.report import TaskReport, WorkflowReport
from gleitzeitd.model.workflow import OnLost

SILENT_SECONDS = 2.0
"""Without an answer to the hub's heartbeats for so long, a component is worth a word; a second later the
hub takes it for gone."""
NOTICED_SECONDS = 1.0
"""After the time that a lost engine has, until the ledger has looked and another engine has the task."""
_HELD = frozenset(state.value for state in HELD)


@dataclass(frozen=True, slots=True)
class Presence:
    """The components of a hub."""

    components: Sequence[ComponentInfo]

    def trouble(self, component_id: str) -> str:
        """What is the matter with a component, after ``which`` or its name; empty if nothing is."""
        for each in self.components:
            if each.component_id == component_id:
                silent = each.heartbeat_age > SILENT_SECONDS
                return f"has not answered for {each.heartbeat_age:.0f} s" if silent else ""
        return "is not connected"

    def missing(self, role: Role) -> str:
        """Why nobody of a role does anything; empty if somebody does."""
        some = [each for each in self.components if each.component_type is role]
        if not some:
            return f"no {_words(role)} is connected"
        troubles = {each.component_id: self.trouble(each.component_id) for each in some}
        if not all(troubles.values()):
            return ""
        return f"no {_words(role)} answers: " + ", ".join(f"{who} {what}" for who, what in troubles.items())

    def without_engine(self, task: TaskReport, on_lost: OnLost) -> str:
        """That the engine which holds a task is gone, and what happens next; empty if it is there."""
        trouble = self.trouble(task.engine) if task.engine and task.status in _HELD else ""
        if not trouble:
            return ""
        others = any(
            each.component_type is Role.EXECUTION_ENGINE and not self.trouble(each.component_id)
            for each in self.components
        )
        only_silent = any(each.component_id == task.engine for each in self.components)
        when = self._when(2 * NOTICED_SECONDS if only_silent else NOTICED_SECONDS)
        return f"{task.engine} {trouble}; unless it comes back, {self._next(on_lost, when, others=others)}"

    def _next(self, on_lost: OnLost, when: str, *, others: bool) -> str:
        match on_lost:
            case OnLost.ASK:
                return f"the task becomes unknown {when}, since it may not run twice"
            case OnLost.FAIL:
                return f"the task fails {when}, since it may not run twice"
        if others:
            return f"another engine gets the task {when}"
        return f"the task is queued again {when}, and waits: no other execution engine is connected"

    def _when(self, longer: float) -> str:
        for each in self.components:
            grace = each.metrics.get("grace_seconds")
            if each.component_type is Role.PERSISTENCE and isinstance(grace, (int, float)):
                return f"within {math.ceil(grace + longer)} s"
        return "soon"

    def without_provider(self, task: TaskReport) -> str:
        """The same of the provider that was called."""
        trouble = self.trouble(task.provider) if task.provider and task.status in _HELD else ""
        return f"{task.provider} {trouble}; unless it comes back, this attempt is lost" if trouble else ""


def _words(role: Role) -> str:
    return role.value.replace("_", " ")


async def look_around(session: Session, workflow: WorkflowReport) -> Presence | None:
    """Who is there; None if it does not matter any more, or if nobody can say."""
    if workflow.has_ended or session.embedded:
        return None
    try:
        return Presence(await session.client.components())
    except AnswerTimeout as problem:
        click.echo(f"gleitzeit: {problem}", err=True)
        return None


def say_insecure(session: Session, components: Sequence[ComponentInfo]) -> None:
    """That a hub asks nobody who he is, if it is so."""
    for each in components:
        if each.status == INSECURE and not session.options.as_json:
            who = f"{each.component_id} asks for no token"
            session.options.tell(f"INSECURE: {who}: whoever is on its host may do everything")


def on_lost_of(workflow: WorkflowReport, task_id: str) -> OnLost:
    """What its document says about a task that is lost."""
    document = workflow.document if isinstance(workflow.document, dict) else {}
    tasks = document.get("tasks")
    for each in tasks if isinstance(tasks, list) else []:
        if isinstance(each, dict) and each.get("id") == task_id:
            said = each.get("on_lost")
            return OnLost(said) if said in list(OnLost) else OnLost.RERUN
    return OnLost.RERUN
