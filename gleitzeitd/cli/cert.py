"""``gleitzeit cert``: certificates of one's own for hubs and components, without any other tool."""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.options import Command, Options, group, json_option
from gleitzeitd.cli.placing import Placed, place
from gleitzeitd.cli.show import as_json, echo_lines, plural
from gleitzeitd.config import DIRECTORY
from gleitzeitd.errors import ConfigError
from gleitzeitd.model.names import is_identifier
from gleitzeitd.plain import Json, to_plain

if TYPE_CHECKING:
    from gleitzeitd.cli.cert_making import Described, Made

TLS_DIRECTORY = DIRECTORY / "tls"
"""Where certificates and keys are, unless told otherwise."""
CA = "ca"
"""The name of the authority's files."""
CA_DAYS, DAYS = 3650, 398
"""For how long an authority, and another certificate, is valid; browsers take none for longer than that."""
USER = "gleitzeit"
"""Whose daemons have to read the key of a hub again when they are reloaded."""
HUB_DROP_IN = DIRECTORY / "hub.d" / "50-tls.toml"
"""Where ``--hub`` says which certificate the hub has."""
HERE = ("localhost", "127.0.0.1", "::1")
_SOON = 14 * 86400.0

_directory = click.option(
    "--directory",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path),
    default=TLS_DIRECTORY,
    show_default=True,
    help="Where the files are.",
)
_force = click.option("--force", is_flag=True, help="Replace files that exist.")


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two files of one name."""

    certificate: Path
    key: Path


@group("cert", otherwise="show")
@_directory
@json_option
@click.pass_context
def cert(ctx: click.Context, directory: Path) -> None:
    """Certificates of one's own, for hubs and components that speak TLS.

    An authority (CA) is made once, on the host of the hub; it vouches for the certificates of the hub and, if
    hubs ask for them, of components. Its key, ca.key, stays on that host. Without a command, all certificates
    are shown.

    Examples:
      gleitzeit cert ca
      gleitzeit cert issue hub.example.org --hub
      gleitzeit cert issue worker-1
      gleitzeit cert renew --all
    """
    if ctx.invoked_subcommand is None:
        _show(ctx.ensure_object(Options), _all(directory))


@cert.command("ca", cls=Command)
@click.option("--name", metavar="NAME", help="What it calls itself; by default after this host.")
@click.option(
    "--days", type=click.IntRange(1, 36500), default=CA_DAYS, show_default=True, help="How long it is valid."
)
@_directory
@_force
@json_option
@click.pass_context
def authority(ctx: click.Context, name: str | None, days: int, directory: Path, force: bool) -> None:
    """Make an authority: ca.pem, which others need to know, and ca.key, which nobody else may have.

    What it has vouched for is worth nothing any more when it is replaced.

    Examples:
      gleitzeit cert ca
    """
    from gleitzeitd.cli.cert_making import make_authority

    pair = _pair(directory, CA)
    _refuse_to_replace(pair, force=force)
    made = make_authority(name or f"gleitzeit CA of {socket.gethostname()}", days)
    place([_file(pair.certificate, made.certificate), _key_file(pair.key, made.key)])
    _tell(ctx.ensure_object(Options), [pair.certificate], [pair.key])


@cert.command("issue", cls=Command)
@click.argument("name", metavar="NAME")
@click.option("--dns", metavar="HOST", multiple=True, help="A name of its host; can be repeated.")
@click.option("--ip", metavar="ADDRESS", multiple=True, help="An address of its host; can be repeated.")
@click.option(
    "--component",
    metavar="ID",
    multiple=True,
    help="The id of a component, or a pattern of ids; can be repeated.",
)
@click.option("--hub", is_flag=True, help="It is that of the hub of this host, from its next start on.")
@click.option(
    "--days", type=click.IntRange(1, 36500), default=DAYS, show_default=True, help="How long it is valid."
)
@_directory
@_force
@json_option
@click.pass_context
def issue(
    ctx: click.Context,
    name: str,
    dns: tuple[str, ...],
    ip: tuple[str, ...],
    component: tuple[str, ...],
    hub: bool,
    days: int,
    directory: Path,
    force: bool,
) -> None:
    """Make a certificate that the authority vouches for: NAME.pem and NAME.key.

    It is for the host NAME, if no other names are said. A component that shows it has to run on that host, or
    to have an id that it names. With --hub, it is for this host as localhost too, and the hub is told to use
    it (in hub.d/50-tls.toml).

    Examples:
      gleitzeit cert issue hub --dns hub.example.org --ip 10.0.0.1 --hub
      gleitzeit cert issue worker-1
      gleitzeit cert issue weather --component 'provider-weather-*'
    """
    from gleitzeitd.cli.cert_making import Names, make_certificate

    options = ctx.ensure_object(Options)
    pair = _pair(directory, name)
    if name == CA:
        raise ConfigError(f"{CA} is the authority's own name: choose another")
    _refuse_to_replace(pair, force=force)
    hosts = list(dns) if dns or ip or component else [name]
    addresses = list(ip)
    if hub:
        hosts += [HERE[0]] if HERE[0] not in hosts else []
        addresses += [each for each in HERE[1:] if each not in addresses]
    names = Names(hosts=hosts, addresses=addresses, components=component)
    made = make_certificate(_authority(directory), name, names, days)
    files = [_file(pair.certificate, made.certificate), _key_file(pair.key, made.key, for_hub=hub)]
    if hub:
        text = _hub_settings(pair, directory)
        files.append(_file(HUB_DROP_IN, text.encode()))
    place(files)
    _tell(options, [pair.certificate], [pair.key, *([HUB_DROP_IN] if hub else [])])
    if hub and not options.as_json:
        click.echo("the hub speaks TLS once it is started again: systemctl restart gleitzeit-hub")


@cert.command("renew", cls=Command)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All but the authority.")
@click.option("--days", type=click.IntRange(1, 36500), help="For how long; by default as long as before.")
@click.option("--new-key", is_flag=True, help="With a new key, which then has to be copied as well.")
@_directory
@json_option
@click.pass_context
def renew(
    ctx: click.Context,
    names: tuple[str, ...],
    everything: bool,
    days: int | None,
    new_key: bool,
    directory: Path,
) -> None:
    """Make certificates valid for another while; they keep their names, and their keys.

    Daemons use the new ones when they are reloaded (systemctl reload gleitzeit). The authority is renewed
    by its name, ca, and is then known by another fingerprint.

    Examples:
      gleitzeit cert renew hub
      gleitzeit cert renew --all && systemctl reload gleitzeit
    """
    from gleitzeitd.cli.cert_making import renewed

    wanted = list(names) or [each.stem for each in _all(directory) if each.stem != CA]
    if bool(names) == everything or not wanted:
        raise click.UsageError("which? Their names, or --all", ctx)
    files: list[Placed] = []
    for name in wanted:
        pair = _pair(directory, name)
        if not pair.key.exists():
            raise ConfigError(f"{pair.key}: is missing; a certificate without its key is not renewed")
        with _about(pair.certificate):
            made = renewed(_authority(directory), _read(pair), days, new_key=new_key)
        files.append(_like(pair.certificate, made.certificate))
        if new_key and name != CA:
            files.append(_like(pair.key, made.key))
    place(files)
    _tell(ctx.ensure_object(Options), [each.path for each in files if each.path.suffix == ".pem"], [])


@cert.command("show", cls=Command)
@click.argument("which", metavar="[FILE...]", nargs=-1)
@_directory
@json_option
@click.pass_context
def show(ctx: click.Context, which: tuple[str, ...], directory: Path) -> None:
    """Whom certificates are for, and when they expire.

    FILE may be a name alone, of one in the directory. All that are there, if none is named.

    Examples:
      gleitzeit cert show
      gleitzeit cert show hub /etc/gleitzeit/ca.pem
    """
    files = [Path(each) if "/" in each else _pair(directory, each).certificate for each in which]
    _show(ctx.ensure_object(Options), files or _all(directory))


# --- files ------------------------------------------------------------------------------------------


def _pair(directory: Path, name: str) -> _Pair:
    name = name.removesuffix(".pem")
    if not is_identifier(name) or name.startswith("."):
        raise ConfigError(f"expected a name of letters, digits and . _ -, found {name!r}")
    return _Pair(directory / f"{name}.pem", directory / f"{name}.key")


def _all(directory: Path) -> list[Path]:
    found = sorted(directory.glob("*.pem"), key=lambda file: (file.stem != CA, file.stem))
    if not found:
        raise ConfigError(f"{directory}: holds no certificates; gleitzeit cert ca makes the first one")
    return found


def _refuse_to_replace(pair: _Pair, *, force: bool) -> None:
    for file in (pair.certificate, pair.key):
        if file.exists() and not force:
            raise ConfigError(
                f"{file}: exists, and is kept. gleitzeit cert renew makes it valid for longer, "
                "--force makes another one"
            )


def _authority(directory: Path) -> Made:
    pair = _pair(directory, CA)
    if not pair.key.exists():
        raise ConfigError(
            f"{pair.key}: is not on this host. Certificates are made where the authority is; "
            "gleitzeit cert ca makes one"
        )
    return _read(pair)


def _read(pair: _Pair) -> Made:
    from gleitzeitd.cli.cert_making import Made

    return Made(certificate=_bytes(pair.certificate), key=_bytes(pair.key))


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        hint = "" if os.geteuid() == 0 else " (it takes root)"
        raise ConfigError(f"{file}: cannot be read: {problem.strerror}{hint}") from problem


def _file(path: Path, content: bytes) -> Placed:
    return Placed(path=path, content=content, mode=0o644)


def _key_file(path: Path, content: bytes, *, for_hub: bool = False) -> Placed:
    user = -1
    if for_hub and os.geteuid() == 0:
        # The hub reads it again when it is reloaded, when it is not root any more.
        try:
            user = pwd.getpwnam(USER).pw_uid
        except KeyError:
            user = -1
    return Placed(path=path, content=content, mode=0o600, user=user)


def _like(path: Path, content: bytes) -> Placed:
    found = path.stat()
    owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else (-1, -1)
    return Placed(path=path, content=content, mode=found.st_mode & 0o777, user=owner[0], group=owner[1])


def _hub_settings(pair: _Pair, directory: Path) -> str:
    files = {"certificate_file": pair.certificate, "key_file": pair.key, "ca_file": directory / f"{CA}.pem"}
    lines = [f'{key} = "{path.absolute()}"' for key, path in files.items()]
    return "# Written by gleitzeit cert issue --hub.\n[security]\n" + "\n".join(lines) + "\n"


class _about:  # noqa: N801 - used as a word
    """What goes wrong inside is wrong with this file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, ConfigError) and "/" not in str(problem).partition(":")[0]:
            raise ConfigError(f"{self._file}: {problem}") from problem


