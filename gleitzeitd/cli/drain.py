"""``gleitzeit drain``: take an engine or a provider out of service without interrupting what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from gleitzeitd.cli.connection import Session, online, say_where
from gleitzeitd.cli.options import SecondsRange, command, connection_options
from gleitzeitd.cli.reporting import FAILED
from gleitzeitd.cli.show import Column, as_json, echo_lines, plural, table, terminal_width
from gleitzeitd.errors import AnswerTimeout, GleitzeitError
from gleitzeitd.events.hub import ComponentInfo
from gleitzeitd.events.operations import DRAINABLE, ComponentDraining, DrainComponent
from gleitzeitd.plain import did_you_mean

LOOK_SECONDS = 0.5
"""Between two looks whether it has finished."""

UNANSWERED = (
    "it is connected, and perhaps a provider that does not know drain_component. Then stop it: what runs "
    "there is lost to it, and tried again as on_lost says"
)


@command("drain")
@click.argument("component", metavar="[ENGINE|PROVIDER]", required=False)
@click.option("--wait", is_flag=True, help="Return when nothing runs there any more.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=SecondsRange(min=0),
    help="With --wait: how long; then the exit code is 1, and it goes on draining.",
)
@click.option("--undo", is_flag=True, help="Have it take work again.")
@connection_options
def drain(component: str | None, wait: bool, timeout: float | None, undo: bool) -> None:
    """Have an engine or a provider take nothing new and finish what runs.

    What waits there goes to others. It is named by its id, or by the beginning of that if no other one
    begins so; without one, those that can be drained are shown. It stays so until --undo, or until the
    daemon is started again. systemctl stop does the same within the time that the daemon's settings give it,
    and then hands back what still runs.

    Examples:
      gleitzeit drain
      gleitzeit drain execution-engine-node2 --wait
      gleitzeit drain --undo execution-engine-node2
    """
    _drain(component, wait, timeout, undo)


@online
async def _drain(
    session: Session, text: str | None, wait: bool, seconds: float | None, undo: bool
) -> int | None:
    say_where(session)
    some = [each for each in await session.client.components() if each.component_type in DRAINABLE]
    if text is None:
        _show(session, some)
        return None
    chosen = the_one(some, text)
    try:
        state = await _told(session, chosen.component_id, undo=undo)
    except AnswerTimeout as silence:
        present = {each.component_id for each in await session.client.components()}
        if chosen.component_id not in present:
            raise
        raise AnswerTimeout(f"{silence}; {UNANSWERED}") from silence
    finished = True
    if wait and not undo:
        finished = await _until_idle(session, chosen.component_id, state, seconds)
        state = ComponentDraining(draining=True, load=0) if finished else state
    if session.options.as_json:
        plain = {"component_id": chosen.component_id, "draining": state.draining, "load": state.load}
        click.echo(as_json({**plain, "finished": state.draining and not state.load}))
    else:
        click.echo(state_line(chosen.component_id, state, undo=undo))
    return None if finished else FAILED


def the_one(some: Sequence[ComponentInfo], text: str) -> ComponentInfo:
    """The component of this id, or the only one whose id begins so.

    Raises:
        GleitzeitError: there is none, or more than one.
    """
    found = [each for each in some if each.component_id == text]
    found = found or [each for each in some if each.component_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.component_id for each in found)
        raise GleitzeitError(f"{text!r} may be any of {names}")
    hint = did_you_mean(text, [each.component_id for each in some])
    raise GleitzeitError(f"no execution engine or provider is called {text!r}{hint}; see gleitzeit drain")


def state_line(component_id: str, state: ComponentDraining, *, undo: bool) -> str:
    """What has come of it, in words."""
    if undo:
        if state.draining:
            return f"{component_id} is about to end, and takes no work"
        return f"{component_id} takes work again"
    if state.load:
        return f"{component_id} takes nothing new; {plural(state.load, 'task')} still there"
    return f"{component_id} takes nothing new, and nothing runs there: it can be stopped"


def _show(session: Session, some: Sequence[ComponentInfo]) -> None:
    if session.options.as_json:
        plain = [
            {
                "component_id": each.component_id,
                "component_type": each.component_type.value,
                "status": each.status,
                "load": each.load,
                "hostname": each.hostname,
            }
            for each in some
        ]
        click.echo(as_json({"components": plain}))
        return
    if not some:
        click.echo("no execution engine and no provider is connected")
        return
    columns = [
        Column("component", flexible=True, least=20),
        Column("role"),
        Column("status"),
        Column("load", right=True),
        Column("host", optional=1, flexible=True),
    ]
    rows = [
        (each.component_id, each.component_type.value, each.status, str(each.load), each.hostname)
        for each in some
    ]
    echo_lines(table(columns, rows, terminal_width()))


async def _told(session: Session, component_id: str, *, undo: bool = False) -> ComponentDraining:
    answer = await session.client.ask(DrainComponent(undo=undo), to=component_id)
    if not isinstance(answer, ComponentDraining):
        raise GleitzeitError(f"drain_component was answered by {answer.name}")
    return answer


async def _until_idle(
    session: Session, component_id: str, state: ComponentDraining, seconds: float | None
) -> bool:
    """False if that takes longer. It is asked itself: what the hub knows is a heartbeat old."""
    if state.load and not session.options.as_json:
        click.echo(state_line(component_id, state, undo=False), err=True)
    try:
        async with asyncio.timeout(seconds):
            while state.load:
                await asyncio.sleep(LOOK_SECONDS)
                state = await _told(session, component_id)
    except TimeoutError:
        return False
    except AnswerTimeout:
        # Somebody has stopped it meanwhile, or its host: then nothing runs there either.
        present = {each.component_id for each in await session.client.components()}
        if component_id in present:
            raise
    return True
