"""``gleitzeit conform``: does a provider, in whatever language, do what a provider has to do?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.options import Options, SecondsRange, command, json_option
from gleitzeitd.cli.reporting import FAILED
from gleitzeitd.cli.show import as_json, plural, printable, style
from gleitzeitd.errors import ConfigError
from gleitzeitd.plain import Json, did_you_mean, to_plain

if TYPE_CHECKING:
    from gleitzeitd.conform import Outcome, Settings
    from gleitzeitd.conform.driver import Sample

_COLOURS: dict[str, dict[str, Json]] = {
    "ok": {"fg": "green"},
    "failed": {"fg": "red"},
    "skipped": {"dim": True},
}


_above_zero = SecondsRange(min=0, min_open=True)


@command("conform")
@click.argument("provider", metavar="[COMMAND]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--port",
    metavar="NUMBER",
    type=click.IntRange(0, 65535),
    default=0,
    help="Where the hub listens; 0, the default, is any free port.",
)
@click.option(
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=_above_zero,
    default=5.0,
    help="For every answer; 5 by default.",
)
@click.option(
    "--start",
    metavar="SECONDS",
    type=_above_zero,
    default=60.0,
    help="Until the provider has registered; 60 by default.",
)
@click.option(
    "--call",
    "calls",
    metavar="METHOD=JSON",
    multiple=True,
    help="A call that works, with its parameters; one is made up otherwise. Can be repeated.",
)
@click.option("--slow", metavar="METHOD=JSON", help="A call that takes long enough to be cancelled.")
@click.option("--only", metavar="CHECK", multiple=True, help="Make this check. Can be repeated.")
@click.option(
    "--origin",
    "origins",
    metavar="URL",
    multiple=True,
    help="Let web pages of this origin connect; * is any. Can be repeated.",
)
@json_option
@click.pass_context
def conform(
    ctx: click.Context,
    provider: tuple[str, ...],
    port: int,
    seconds: float,
    start: float,
    calls: tuple[str, ...],
    slow: str | None,
    only: tuple[str, ...],
    origins: tuple[str, ...],
) -> None:
    """Check whether a provider in any language does all that a provider has to do.

    A hub of its own is started on 127.0.0.1, and then COMMAND, with GLEITZEIT_HUB_URL and GLEITZEIT_TOKEN
    in its environment. Without COMMAND, the address and the token are shown, and the first provider that
    connects is looked at. What a provider has to do is told in
    /usr/share/doc/gleitzeit/sdk/PROVIDERS.md.

    Exit codes:
      0 it does
      1 at least one check has failed
      2 the command line is wrong, or COMMAND cannot be started

    Examples:
      gleitzeit conform -- node provider.mjs
      gleitzeit conform --call 'weather/forecast={"city": "Ulm"}' -- ./weather
      gleitzeit conform --port 8010 --origin http://localhost:8080
    """
    from gleitzeitd.conform import CHECKS, Settings

    for name in only:
        if name not in CHECKS:
            raise click.UsageError(f"--only: there is no check {name!r}{did_you_mean(name, CHECKS)}")
    settings = Settings(
        seconds=seconds,
        start_seconds=start,
        calls=tuple(_sample("--call", each) for each in calls),
        slow=_sample("--slow", slow) if slow else None,
    )
    found = asyncio.run(_tried(ctx.ensure_object(Options), provider, settings, port, only, origins))
    ctx.exit(FAILED if any(each.status == "failed" for each in found) else 0)


def _sample(option: str, text: str) -> Sample:
    from gleitzeitd.conform.driver import Sample

    method, _, parameters = text.partition("=")
    try:
        value = json.loads(parameters or "{}")
    except ValueError as problem:
        raise click.UsageError(f"{option} {method}: no JSON: {problem}") from None
    if type(value) is not dict or not method:
        raise click.UsageError(f'{option}: expected METHOD={{"name": value}}, found {text!r}')
    return Sample(method, value)


async def _tried(
    options: Options,
    provider: Sequence[str],
    settings: Settings,
    port: int,
    only: Sequence[str],
    origins: tuple[str, ...],
) -> list[Outcome]:
    from gleitzeitd.conform import Trial
    from gleitzeitd.conform.arena import Arena

    found: list[Outcome] = []
    try:
        async with Arena(port=port, origins=origins) as arena:
            if not provider:
                click.echo(f"GLEITZEIT_HUB_URL={arena.hub_url}\nGLEITZEIT_TOKEN={arena.token}", err=True)
            async for each in Trial(arena, command=provider, settings=settings, only=only).run():
                found.append(each)
                if not options.as_json:
                    _show(each)
    except OSError as problem:
        raise ConfigError(f"--port {port}: {problem.strerror or problem}") from problem
    counts = {status: sum(each.status == status for each in found) for status in _COLOURS}
    if options.as_json:
        plain: list[Json] = [to_plain(each) for each in found]
        click.echo(as_json({"conforms": not counts["failed"], **counts, "checks": plain}))
    else:
        click.echo(
            f"\n{plural(counts['ok'], 'check')} ok, {counts['failed']} failed, {counts['skipped']} skipped"
        )
    return found


def _show(each: Outcome) -> None:
    status = style(f"{each.status:8}", **_COLOURS[each.status])
    click.echo(f"{status}{each.name:17} {each.expected}")
    if each.status != "ok" and each.seen:
        click.echo(f"{'':25} seen: {printable(each.seen)}")
