"""``gleitzeit status``, ``list``, ``result`` and ``logs``: what there is, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.connection import Session, online, say_where
from gleitzeitd.cli.identify import find_workflow, known_task
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.outcome import last_line, outcome_lines
from gleitzeitd.cli.presence import Presence, look_around, on_lost_of, say_insecure
from gleitzeitd.cli.progress import Lines, output_line
from gleitzeitd.cli.show import (
    Column,
    as_json,
    between,
    count_text,
    duration,
    echo_lines,
    moment,
    plural,
    printable,
    result_lines,
    status_text,
    style,
    table,
    terminal_width,
)
from gleitzeitd.errors import AnswerTimeout, TaskNotFound
from gleitzeitd.events import provider as v
from gleitzeitd.events.dependency_resolver import StatusResponse
from gleitzeitd.model.ledger import TaskState, WorkflowState
from gleitzeitd.model.names import Role
from gleitzeitd.model.report import TaskReport, WorkflowReport, count_by_status, plain_error
from gleitzeitd.plain import Json, to_plain

if TYPE_CHECKING:
    from gleitzeitd.client import Client

SHOWN_GOING = 10
"""Of so many running workflows the overall status tells how far they are."""
OVERALL = 1000
"""Of so many of the newest workflows the overall status tells how they stand."""
LISTED = 20


def workflow_plain(workflow: WorkflowReport) -> Json:
    """As ``--json`` prints it."""
    return {
        "workflow_id": workflow.workflow_id,
        "name": workflow.name,
        "status": workflow.status,
        "tasks": workflow.tasks,
        "submitted_at": workflow.submitted_at,
        "finished_at": workflow.finished_at or "",
        "reason": workflow.reason or "",
        "error": plain_error(workflow.error),
    }


@command("status")
@click.argument("workflow", required=False)
@connection_options
def status(workflow: str | None) -> None:
    """How a workflow stands, or the whole system.

    WORKFLOW is an id, the beginning of one, or `last`.

    Examples:
      gleitzeit status
      gleitzeit status last
    """
    _overall() if workflow is None else _one(workflow)


@online
async def _overall(session: Session) -> None:
    say_where(session)
    components = await session.client.components()
    say_insecure(session, components)
    roles: dict[str, list[str]] = {role.value: [] for role in Role if role is not Role.CLIENT}
    for component in components:
        if component.component_type is not Role.CLIENT:
            roles[component.component_type.value].append(component.status)
    try:
        workflows = await session.client.list(limit=OVERALL)
    except AnswerTimeout as problem:
        workflows = []
        click.echo(f"gleitzeit: {problem}", err=True)
    counts = count_by_status(each.status for each in workflows)
    if session.options.as_json:
        by_role = {role: {"connected": len(found), "status": found} for role, found in roles.items()}
        click.echo(as_json({"components": by_role, "workflows": counts}))
        return
    rows = [
        (role, str(len(found)), count_text(count_by_status(found)) if found else "none is connected")
        for role, found in roles.items()
    ]
    echo_lines(table([Column("role"), Column("count", right=True), Column("status")], rows, terminal_width()))
    click.echo()
    for answer in await _progress(session.client, workflows):
        click.echo(f"{answer.workflow_id}  {status_text(answer.status)}: {count_text(answer.counts)}")
    which = "workflows" if len(workflows) < OVERALL else f"the newest {OVERALL} workflows"
    click.echo(f"{which}: {count_text(counts) or 'none yet'}")


async def _progress(client: Client, workflows: Sequence[WorkflowReport]) -> list[StatusResponse]:
    """How far those are that run; nothing, if nobody can say."""
    going = [each.workflow_id for each in workflows if not each.has_ended][:SHOWN_GOING]
    try:
        return list(await asyncio.gather(*(client.progress(each) for each in going)))
    except AnswerTimeout as problem:
        click.echo(f"gleitzeit: {problem}", err=True)
        return []


@online
async def _one(session: Session, text: str) -> None:
    workflow = await find_workflow(session.client, text)
    tasks = await session.client.tasks(workflow.workflow_id)
    counts = count_by_status(task.status for task in tasks)
    if session.options.as_json:
        plain = workflow_plain(workflow)
        plain |= {
            "inputs": workflow.inputs,
            "counts": counts,
            "blocked": [to_plain(each) for each in workflow.blocked],
            "correlation_id": workflow.correlation_id,
            "tasks": [task_plain(task) for task in tasks],
        }
        click.echo(as_json(plain))
        return
    echo_lines(status_lines(workflow, tasks, await look_around(session, workflow)))


def task_plain(task: TaskReport) -> Json:
    """As ``--json`` prints it."""
    plain: dict[str, Json] = {key: getattr(task, key) for key in TaskReport.__dataclass_fields__}
    return plain | {"error": plain_error(task.error)}


def status_lines(
    workflow: WorkflowReport, tasks: Sequence[TaskReport], presence: Presence | None = None
) -> list[str]:
    """One workflow with its tasks."""
    because = f": {printable(workflow.reason)}" if workflow.reason else ""
    facts = [
        ("workflow", workflow.workflow_id),
        ("name", printable(workflow.name)),
        ("status", status_text(workflow.status) + because),
        ("submitted", moment(workflow.submitted_at)),
    ]
    if workflow.finished_at:
        took = duration(between(workflow.submitted_at, workflow.finished_at))
        facts.append(("finished", f"{moment(workflow.finished_at)}, after {took}"))
    if workflow.error is not None:
        facts.append(("error", printable(workflow.error.message)))
    facts.append(("tasks", count_text(count_by_status(task.status for task in tasks))))
    lines = [f"{style(name, bold=True)}{' ' * (11 - len(name))}{value}" for name, value in facts]
    for each in workflow.blocked:
        remedy = f"; {printable(each.unblocked_by)}" if each.unblocked_by else ""
        who = plural(each.count, "task")
        lines.append(style(f"{who} blocked: {printable(each.reason)}{remedy}", fg="yellow"))
    lost = [presence.without_engine(task, on_lost_of(workflow, task.task_id)) for task in tasks if presence]
    lines += [style(printable(each), fg="yellow") for each in dict.fromkeys(filter(None, lost))]
    columns = [
        Column("task", flexible=True, least=12),
        Column("status"),
        Column("tries", right=True, optional=2),
        Column("time", right=True),
        Column("method", optional=1),
        Column("detail", flexible=True),
    ]
    return [*lines, "", *table(columns, [_task_row(task, presence) for task in tasks], terminal_width())]


def _task_row(task: TaskReport, presence: Presence | None) -> tuple[str, ...]:
    took = between(task.started_at, task.finished_at)
    return (
        task.task_id,
        task.status,
        str(task.attempt or ""),
        duration(took),
        task.method,
        _detail(task, presence),
    )


def _detail(task: TaskReport, presence: Presence | None) -> str:
    if task.status == TaskState.DONE.value:
        return ""
    held = task.status in (TaskState.RUNNING.value, TaskState.LEASED.value)
    if held and task.engine and presence is not None and (trouble := presence.trouble(task.engine)):
        return f"on {task.engine}, which {trouble}"
    if task.error is not None:
        lines = task.error.message.strip().splitlines()
        return lines[-1] if lines else task.error.name
    if task.status == TaskState.RUNNING.value:
        return f"on {task.engine}" if task.engine else ""
    return ""


@command("list")
@click.option("--status", type=click.Choice([s.value for s in WorkflowState]), help="Only those.")
@click.option("--name", metavar="TEXT", help="Only those whose name has this in it.")
@click.option(
    "--limit", "-n", type=click.IntRange(min=1), default=LISTED, show_default=True, help="How many."
)
@connection_options
def list_workflows(status: str | None, name: str | None, limit: int) -> None:
    """Workflows, the newest first.

    Example:
      gleitzeit list --status failed --name nightly
    """
    _list(status, name, limit)


@online
async def _list(session: Session, status: str | None, name: str | None, limit: int) -> None:
    found = await session.client.list(status=status, name_contains=name, limit=limit)
    if session.options.as_json:
        click.echo(as_json({"workflows": [workflow_plain(each) for each in found]}))
        return
    if not found:
        click.echo("no workflow" + (" of that kind" if status or name else " yet"))
        return
    columns = [
        Column("workflow", flexible=True, least=20),
        Column("status"),
        Column("tasks", right=True),
        Column("submitted", optional=1),
        Column("time", right=True),
        Column("name", flexible=True, optional=2),
    ]
    rows = [
        (
            each.workflow_id,
            each.status,
            str(each.tasks),
            moment(each.submitted_at),
            duration(between(each.submitted_at, each.finished_at)),
            each.name,
        )
        for each in found
    ]
    echo_lines(table(columns, rows, terminal_width()))


@command("result")
@click.argument("workflow")
@click.argument("task", required=False)
@connection_options
def result(workflow: str, task: str | None) -> None:
    """The results of a workflow's tasks.

    Of a script its value is shown, of a command its output. With a TASK nothing but its result is printed,
    with all that belongs to it.

    Examples:
      gleitzeit result last
      gleitzeit result pipeline-1f0a report > report.json
    """
    _result(workflow, task)


@online
async def _result(session: Session, text: str, task_id: str | None) -> None:
    workflow = await find_workflow(session.client, text)
    found = await session.client.result(workflow.workflow_id)
    if task_id is None:
        if session.options.as_json:
            click.echo(as_json(found.plain()))
            return
        echo_lines(outcome_lines(found, short=False)[1:])
        click.echo()
        click.echo(last_line(found))
        return
    task = found.tasks[known_task(found.tasks, task_id)]
    if session.options.as_json:
        click.echo(as_json({"workflow_id": found.workflow_id, "task_id": task.task_id, **task.plain()}))
        return
    if task.status != TaskState.DONE.value:
        because = f": {task.error.message}" if task.error is not None else ""
        raise TaskNotFound(f"{task.task_id} has no result: it is {task.status}{because}")
    echo_lines(result_lines(task.result, limit=None))


@command("logs")
@click.argument("workflow")
@click.argument("task", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written from now on.")
@connection_options
def logs(workflow: str, task: str | None, follow: bool) -> None:
    """What tasks have written to standard output and error.

    Examples:
      gleitzeit logs last
      gleitzeit logs pipeline-1f0a build --follow
    """
    _logs(workflow, task, follow)


@online
async def _logs(session: Session, text: str, task_id: str | None, follow: bool) -> None:
    workflow = await find_workflow(session.client, text)
    tasks = await session.client.tasks(workflow.workflow_id)
    wanted = [known_task((task.task_id for task in tasks), task_id)] if task_id is not None else []
    if follow and not workflow.has_ended:
        await _follow_logs(session, workflow, wanted)
        return
    output = await session.client.output(workflow.workflow_id, wanted)
    ids = wanted or [task.task_id for task in tasks if task.task_id in output]
    if session.options.as_json:
        plain = {each: [to_plain(chunk) for chunk in output.get(each, ())] for each in ids}
        click.echo(as_json({"workflow_id": workflow.workflow_id, "output": plain}))
        return
    if not any(output.get(each) for each in ids):
        which = wanted[0] if wanted else workflow.workflow_id
        click.echo(f"{which} has written nothing", err=True)
    for each in ids:
        for line in "".join(chunk.text for chunk in output.get(each, ())).splitlines():
            click.echo(output_line(each, line))


async def _follow_logs(session: Session, workflow: WorkflowReport, wanted: Sequence[str]) -> None:
    lines = Lines()
    stored = await session.client.output(workflow.workflow_id, wanted)
    for task_id, chunks in stored.items():
        _say(session, lines.feed(task_id, list(chunks)))
    async for published in session.client.watch(workflow.workflow_id):
        event = published.event
        if isinstance(event, v.TaskOutput) and (not wanted or event.task_id in wanted):
            _say(session, lines.feed(event.task_id, event.chunks))
    _say(session, lines.rest())


def _say(session: Session, lines: list[str]) -> None:
    for line in lines:
        task, _, text = line.partition(" | ")
        plain = as_json({"task_id": task, "text": text}, indent=None)
        click.echo(plain if session.options.as_json else line)
