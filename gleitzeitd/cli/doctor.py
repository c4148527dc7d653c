"""``gleitzeit doctor``: what is wrong with this host and with the system, each with its remedy.

Every look is one function that gives findings. None of them raises: that something cannot be looked at is a
finding as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import click

from gleitzeitd.cli.checks import Finding, ok, problem, warning
from gleitzeitd.cli.connection import here_is_a_hub
from gleitzeitd.cli.host import hub_runs
from gleitzeitd.cli.options import Options, command, connection_options
from gleitzeitd.cli.show import as_json, echo_lines, plural, printable, style
from gleitzeitd.errors import GleitzeitError, HubUnreachable, NotAuthenticated, TlsFailed
from gleitzeitd.plain import Json, to_plain

SECONDS = 30.0
"""For all that is asked of the hub and by way of it."""
SUGGESTED = "http://localhost:8000"
_COLOURS: dict[str, dict[str, Json]] = {
    "ok": {"fg": "green"},
    "warning": {"fg": "yellow"},
    "problem": {"fg": "red"},
}


@command("doctor")
@connection_options
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """What is wrong with this host and with the system, and what to do about it.

    Looks at the units, the configuration, the token and the database of this host, as far as this user may,
    and by way of the hub at the components of all hosts: whether one is missing or silent, their versions
    and clocks, and whether tasks wait for what does not come.

    Exit codes:
      0 nothing, or warnings only
      1 at least one problem

    Examples:
      gleitzeit doctor
      gleitzeit doctor --json
    """
    options = ctx.ensure_object(Options)
    findings = [*_of_this_host(options), *_of_the_system(options)]
    problems = sum(each.level == "problem" for each in findings)
    if options.as_json:
        plain: list[Json] = [to_plain(each) for each in findings]
        click.echo(as_json({"healthy": not problems, "findings": plain}))
    else:
        echo_lines(finding_lines(findings))
    ctx.exit(1 if problems else 0)


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One line each, what helps below it, and a summary."""
    width = max(len(each.about) for each in findings)
    for each in findings:
        level = style(f"{each.level:8}", **_COLOURS[each.level])
        yield f"{level}{each.about:{width}}  {printable(each.text)}"
        if each.remedy:
            yield f"{'':{8 + width}}  try: {printable(each.remedy)}"
    counts = {level: sum(each.level == level for each in findings) for level in ("problem", "warning")}
    found = ", ".join(plural(count, level) for level, count in counts.items() if count)
    yield ""
    yield found or "all is well"


def _of_this_host(options: Options) -> list[Finding]:
    from gleitzeitd.cli import checks_host as here
    from gleitzeitd.cli.checks_token import token
    from gleitzeitd.cli.host import is_booted, units

    found = units()
    return [
        *here.units(found, booted=is_booted()),
        *here.configuration(options.environment),
        *token(options),
        *here.tls(options.environment, time.time()),
        *here.isolation(),
        *here.database(options),
    ]


def _of_the_system(options: Options) -> list[Finding]:
    try:
        hubs = options.hubs()
    except GleitzeitError as wrong:
        return [problem("hub", str(wrong), "correct the address")]
    if not hubs and options.connect is None and hub_runs():
        return [problem("hub", here_is_a_hub(options), "as root: gleitzeitd keygen")]
    if not hubs and options.connect is None:
        return [
            warning(
                "hub",
                "no hub is set for this user; what it runs would run in its own process",
                f"gleitzeit --hub {SUGGESTED} doctor, or hub_urls in [connection] of /etc/gleitzeit/cli.toml",
            )
        ]
    where = ", ".join(hubs)
    try:
        return asyncio.run(_asked(options, where))
    except TlsFailed as wrong:
        return [problem("certificates", str(wrong), "gleitzeit cert show, on both hosts")]
    except HubUnreachable as wrong:
        return [
            problem("hub", f"{where} cannot be reached: {wrong}", "systemctl status gleitzeit-hub, there")
        ]
    except NotAuthenticated as wrong:
        return [problem("token", str(wrong), "gleitzeitd keygen --help says how hosts get theirs")]
    except GleitzeitError as wrong:
        return [problem("hub", f"{where} is not asked: {wrong}", "see above, or gleitzeit components")]
    except TimeoutError:
        return [problem("hub", f"{where} does not answer within {SECONDS:g} s", "gleitzeit components")]


async def _asked(options: Options, where: str) -> list[Finding]:
    from gleitzeitd.cli import checks_system as there
    from gleitzeitd.cli.connection import connected

    async with (
        asyncio.timeout(SECONDS),
        (options.connect or connected)(options, works=False) as session,
    ):
        components = await session.client.components()
        return [
            ok("hub", f"{where} answers" if where else "it answers"),
            *there.roles(components),
            *there.states(components),
            *there.shards(components),
            *there.versions(components),
            *there.clocks(components),
            *await there.work(session.client, components),
        ]
