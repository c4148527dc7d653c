"""``gleitzeit why``: why a task is not done, what stands in its way, and which command would help."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import click

from gleitzeitd.cli.connection import Session, online
from gleitzeitd.cli.identify import find_workflow, known_task
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.presence import Presence, look_around, on_lost_of
from gleitzeitd.cli.show import (
    as_json,
    duration,
    echo_lines,
    moment,
    plural,
    printable,
    status_text,
    style,
)
from gleitzeitd.errors import (
    AnswerTimeout,
    MethodNotSupported,
    ProtocolNotFound,
    ProviderNotAvailable,
)
from gleitzeitd.model.ledger import TaskState
from gleitzeitd.model.names import Role
from gleitzeitd.model.report import Blocking, TaskReport, WorkflowReport
from gleitzeitd.plain import Json

S = TaskState
CAUSES_SHOWN = 20
CHAIN_SHOWN = 8
"""Steps of a chain of dependencies that are named."""
_NO_PROVIDER = frozenset({ProviderNotAvailable.name, ProtocolNotFound.name, MethodNotSupported.name})
_WAITING = frozenset({S.PENDING.value, S.SKIPPED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What is known of the components; None: nothing."""

    engines: int | None = None
    protocols: Collection[str] | None = None
    """Those that somebody serves."""
    presence: Presence | None = None


@dataclass(slots=True, kw_only=True)
class Cause:
    """Why a task is where it is."""

    task_id: str
    status: str
    reason: str
    chain: list[str] = field(default_factory=list)
    """From the task to the one that holds it up, over what each depends on."""
    remedies: list[str] = field(default_factory=list)
    """Commands."""
    waiting: int = 0
    """Tasks that wait for this one, or were skipped because of it."""

    def plain(self) -> Json:
        """As ``--json`` prints it."""
        return {
            "task_id": self.task_id,
            "status": self.status,
            "reason": self.reason,
            "chain": self.chain,
            "remedies": self.remedies,
            "waiting": self.waiting,
        }


