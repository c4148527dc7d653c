"""``gleitzeit watch``: what happens, as it happens."""

from __future__ import annotations

import sys
import time

import click

from gleitzeitd.cli.board import Board
from gleitzeitd.cli.connection import Session, online
from gleitzeitd.cli.identify import find_workflow
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.outcome import last_line
from gleitzeitd.cli.progress import Lines, Live, Plain, Progress, change_line
from gleitzeitd.cli.reporting import FAILED
from gleitzeitd.cli.show import as_json, count_text, instant, plural, status_text
from gleitzeitd.events import provider as v
from gleitzeitd.machines.client import Published
from gleitzeitd.machines.feed import stamp_of
from gleitzeitd.model.report import OPEN_STATUSES
from gleitzeitd.plain import Json, to_plain

WIDTH = 40
"""Columns for ``workflow/task`` when everything is watched."""


@command("watch")
@click.argument("workflow", required=False)
@click.option("--all", "everything", is_flag=True, help="Every workflow, until interrupted.")
@connection_options
def watch(workflow: str | None, everything: bool) -> None:
    """Follow a workflow until it has ended.

    The exit code is that of gleitzeit run.

    With --json every event is one line.

    Examples:
      gleitzeit watch last
      gleitzeit watch --all
    """
    if everything == (workflow is not None):
        raise click.UsageError("give either a WORKFLOW or --all")
    _everything() if workflow is None else _one(workflow)


@online
async def _one(session: Session, text: str) -> int:
    workflow = await find_workflow(session.client, text)
    if session.options.as_json:
        async for published in session.client.watch(workflow.workflow_id):
            click.echo(as_json(event_plain(published), indent=None))
        return 0 if (await session.client.status(workflow.workflow_id)).status == "completed" else FAILED
    tasks = await session.client.tasks(workflow.workflow_id)
    board = Board.of(task.task_id for task in tasks)
    with _progress(board) as progress:
        session.options.tell = progress.tell
        progress.begin(f"{workflow.workflow_id}: {plural(len(tasks), 'task')}")
        number, at = 0, instant(workflow.submitted_at) or time.time()
        async for published in session.client.history(workflow.workflow_id):
            # What has no time of its own happened just after what was before it.
            progress.show(published, max(at, board.last))
            stamp = stamp_of(published.event)
            number = stamp.number if stamp is not None else number
        if board.status in OPEN_STATUSES:
            async for published in session.client.watch(workflow.workflow_id, number):
                progress.show(published)
    result = await session.client.result(workflow.workflow_id)
    click.echo()
    click.echo(last_line(result))
    return 0 if result.completed else FAILED


def _progress(board: Board) -> Progress:
    if not sys.stdout.isatty():
        return Plain(board)
    from rich.console import Console

    return Live(board, Console(highlight=False))


def event_plain(published: Published) -> Json:
    """An event as one JSON object."""
    event = published.event
    return {"event": event.name, "correlation_id": published.correlation_id, **to_plain(event)}


@online
async def _everything(session: Session) -> None:
    boards: dict[str, Board] = {}
    lines = Lines()
    if not session.options.as_json:
        click.echo("watching; Ctrl-C ends it", err=True)
    async for published in session.client.follow("*"):
        if session.options.as_json:
            click.echo(as_json(event_plain(published), indent=None))
            continue
        event = published.event
        workflow_id = event.topic() or ""
        if isinstance(event, v.TaskOutput):
            for line in lines.feed(f"{workflow_id}/{event.task_id}", event.chunks):
                click.echo(line)
            continue
        board = boards.setdefault(workflow_id, Board())
        for change in board.apply(event, time.time()):
            name = f"{workflow_id}/{change.task_id}" if change.task_id else workflow_id
            click.echo(change_line(change, WIDTH, name))
        if board.status not in OPEN_STATUSES:
            click.echo(f"{workflow_id} is {status_text(board.status)}: {count_text(board.counts())}")
            del boards[workflow_id]
