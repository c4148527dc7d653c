"""``gleitzeit join``: one line that makes a host work for another one's hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.options import Options, command, json_option
from gleitzeitd.cli.placing import place
from gleitzeitd.cli.show import as_json, plural
from gleitzeitd.errors import ConfigError
from gleitzeitd.plain import Json

if TYPE_CHECKING:
    from gleitzeitd.cli.joining import HostFiles, Ticket

MOST_TOKENS = 2
"""One for daemons, one for people."""
_STDIN_LIMIT = 16384


@command("join")
@click.argument("url", metavar="URL")
@click.argument("tokens", metavar="TOKEN...", nargs=-1, required=True)
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The certificate of this host (PEM), for a hub that asks for one.",
)
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path), help="Its private key.")
@click.option("--no-restart", is_flag=True, help="Only write files; units use them when they are started.")
@click.option("--dry-run", is_flag=True, help="Ask the hub, say what would be done, and do nothing.")
@json_option
@click.pass_context
def join(
    ctx: click.Context,
    url: str,
    tokens: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    no_restart: bool,
    dry_run: bool,
) -> None:
    """Have this host work for the hub of another one.

    TOKEN was made on the hub's host by `gleitzeit token create`; there may be two, one for the daemons and
    one for the members of the group gleitzeit. Other users can see what is in a command line: with - instead,
    tokens are read from standard input, one in a line.

    The hub has to let this host in; then its CA, the token and the hub's address are written below
    /etc/gleitzeit and /etc/credstore, for every daemon that is installed, and these are restarted. It is all
    done or nothing. Joining again, or another hub, replaces what was written.

    Examples:
      gleitzeit join https://hub.example.org:8000 - < token
      gleitzeit join https://hub.example.org:8000 TOKEN --certificate worker-1.pem --key worker-1.key
      gleitzeit join https://hub.example.org:8000 TOKEN --dry-run
    """
    from gleitzeitd.cli import joining as j

    options = ctx.ensure_object(Options)
    files = host_files()
    url = j.checked_url(url)
    tickets = [j.ticket(each) for each in _given(tokens)]
    j.places(tickets, files)
    fingerprint = j.authority_of(url, tickets)
    shown = j.own_certificate(certificate, key, files)
    if not fingerprint:
        options.tell(f"warning: {url} is not encrypted: whoever is on the way reads the token, and all else")
        shown = None
    ca = j.fetch_authority(url, fingerprint, shown) if fingerprint else b""
    j.prove(url, tickets, ca, shown)
    wanted = j.files_to_write(url, tickets, ca, shown, files)
    names = [] if no_restart else [unit.name for unit in j.units_to_restart()]
    trouble = ""
    if not dry_run:
        place(wanted)
        trouble = j.restart(names) if names else ""
    written = [str(each.path) for each in wanted]
    _say(options, url, fingerprint, written, names, dry_run=dry_run)
    if trouble:
        raise ConfigError(f"this host has joined, and its units were not started again: {trouble}")
    if not options.as_json:
        _hint(options, files, tickets, roles=len(j.drop_ins(files.directory)))


def host_files() -> HostFiles:
    """Those of this host."""
    from gleitzeitd.cli.joining import HostFiles

    return HostFiles()


def _given(tokens: tuple[str, ...]) -> list[str]:
    given = list(tokens)
    if given == ["-"]:
        given = [line for line in sys.stdin.read(_STDIN_LIMIT).splitlines() if line.strip()]
    if not 0 < len(given) <= MOST_TOKENS:
        raise ConfigError(f"expected a token, or one for daemons and one for people, found {len(given)}")
    return given


def _say(
    options: Options, url: str, fingerprint: str, written: list[str], names: list[str], *, dry_run: bool
) -> None:
    if options.as_json:
        plain: dict[str, Json] = {
            "hub": url,
            "ca_fingerprint": fingerprint,
            "files": [*written],
            "restarted": [*names],
            "dry_run": dry_run,
        }
        click.echo(as_json(plain))
        return
    for file in written:
        click.echo(f"{'would write' if dry_run else 'wrote'} {file}")
    for name in names:
        click.echo(f"{'would restart' if dry_run else 'restarted'} {name}")
    done = "would work for" if dry_run else "works for"
    click.echo(f"this host {done} {url}")


def _hint(options: Options, files: HostFiles, tickets: list[Ticket], *, roles: int) -> None:
    if not roles:
        options.tell(f"no daemon has settings in {files.directory}: only the gleitzeit command uses the hub")
    elif all(each.grant is not None and each.grant.user is None for each in tickets):
        said = (
            f"the token is for {plural(roles, 'daemon')}, and the gleitzeit command has none for this hub: "
        )
        options.tell(
            f"{said}join with two, the second of a user's role (gleitzeit token create --role operator)"
        )
