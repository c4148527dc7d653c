"""``gleitzeit validate``, ``schema`` and ``version``: what needs no system."""

from __future__ import annotations

import click

from gleitzeitd import __version__
from gleitzeitd.cli.options import Options, command, json_option
from gleitzeitd.cli.reporting import FileRefused, line_of, located
from gleitzeitd.cli.show import as_json, plural
from gleitzeitd.errors import GleitzeitError, WorkflowInvalid


@command("validate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(readable=False))
@json_option
@click.pass_context
def validate(ctx: click.Context, files: tuple[str, ...]) -> None:
    """Check workflow files without running them.

    Every problem is shown with its line and column.

    Example:
      gleitzeit validate pipeline.yaml
    """
    from gleitzeitd.cli import reporting

    options = ctx.ensure_object(Options)
    found: list[WorkflowInvalid] = []
    checked = []
    for path in files:
        try:
            checked.append(_validated(path, options))
        except WorkflowInvalid as problem:
            found.append(problem)
            if not options.as_json:
                reporting.report(problem, json=False)
    if options.as_json:
        error: GleitzeitError | None = found[0] if found else None
        plain = reporting.plain(error) if error is not None else {"error": None, "problems": []}
        for more in found[1:]:
            plain["problems"] += reporting.plain(more)["problems"]
        click.echo(as_json({"valid": not found, **plain, "files": checked}))
    ctx.exit(reporting.REFUSED if found else 0)


def _validated(path: str, options: Options) -> dict[str, object]:
    from gleitzeitd.cli.limits import workflow_limits
    from gleitzeitd.workflow_file import load

    file = load(path, workflow_limits(options))
    reading = file.read()
    if reading.workflow is None:
        raise FileRefused(file, reading.problems)
    warnings = [located(warning, file) for warning in reading.warnings]
    tasks, inputs = len(reading.workflow.tasks), len(reading.workflow.inputs)
    if not options.as_json:
        for place in warnings:
            click.echo(line_of({**place, "message": f"warning: {place['message']}"}), err=True)
        more = f", {plural(inputs, 'input')}" if inputs else ""
        click.echo(f"{path}: valid: {plural(tasks, 'task')}{more}")
    return {"file": path, "name": reading.workflow.name, "tasks": tasks, "warnings": warnings}


@command("schema")
@json_option
def schema() -> None:
    """The JSON Schema of workflow files, for editors.

    Example:
      gleitzeit schema > gleitzeit.schema.json
    """
    from gleitzeitd.model.workflow_schema import workflow_schema

    click.echo(as_json(workflow_schema()))


@command("version")
@json_option
@click.pass_context
def version(ctx: click.Context) -> None:
    """Which version this is.

    Example:
      gleitzeit version
    """
    json = ctx.ensure_object(Options).as_json
    click.echo(as_json({"version": __version__}) if json else f"gleitzeit {__version__}")
