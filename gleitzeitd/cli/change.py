"""``gleitzeit cancel``, ``resolve`` and ``priority``: what is to be otherwise."""

from __future__ import annotations

import json

import click

from gleitzeitd.cli.connection import Session, online
from gleitzeitd.cli.identify import find_workflow, known_task
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.show import as_json
from gleitzeitd.model.ledger import Verdict
from gleitzeitd.model.workflow import Priority
from gleitzeitd.plain import Json


@command("cancel")
@click.argument("workflow")
@click.option("--reason", metavar="TEXT", default="", help="Why; whoever asks later is told.")
@connection_options
def cancel(workflow: str, reason: str) -> None:
    """Run nothing more of a workflow, and end what runs.

    Example:
      gleitzeit cancel nightly-1f0a --reason "the disk is full"
    """
    _cancel(workflow, reason)


@online
async def _cancel(session: Session, text: str, reason: str) -> None:
    workflow = await find_workflow(session.client, text)
    saved = await session.client.cancel(workflow.workflow_id, reason)
    if session.options.as_json:
        click.echo(as_json({"workflow_id": workflow.workflow_id, "status": saved.status}))
        return
    again = "was being cancelled already" if saved.status == "duplicate" else "is being cancelled"
    click.echo(f"{workflow.workflow_id} {again}")


_SAID = {
    Verdict.RERUN: "runs again",
    Verdict.FAIL: "has failed",
    Verdict.DONE: "is done",
}


@command("resolve")
@click.argument("workflow")
@click.argument("task")
@click.argument("verdict", type=click.Choice([verdict.value for verdict in Verdict]))
@click.option("--result", metavar="JSON", help="What the task returned, if it is done.")
@connection_options
def resolve(workflow: str, task: str, verdict: str, result: str | None) -> None:
    """Say what became of a task that was lost while it ran.

    Only of tasks with "on_lost: ask": they may not run twice, and only you can find out what
    became of them.

    Example:
      gleitzeit resolve nightly-1f0a pay done --result '{"paid": true}'
    """
    if result is not None and verdict != Verdict.DONE.value:
        raise click.UsageError(f"--result is for a task that is done, not for {verdict}")
    try:
        value = None if result is None else json.loads(result)
    except ValueError as problem:
        raise click.BadParameter(f"{problem}; text needs quotes", param_hint="--result") from None
    _resolve(workflow, task, Verdict(verdict), value)


@online
async def _resolve(session: Session, text: str, task_id: str, verdict: Verdict, result: Json) -> None:
    workflow = await find_workflow(session.client, text)
    tasks = {task.task_id: task for task in await session.client.tasks(workflow.workflow_id)}
    task = tasks[known_task(tasks, task_id)]
    # With the attempt that was looked at: should it be lost once more meanwhile, that is another question.
    saved = await session.client.resolve(
        workflow.workflow_id, task.task_id, verdict, result, attempt=task.attempt
    )
    if session.options.as_json:
        plain = {"workflow_id": workflow.workflow_id, "task_id": task.task_id, "verdict": verdict.value}
        click.echo(as_json({**plain, "status": saved.status}))
        return
    again = " (that was said before)" if saved.status == "duplicate" else ""
    click.echo(f"{task.task_id} {_SAID[verdict]}{again}")


@command("priority")
@click.argument("workflow")
@click.argument("level", type=click.Choice([level.name.lower() for level in Priority]))
@click.argument("tasks", nargs=-1)
@connection_options
def priority(workflow: str, level: str, tasks: tuple[str, ...]) -> None:
    """Change the priority of what does not run yet.

    That is: of the TASKS named, or of all in the workflow.

    Example:
      gleitzeit priority nightly-1f0a urgent
    """
    _priority(workflow, Priority[level.upper()], tasks)


@online
async def _priority(session: Session, text: str, level: Priority, tasks: tuple[str, ...]) -> None:
    workflow = await find_workflow(session.client, text)
    if tasks:
        known = [task.task_id for task in await session.client.tasks(workflow.workflow_id)]
        tasks = tuple(known_task(known, each) for each in tasks)
    saved = await session.client.set_priority(workflow.workflow_id, level, tasks)
    if session.options.as_json:
        plain = {"workflow_id": workflow.workflow_id, "priority": level.name.lower(), "status": saved.status}
        click.echo(as_json(plain))
        return
    click.echo(f"{workflow.workflow_id} has priority {level.name.lower()} from now on")
