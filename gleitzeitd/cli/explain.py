"""``gleitzeit explain``: what an error means, and what there is to do; as ``journalctl -x`` says it."""

from __future__ import annotations

import click

from gleitzeitd.cli.options import Options, command, json_option
from gleitzeitd.cli.show import as_json
from gleitzeitd.model.explanation import EXPLANATIONS, Explanation, find, suggestion
from gleitzeitd.plain import Json


@command("explain")
@click.argument("code", metavar="[CODE]", required=False)
@json_option
@click.pass_context
def explain(ctx: click.Context, code: str | None) -> None:
    """What an error means, and what there is to do.

    CODE is its number or its name; without it, all of them are listed.

    Examples:
      gleitzeit explain 29003
      gleitzeit explain task_timeout
    """
    as_text = not ctx.ensure_object(Options).as_json
    if code is None:
        if as_text:
            click.echo(_listed())
        else:
            click.echo(as_json({"errors": [_plain(each) for each in EXPLANATIONS.values()]}))
        return
    found = find(code)
    if found is None:
        hint = suggestion(code) or ": gleitzeit explain lists them"
        raise click.UsageError(f"there is no error {code!r}{hint}", ctx)
    click.echo(f"{found.title()}\n\n{found.body()}" if as_text else as_json(_plain(found)))


explain.ignore_unknown_options = True  # a number with its minus is none


def _listed() -> str:
    width = max(len(name) for name in EXPLANATIONS)
    return "\n".join(f"{each.code}  {each.name:{width}}  {each.subject}" for each in EXPLANATIONS.values())


def _plain(one: Explanation) -> Json:
    return {
        "code": one.code,
        "name": one.name,
        "message_id": one.message_id,
        "retryable": one.retryable,
        "subject": one.subject,
        "cause": one.cause,
        "itself": one.itself,
        "remedy": one.remedy,
        "commands": list(one.commands),
    }
