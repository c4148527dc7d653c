"""``gleitzeit run`` and ``gleitzeit submit``."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.connection import Session, working
from gleitzeitd.cli.inputs import parse_inputs
from gleitzeitd.cli.options import Options, SecondsRange, command, connection_options
from gleitzeitd.cli.outcome import last_line, outcome_lines
from gleitzeitd.cli.reporting import FAILED, FileRefused, line_of, located
from gleitzeitd.cli.show import as_json, duration, plural
from gleitzeitd.errors import GleitzeitError, WorkflowConflict, WorkflowInvalid
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.report import WorkflowResult
from gleitzeitd.model.workflow import Workflow
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.workflow_file import WorkflowFile

if TYPE_CHECKING:
    from gleitzeitd.cli.progress import Progress
    from gleitzeitd.client import Submitted

CANCEL_SECONDS = 10.0
"""How long an interrupted workflow of this process may take to end."""

_input_option = click.option(
    "--input",
    "-i",
    "inputs",
    metavar="NAME=VALUE",
    multiple=True,
    help="An input of the workflow: JSON if it fits the declared type, else text.",
)
_id_option = click.option(
    "--id",
    "workflow_id",
    metavar="ID",
    help="The id for the workflow, instead of one made from its name and the namespace of the token.",
)


@dataclass(slots=True)
class Prepared:
    """A workflow file that has no problems of its own."""

    file: WorkflowFile
    workflow: Workflow
    inputs: dict[str, Json]
    workflow_id: str
    warnings: list[Problem] = field(default_factory=list)

    def refused(self, problem: WorkflowInvalid) -> WorkflowInvalid:
        """With the places in the file of what the system has found."""
        return FileRefused(self.file, problem.problems) if problem.problems else problem

    def warn(self, warnings: list[Problem]) -> None:
        """Say it once, however often it is found."""
        for warning in warnings:
            if warning not in self.warnings:
                self.warnings.append(warning)
                place = located(warning, self.file)
                place["message"] = f"warning: {place['message']}"
                click.echo(line_of(place), err=True)


def prepare(path: str, inputs: tuple[str, ...], workflow_id: str | None) -> Prepared:
    """Read the file.

    Raises:
        WorkflowInvalid: it has problems, all of which are named.
    """
    from gleitzeitd.cli.limits import workflow_limits
    from gleitzeitd.runtime.submission import id_for, namespace_in
    from gleitzeitd.workflow_file import load

    file = load(path, workflow_limits(click.get_current_context().ensure_object(Options)))
    reading = file.read()
    if reading.workflow is None:
        raise FileRefused(file, reading.problems)
    options = click.get_current_context().ensure_object(Options)
    identifier = id_for(reading, workflow_id, namespace_in(options.secret()) if options.hubs() else None)
    prepared = Prepared(file, reading.workflow, parse_inputs(inputs, reading.workflow.inputs), identifier)
    prepared.warn(list(reading.warnings))
    return prepared


@command("run")
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
@_input_option
@_id_option
@click.option(
    "--timeout",
    type=SecondsRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop waiting after so long.",
)
@connection_options
def run(file: str, inputs: tuple[str, ...], workflow_id: str | None, timeout: float | None) -> None:
    """Run a workflow file, and show how it goes.

    With a hub (--hub, GLEITZEIT_HUB_URL, or the configuration) the workflow runs there, and goes on
    when this command is interrupted. Without one everything runs in this process, and ends with it.

    Example:
      gleitzeit run pipeline.yaml --input day=monday --input limit=10

    Exit codes:
      0 completed    1 failed or cancelled    2 the file is wrong, nothing ran
      3 no hub       4 not authorised         130 interrupted
    """
    _run(prepare(file, inputs, workflow_id), timeout)


@working
async def _run(session: Session, prepared: Prepared, timeout: float | None) -> int:  # noqa: ASYNC109
    submitted: list[Submitted] = []
    progress = _progress(session.options, prepared)
    session.options.tell = progress.tell

    def accepted(by_system: Submitted) -> None:
        submitted.append(by_system)
        progress.begin(f"{prepared.workflow_id}: {plural(len(prepared.workflow.tasks), 'task')}")

    if session.embedded:
        await _check_served(session, prepared)
    try:
        with progress:
            async with asyncio.timeout(timeout):
                result = await session.client.run(
                    prepared.file.document,
                    workflow_id=prepared.workflow_id,
                    inputs=prepared.inputs,
                    on_event=progress.show,
                    on_submitted=accepted,
                )
    except WorkflowInvalid as problem:
        raise prepared.refused(problem) from problem
    except WorkflowConflict as problem:
        raise WorkflowConflict(f"{problem}; --id gives it another id") from problem
    except TimeoutError:
        return await _left_behind(session, prepared, f"not finished after {duration(timeout)}")
    except asyncio.CancelledError:
        if submitted:
            await _left_behind(session, prepared, "interrupted")
        raise
    if not session.options.as_json:
        prepared.warn(submitted[0].warnings)
        if submitted[0].duplicate:
            click.echo(f"{prepared.workflow_id} was submitted before; this is what became of it", err=True)
    _finish(session, result)
    return 0 if result.completed else FAILED


async def _check_served(session: Session, prepared: Prepared) -> None:
    """To a hub a provider may come later; to this process none will.

    Raises:
        WorkflowInvalid: nobody serves a method, and it would wait for ever.
    """
    served = {each.protocol for each in (await session.client.protocols()).providers}
    problems = [
        Problem(
            path=("tasks", number, "method"),
            message=f"nobody serves {task.protocol} here{did_you_mean(task.protocol, served)}; with --hub "
            "a provider of one's own can",
        )
        for number, task in enumerate(prepared.workflow.tasks)
        if task.protocol not in served
    ]
    if problems and served:
        raise FileRefused(prepared.file, problems)


def _progress(options: Options, prepared: Prepared) -> Progress:
    from gleitzeitd.cli.board import Board
    from gleitzeitd.cli.progress import Live, Plain, Silent

    board = Board.of(task.id for task in prepared.workflow.tasks)
    if options.as_json and not sys.stderr.isatty():
        return Silent()
    if not options.as_json and not sys.stdout.isatty():
        return Plain(board)
    from rich.console import Console

    return Live(board, Console(stderr=options.as_json, highlight=False))


async def _left_behind(session: Session, prepared: Prepared, why: str) -> int:
    """Say what happens to a workflow that is no longer waited for; one of this process is cancelled."""
    workflow_id = prepared.workflow_id
    if not session.embedded:
        click.echo(
            f"{why}; the workflow goes on\n"
            f"  to see it:    gleitzeit watch {workflow_id}\n"
            f"  to cancel it: gleitzeit cancel {workflow_id}",
            err=True,
        )
    else:
        click.echo(f"{why}; cancelling", err=True)
        with suppress(GleitzeitError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await session.client.cancel(workflow_id, why)
                async for _ in session.client.watch(workflow_id):
                    pass
        with suppress(GleitzeitError):
            click.echo(last_line(await session.client.result(workflow_id)), err=True)
    if session.options.as_json:
        click.echo(as_json((await session.client.result(workflow_id)).plain()))
    return FAILED


def _finish(session: Session, result: WorkflowResult) -> None:
    if session.options.as_json:
        click.echo(as_json(result.plain()))
        return
    for line in outcome_lines(result, short=True):
        click.echo(line)
    click.echo()
    click.echo(last_line(result))
    if not result.completed:
        click.echo(f"more: gleitzeit why {result.workflow_id}", err=True)


@command("submit")
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
@_input_option
@_id_option
@connection_options
@click.pass_context
def submit(ctx: click.Context, file: str, inputs: tuple[str, ...], workflow_id: str | None) -> None:
    """Hand a workflow file over to a hub, and return at once.

    When this command ends with 0 the workflow is on disk, and will be finished.

    Example:
      gleitzeit submit nightly.yaml --id nightly-2026-01-31
    """
    if not ctx.ensure_object(Options).hubs() and ctx.ensure_object(Options).connect is None:
        raise click.UsageError(
            "there is no hub that could go on with it: give --hub URL, or use gleitzeit run, "
            "which waits until the workflow has ended"
        )
    _submit(prepare(file, inputs, workflow_id))


@working
async def _submit(session: Session, prepared: Prepared) -> None:
    try:
        submitted = await session.client.submit(
            prepared.file.document, workflow_id=prepared.workflow_id, inputs=prepared.inputs
        )
    except WorkflowInvalid as problem:
        raise prepared.refused(problem) from problem
    if session.options.as_json:
        click.echo(as_json({"workflow_id": submitted.workflow_id, "duplicate": submitted.duplicate}))
        return
    prepared.warn(submitted.warnings)
    before = " (it was there already)" if submitted.duplicate else ""
    click.echo(f"{submitted.workflow_id}{before}")