# --- what is said -----------------------------------------------------------------------------------


def _tell(options: Options, certificates: Sequence[Path], others: Sequence[Path]) -> None:
    if options.as_json:
        _show(options, certificates)
        return
    for file in (*certificates, *others):
        click.echo(f"made {file}")
    _show(options, certificates)


def _show(options: Options, files: Sequence[Path]) -> None:
    from gleitzeitd.cli.cert_making import described

    found: list[tuple[Path, Described]] = []
    for file in files:
        with _about(file):
            found.append((file, described(_bytes(file))))
    if options.as_json:
        plain: list[Json] = [{"file": str(file), **_plain(one)} for file, one in found]
        click.echo(as_json({"certificates": plain}))
        return
    now = time.time()
    for file, one in found:
        echo_lines(_lines(file, one, now))


def _plain(one: Described) -> dict[str, Json]:
    plain = to_plain(one)
    assert isinstance(plain, dict)
    return plain


def _lines(file: Path, one: Described, now: float) -> Iterator[str]:
    yield f"{file}: {'authority ' if one.is_ca else ''}{one.subject}"
    names = [*one.hosts, *one.addresses, *(f"component {each}" for each in one.components)]
    if names:
        yield f"  for          {', '.join(names)}"
    if not one.is_ca:
        yield f"  of           {one.issuer}"
    yield f"  expires      {_expiry(one.expires, now)}"
    yield f"  fingerprint  {one.fingerprint}"


def _expiry(expires: float, now: float) -> str:
    from gleitzeitd.runtime.tls import day

    left = int((expires - now) // 86400)
    if expires < now:
        return f"{day(expires)}: HAS EXPIRED"
    return f"{day(expires)}, in {plural(left, 'day')}{': SOON' if expires - now < _SOON else ''}"
