"""``gleitzeit delete``: finished workflows go before their time."""

from __future__ import annotations

import click

from gleitzeitd.cli.connection import Session, online
from gleitzeitd.cli.identify import find_workflow
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.show import as_json
from gleitzeitd.plain import Json


@command("delete")
@click.argument("workflow", nargs=-1, required=True)
@connection_options
def delete(workflow: tuple[str, ...]) -> None:
    """Keep nothing of finished workflows any more: no task, no result, no history.

    One that has not finished is refused: cancel it first. The ledger deletes what has finished by
    itself, after persistence.keep_finished_days, and beyond persistence.keep_finished_count.

    Example:
      gleitzeit delete nightly-1f0a nightly-77c3
    """
    _delete(workflow)


@online
async def _delete(session: Session, texts: tuple[str, ...]) -> None:
    # All are looked for before the first is deleted: a name that is wrong costs nothing.
    found = [await find_workflow(session.client, text) for text in texts]
    deleted: list[Json] = []
    for workflow_id in dict.fromkeys(each.workflow_id for each in found):
        # If it is not there by now, somebody else has deleted it, or a repeat of this was answered.
        await session.client.delete(workflow_id)
        deleted.append(workflow_id)
        if not session.options.as_json:
            click.echo(f"{workflow_id} is deleted")
    if session.options.as_json:
        click.echo(as_json({"deleted": deleted}))