class Explanation:
    """Looks for causes among the tasks of one workflow."""

    def __init__(self, workflow: WorkflowReport, tasks: Sequence[TaskReport], system: System) -> None:
        self._workflow = workflow
        self._tasks: Mapping[str, TaskReport] = {task.task_id: task for task in tasks}
        self._system = system
        self._roots: dict[str, str] = {}

    def of_task(self, task_id: str) -> Cause:
        """Why this task is where it is."""
        chain = self._chain(task_id)
        root = self._tasks[chain[-1]]
        task = self._tasks[task_id]
        cause = self._of_root(root)
        if len(chain) == 1:
            return cause
        verb = "was skipped because of" if task.status == S.SKIPPED.value else "waits for"
        return Cause(
            task_id=task_id,
            status=task.status,
            reason=f"it {verb} {chain[1]}; {root.task_id} ({root.status}): {cause.reason}",
            chain=chain,
            remedies=cause.remedies,
        )

    def of_workflow(self) -> list[Cause]:
        """The causes that hold it up or made it fail: each once, with how many tasks wait for it."""
        waiting: dict[str, int] = {}
        for task in self._tasks.values():
            if task.status in _WAITING:
                root = self._root(task.task_id)
                waiting[root] = waiting.get(root, 0) + (root != task.task_id)
        causes = []
        for task in self._tasks.values():
            is_cause = task.status not in (S.DONE.value, *_WAITING, S.CANCELLED.value)
            if is_cause or (task.task_id in waiting and task.status != S.DONE.value):
                cause = self._of_root(task)
                cause.waiting = waiting.get(task.task_id, 0)
                causes.append(cause)
        return causes

    def _chain(self, task_id: str) -> list[str]:
        """From the task over what it waits for, to what waits for nothing else."""
        chain = [task_id]
        while (following := self._held_up_by(chain[-1])) is not None:
            chain.append(following)
        return chain

    def _root(self, task_id: str) -> str:
        path = []
        while task_id not in self._roots:
            path.append(task_id)
            following = self._held_up_by(task_id)
            if following is None:
                self._roots[task_id] = task_id
                break
            task_id = following
        for each in path:
            self._roots[each] = self._roots[task_id]
        return self._roots[task_id]

    def _held_up_by(self, task_id: str) -> str | None:
        task = self._tasks[task_id]
        if task.status not in _WAITING:
            return None
        undone = [
            dependency
            for dependency in task.dependencies
            if dependency in self._tasks and self._tasks[dependency].status != S.DONE.value
        ]
        # A failure explains more than something that merely has not begun.
        order = (
            S.FAILED,
            S.SKIPPED,
            S.CANCELLED,
            S.UNKNOWN,
            S.RETRY,
            S.READY,
            S.LEASED,
            S.RUNNING,
            S.PENDING,
        )
        rank = {state.value: number for number, state in enumerate(order)}
        return min(undone, key=lambda each: rank.get(self._tasks[each].status, 0), default=None)

    def _of_root(self, task: TaskReport) -> Cause:
        reason, remedies = self._reason(task)
        return Cause(
            task_id=task.task_id,
            status=task.status,
            reason=reason,
            chain=[task.task_id],
            remedies=remedies,
        )

    def _reason(self, task: TaskReport) -> tuple[str, list[str]]:  # one line per state
        match task.status:
            case S.DONE.value:
                return "it is done", [f"gleitzeit result {self._workflow.workflow_id} {task.task_id}"]
            case S.RUNNING.value | S.LEASED.value if (gone := self._gone(task)) is not None:
                return gone
            case S.RUNNING.value:
                where = f" on {task.engine}" if task.engine else ""
                return f"it runs since {moment(task.started_at)}{where}", [self._logs(task, " --follow")]
            case S.LEASED.value:
                return f"it was given to {task.engine or 'an engine'}, and is about to start", []
            case S.RETRY.value:
                return self._retry(task)
            case S.UNKNOWN.value:
                return self._unknown(task)
            case S.FAILED.value:
                return self._failed(task)
            case S.CANCELLED.value:
                reason = self._workflow.reason
                return f"its workflow was cancelled{': ' + reason if reason else ''}", []
            case S.READY.value:
                return self._queued(task)
            case S.SKIPPED.value:
                return task.error.message if task.error is not None else "it was skipped", []
        if self._workflow.has_ended:
            return f"its workflow is {self._workflow.status}", []
        done = "all that it depends on is done"
        if missing := self._missing(Role.DEPENDENCY_RESOLVER):
            return f"{done}; {missing}", ["gleitzeitd dependency-resolver"]
        return f"{done}; it is about to be queued", [f"gleitzeit status {self._workflow.workflow_id}"]

    def _missing(self, role: Role) -> str:
        return self._system.presence.missing(role) if self._system.presence is not None else ""

    def _gone(self, task: TaskReport) -> tuple[str, list[str]] | None:
        """Who holds the task, and is not there."""
        presence = self._system.presence
        if presence is None:
            return None
        since = f"it runs since {moment(task.started_at)}" if task.started_at else "it was given away"
        where = f"{since} on {task.engine}"
        if engine := presence.without_engine(task, on_lost_of(self._workflow, task.task_id)):
            return f"{where}; {engine}", ["gleitzeit components"]
        if provider := presence.without_provider(task):
            return f"{where}; {provider}", ["gleitzeit components", _provider(task.protocol)]
        return None

    def _retry(self, task: TaskReport) -> tuple[str, list[str]]:
        error = task.error.message if task.error is not None else "no reason is known"
        delay = f"{duration(task.retry_delay)} after that" if task.retry_delay is not None else "soon"
        attempt = f"attempt {task.failures or task.attempt} of {task.max_attempts}"
        return f"{attempt} failed at {moment(task.finished_at)}: {error}; it is tried again {delay}", [
            self._logs(task)
        ]

    def _unknown(self, task: TaskReport) -> tuple[str, list[str]]:
        how = task.error.message if task.error is not None else "lost while it ran"
        said = f"gleitzeit resolve {self._workflow.workflow_id} {task.task_id}"
        return f"{how}; it may not run twice: find out whether it was done, and say so", [
            f"{said} done --result JSON",
            f"{said} rerun",
            f"{said} fail",
        ]

    def _failed(self, task: TaskReport) -> tuple[str, list[str]]:
        if task.error is None:
            return "it failed, and no reason is known", [self._logs(task)]
        tries = f" after {plural(task.attempt, 'attempt')}" if task.attempt > 1 else ""
        lost = f" ({plural(task.crashes, 'attempt')} lost with an engine or provider)" if task.crashes else ""
        remedies = [self._logs(task)] if task.attempt else []
        if task.error.name in _NO_PROVIDER:
            remedies = [_provider(task.protocol), *remedies]
        return f"{task.error}{tries}{lost}", remedies

    def _queued(self, task: TaskReport) -> tuple[str, list[str]]:
        if self._system.protocols is not None and task.protocol not in self._system.protocols:
            return f"no provider of {task.protocol} is connected", [_provider(task.protocol)]
        if self._system.engines == 0:
            return "no execution engine is connected", ["gleitzeitd execution-engine"]
        for role in (Role.QUEUE_MANAGER, Role.EXECUTION_ENGINE):
            if missing := self._missing(role):
                return missing, [f"gleitzeitd {role.value.replace('_', '-')}"]
        blocking = self._blocking(task)
        if blocking is not None:
            remedy = f"; {blocking.unblocked_by}" if blocking.unblocked_by else ""
            return f"{blocking.reason}{remedy}", ["gleitzeit queues", "gleitzeit providers"]
        since = f" since {moment(task.ready_at)}" if task.ready_at else ""
        return f"it waits in the queue{since} for a free slot of an engine", ["gleitzeit queues"]

    def _blocking(self, task: TaskReport) -> Blocking | None:
        for each in self._workflow.blocked:
            if task.task_id in each.task_ids:
                return each
        more = [each for each in self._workflow.blocked if each.count > len(each.task_ids)]
        return more[0] if more else None

    def _logs(self, task: TaskReport, options: str = "") -> str:
        return f"gleitzeit logs {self._workflow.workflow_id} {task.task_id}{options}"


def _provider(protocol: str) -> str:
    return f"gleitzeitd provider {protocol.partition('/')[0]}"


@command("why")
@click.argument("workflow")
@click.argument("task", required=False)
@connection_options
def why(workflow: str, task: str | None) -> None:
    """Why a workflow or a task is not done.

    Names the cause, and a command that helps.

    Example:
      gleitzeit why last
      gleitzeit why pipeline-1f0a report
    """
    _why(workflow, task)


@online
async def _why(session: Session, text: str, task_id: str | None) -> None:
    workflow = await find_workflow(session.client, text)
    tasks = await session.client.tasks(workflow.workflow_id)
    explanation = Explanation(workflow, tasks, await _system(session, workflow))
    if task_id is None:
        causes = explanation.of_workflow()
    else:
        causes = [explanation.of_task(known_task((task.task_id for task in tasks), task_id))]
    if session.options.as_json:
        plain = {"workflow_id": workflow.workflow_id, "status": workflow.status}
        click.echo(as_json({**plain, "causes": [cause.plain() for cause in causes]}))
        return
    echo_lines(why_lines(workflow, causes, whole=task_id is None))


async def _system(session: Session, workflow: WorkflowReport) -> System:
    presence = await look_around(session, workflow)
    if presence is None:
        return System()
    engines = sum(1 for each in presence.components if each.component_type is Role.EXECUTION_ENGINE)
    if presence.missing(Role.PROTOCOL_REGISTRY):  # nobody to ask what is served
        return System(engines=engines, presence=presence)
    try:
        providers = (await session.client.protocols()).providers
    except AnswerTimeout as problem:
        click.echo(f"gleitzeit: {problem}", err=True)
        return System(engines=engines, presence=presence)
    return System(engines=engines, protocols={each.protocol for each in providers}, presence=presence)


def why_lines(workflow: WorkflowReport, causes: Sequence[Cause], *, whole: bool) -> list[str]:
    """The causes, one below the other."""
    lines = []
    if whole:
        reason = f": {printable(workflow.reason)}" if workflow.reason else ""
        lines.append(f"{style(workflow.workflow_id, bold=True)}  {status_text(workflow.status)}{reason}")
        if not causes and workflow.status == "completed":
            lines.append("every task is done")
    for cause in causes[:CAUSES_SHOWN]:
        lines += ["", *_cause_lines(cause)] if lines else _cause_lines(cause)
    if len(causes) > CAUSES_SHOWN:
        lines += ["", f"and {plural(len(causes) - CAUSES_SHOWN, 'more cause')}; --json has them all"]
    return lines


def _cause_lines(cause: Cause) -> list[str]:
    lines = [f"{style(cause.task_id, bold=True)}  {status_text(cause.status)}"]
    lines += [f"  {printable(line)}" for line in cause.reason.strip().splitlines()]
    if len(cause.chain) > 1:
        shown = cause.chain
        if len(shown) > CHAIN_SHOWN:
            shown = [*shown[: CHAIN_SHOWN - 2], "...", shown[-1]]
        lines.append(f"  chain: {' -> '.join(shown)}")
    if cause.waiting:
        lines.append(f"  {plural(cause.waiting, 'other task')} depend{'s' * (cause.waiting == 1)} on it")
    lines += [f"  try: {remedy}" for remedy in cause.remedies]
    return lines
