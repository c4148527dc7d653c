"""``gleitzeit token``: who may connect, and as what. On the host of a hub, where the keys are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.noting import done_here
from gleitzeitd.cli.options import Command, Options, group, json_option
from gleitzeitd.cli.show import Column, as_json, echo_lines, plural, table, terminal_width
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.access import EVERYTHING, Grant, UserRole
from gleitzeitd.model.audit import Action
from gleitzeitd.model.claims import ROLE_NAMES, checked_namespace, grant_of, role_names, roles_of
from gleitzeitd.model.names import NAME_LIMIT, Role
from gleitzeitd.plain import Json

if TYPE_CHECKING:
    from gleitzeitd.runtime.issued import Issued
    from gleitzeitd.runtime.tokens import KeyRing

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_LONGEST_YEARS = 100
_LONGEST = _LONGEST_YEARS * _UNITS["y"]
"""Later days cannot be written; who wants no end leaves it out."""
_TOKEN_ID = re.compile(r"[0-9a-f]{16}")
_RESTART = "systemctl restart gleitzeit-hub"


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer releases only
    """``90m``, ``12h``, ``30d``, ``4w``, ``1y``; as seconds."""

    name = "duration"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails, with what was expected."""
        if isinstance(value, (int, float)):
            return value
        found = re.fullmatch(r"(\d{1,6})([mhdwy])", str(value).strip())
        if found is None or not int(found[1]):
            self.fail(f"expected how long, as 90m, 12h, 30d, 4w or 1y, found {value!r}", param, ctx)
        seconds = float(int(found[1]) * _UNITS[found[2]])
        if seconds > _LONGEST:
            self.fail(f"expected at most {_LONGEST_YEARS}y, found {value!r}", param, ctx)
        return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the keys are, and what goes with them."""

    keys: Path
    issued: Path
    revoked: Path

    def ring(self) -> KeyRing:
        """The keys.

        Raises:
            ConfigError: there are none, or they are not for us; the message says what to do.
        """
        from gleitzeitd.runtime.tokens import KeyRing

        try:
            self.keys.stat()
        except FileNotFoundError:
            raise ConfigError(
                f"{self.keys}: there are no keys: tokens are made on the host of a hub. If this is it, as "
                "root: gleitzeitd keygen"
            ) from None
        except PermissionError:
            pass
        if not os.access(self.keys, os.R_OK):
            raise ConfigError(f"{self.keys}: the keys are root's: it takes root to do this, as with sudo")
        return KeyRing.load(self.keys)

    def tokens(self) -> list[Issued]:
        """Those that were made here. Raises ConfigError."""
        from gleitzeitd.runtime.issued import read_issued

        return read_issued(self.issued)

    def revoked_ids(self) -> dict[str, float | None]:
        """Ids to when they expire. Raises ConfigError."""
        from gleitzeitd.runtime.revocation import read_revoked

        return read_revoked(self.revoked)


def places(keys: Path | None, options: Options) -> Places:
    """Where they are on this host: as given, or as the hub's settings say.

    Raises:
        ConfigError: these settings are wrong.
    """
    from gleitzeitd.cli.host import environment_for
    from gleitzeitd.plan import parts_of
    from gleitzeitd.runtime.revocation import revoked_file
    from gleitzeitd.runtime.security import KEYS_FILE

    role = Role.HUB.file_name
    environment, _ = environment_for(role, "", options.environment)
    (part,) = parts_of([role], {**environment, **options.environment})
    security = part.loaded.settings["security"]
    given = str(keys) if keys is not None else security.keys_file
    ring = Path(given) if given else KEYS_FILE
    revoked = revoked_file(security.revoked_file, given)
    return Places(keys=ring, issued=ring.with_suffix(".issued"), revoked=revoked)


_keys_option = click.option(
    "--keys",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The keys, if they are not those of this host's hub.",
)


@group("token")
@json_option
@click.pass_context
def token(ctx: click.Context) -> None:
    """Who may connect to the hub, and as what: make tokens, list and revoke them, renew the keys.

    Works on the host of a hub, as root: that is where the keys are. No daemon need run. Without a command
    it lists the tokens that are good.

    Examples:
      gleitzeit token create --subject alice --role submitter --expires 30d
      gleitzeit token list --all
      gleitzeit token revoke alice
      gleitzeit token rotate --overlap 7d
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, everything=False, keys=None)


@token.command("create", cls=Command)
@click.option("--subject", metavar="NAME", help="Whose it is: a person, a host, a program.")
@click.option(
    "--role",
    "roles",
    metavar="ROLE",
    type=click.Choice(ROLE_NAMES, case_sensitive=False),
    multiple=True,
    help=f"What it is for; repeat it for several. Of users: {', '.join(each.value for each in UserRole)}. "
    f"Of components: {', '.join(ROLE_NAMES[: -len(UserRole)])}.",
)
@click.option(
    "--host",
    metavar="NAME",
    help="The two tokens of a new host instead, for its daemons and for its group gleitzeit; for gleitzeitd "
    "keygen --stdin there. --role narrows down which daemons.",
)
@click.option(
    "--names", metavar="PATTERN", default="*", help="Components may be called like this: 'engine-b-*'."
)
@click.option("--namespace", metavar="NAME", help="Users see and touch only workflows NAME:...")
@click.option(
    "--expires",
    metavar="DURATION",
    type=Duration(),
    help="From now: 90m, 12h, 30d, 4w, 1y. Never, if left out.",
)
@click.option(
    "--ca",
    metavar="FILE",
    help="The CA certificate that hubs are known by, or its SHA-256 fingerprint; for join.",
)
@_keys_option
@json_option
@click.pass_context
def create(
    ctx: click.Context,
    subject: str | None,
    roles: tuple[str, ...],
    host: str | None,
    names: str,
    namespace: str | None,
    expires: float | None,
    ca: str | None,
    keys: Path | None,
) -> None:
    """Make a token, and print it: it is shown this once, and kept nowhere.

    Standard output has the token alone; what it grants is said on standard error.

    Examples:
      gleitzeit token create --subject alice --role submitter --expires 30d
      gleitzeit token create --subject ci --role submitter --namespace ci >/root/ci.token
      gleitzeit token create --host worker-1 | ssh root@worker-1 gleitzeitd keygen --stdin
      gleitzeit token create --subject prometheus --role viewer
    """
    from gleitzeitd.runtime.clock import wall
    from gleitzeitd.runtime.keygen import issue_all
    from gleitzeitd.runtime.tokens import new_token_id

    options = ctx.ensure_object(Options)
    wanted = _grants(subject, roles, host, names, namespace)
    until = None if expires is None else wall() + expires
    grants = [replace(each, expires=until, token_id=new_token_id()) for each in wanted]
    authority = None if ca is None else _fingerprint(ca)
    where = places(keys, options)
    ring = where.ring()
    try:
        tokens = issue_all(ring, grants, where.issued, authority)
    except OSError as problem:
        raise ConfigError(f"{where.issued}: cannot be written: {problem.strerror}") from problem
    for grant in grants:
        done_here(options, Action.TOKEN_CREATE, grant.token_id, f"{grant.subject}: {_roles(grant)}")
    if options.as_json:
        made = [{"token": text, **_plain(grant)} for text, grant in zip(tokens, grants, strict=True)]
        click.echo(as_json({"tokens": made}))
        return
    for text, grant in zip(tokens, grants, strict=True):
        click.echo(text)
        click.echo(f"{grant.token_id}: {_told(grant)}", err=True)


def _grants(
    subject: str | None, roles: Sequence[str], host: str | None, names: str, namespace: str | None
) -> list[Grant]:
    from gleitzeitd.runtime.keygen import daemons_grant, group_grant

    try:
        components, user = roles_of(roles)
        limit = None if namespace is None else checked_namespace(namespace)
    except MalformedData as problem:
        option = "--namespace" if problem.path == "ns" else "--role"
        raise click.UsageError(f"{option}: {problem.problem}") from None
    if not 0 < len(names) <= NAME_LIMIT:
        raise click.UsageError(f"--names: expected 1 to {NAME_LIMIT} characters")
    if host is not None:
        if subject is not None:
            raise click.UsageError("--subject: a host's tokens are called by the name of the host")
        daemons = replace(
            daemons_grant(_named(host)), components=components or EVERYTHING - {Role.CLIENT}, names=names
        )
        users = replace(group_grant(host), user=user or UserRole.OPERATOR, namespace=limit)
        return [daemons, users]
    if subject is None:
        raise click.UsageError("whose is it? --subject NAME (or --host NAME, for the daemons of a host)")
    if not roles:
        raise click.UsageError(f"what is it for? --role, one or more of {', '.join(ROLE_NAMES)}")
    return [Grant(subject=_named(subject), components=components, user=user, names=names, namespace=limit)]


def _named(name: str) -> str:
    if not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
        raise click.UsageError(f"--subject, --host: expected one line of 1 to {NAME_LIMIT} characters")
    return name


def _fingerprint(given: str) -> str:
    """Of a certificate in a file, or as it was given."""
    import hashlib
    import ssl

    plain = given.replace(":", "").lower()
    if re.fullmatch(r"[0-9a-f]{64}", plain):
        return plain
    try:
        encoded = ssl.PEM_cert_to_DER_cert(Path(given).read_text(encoding="ascii").strip())
    except OSError as problem:
        raise ConfigError(f"--ca: {given}: cannot be read: {problem.strerror}") from problem
    except ValueError:
        raise ConfigError(
            f"--ca: {given}: holds no certificate in PEM, and is no SHA-256 fingerprint"
        ) from None
    return hashlib.sha256(encoded).hexdigest()


@token.command("list", cls=Command)
@click.option("--all", "everything", is_flag=True, help="Also those that have expired or were revoked.")
@_keys_option
@json_option
@click.pass_context
def list_(ctx: click.Context, everything: bool, keys: Path | None) -> None:
    """The tokens that were made on this host, the newest last. Not the tokens themselves: nobody has them.

    Example:
      gleitzeit token list --all
    """
    from gleitzeitd.runtime.clock import wall

    options = ctx.ensure_object(Options)
    where = places(keys, options)
    ring, revoked, now = where.ring(), where.revoked_ids(), wall()
    rows = [(each, grant_of(each.claims), _state(each, ring, revoked, now)) for each in where.tokens()]
    shown = [row for row in rows if everything or row[2].startswith("good")]
    if options.as_json:
        plain = [{**_plain(grant), "key": each.key_id, "state": state} for each, grant, state in shown]
        click.echo(as_json({"tokens": plain}))
        return
    columns = [
        Column("id"),
        Column("subject", flexible=True, least=12),
        Column("roles", flexible=True, least=10),
        Column("names", optional=2),
        Column("namespace", optional=1),
        Column("state", flexible=True, least=10),
    ]
    cells = [
        (
            grant.token_id,
            grant.subject,
            _roles(grant),
            "" if grant.names == "*" else grant.names,
            grant.namespace or "",
            state,
        )
        for _, grant, state in shown
    ]
    echo_lines(table(columns, cells, terminal_width()))
    if hidden := len(rows) - len(shown):
        click.echo(f"{plural(hidden, 'more')} not good any more: gleitzeit token list --all", err=True)


def _state(each: Issued, ring: KeyRing, revoked: dict[str, float | None], now: float) -> str:
    key = next((one for one in ring.keys if one.key_id == each.key_id), None)
    ends = [end for end in (each.expires, None if key is None else key.until) if end is not None]
    if each.token_id in revoked:
        return "revoked"
    if key is None or (ends and min(ends) <= now):
        return "expired" if key is not None else "expired with its key"
    if not ends:
        return "good"
    return f"good until {_day(min(ends))}" + (
        "" if key.until is None or key.until > min(ends) else ", as its key"
    )


@token.command("revoke", cls=Command)
@click.argument("which", metavar="ID|SUBJECT...", nargs=-1, required=True)
@_keys_option
@json_option
@click.pass_context
def revoke(ctx: click.Context, which: tuple[str, ...], keys: Path | None) -> None:
    """Have hubs refuse a token, or all tokens of a subject, from now on, and cut who uses them.

    Hubs of this host see it within seconds, without a restart. To those of other hosts, copy the list,
    /etc/gleitzeit/revoked-tokens. It cannot be undone: make another token.

    Examples:
      gleitzeit token revoke 3f0c5a1d9e7b2468
      gleitzeit token revoke alice host:worker-1
    """
    from gleitzeitd.runtime.clock import wall
    from gleitzeitd.runtime.revocation import write_revoked

    options = ctx.ensure_object(Options)
    where = places(keys, options)
    where.ring()  # whoever may not make tokens may not revoke them
    known, before = where.tokens(), where.revoked_ids()
    meant: dict[str, float | None] = {}
    for name in which:
        found = {each.token_id: each.expires for each in known if name in (each.token_id, each.claims["sub"])}
        if not found and not _TOKEN_ID.fullmatch(name):
            raise ConfigError(
                f"{name}: no token of this id or subject was made on this host: gleitzeit token list --all"
            )
        if not found:
            click.echo(
                f"{name}: no token with this id was made on this host; it is refused from now on", err=True
            )
        meant |= found or {name: None}
    new = sorted(meant.keys() - before.keys())
    try:
        write_revoked(where.revoked, {**before, **meant}, wall())
    except OSError as problem:
        raise ConfigError(f"{where.revoked}: cannot be written: {problem.strerror}") from problem
    for token_id in new:
        done_here(options, Action.TOKEN_REVOKE, token_id)
    if options.as_json:
        click.echo(as_json({"revoked": new, "file": str(where.revoked)}))
        return
    click.echo(f"{plural(len(new), 'token')} revoked" + (f": {', '.join(new)}" if new else ""))


@token.command("rotate", cls=Command)
@click.option(
    "--overlap",
    metavar="DURATION",
    type=Duration(),
    default="7d",
    show_default=True,
    help="For how long tokens of the key before are still accepted.",
)
@click.option(
    "--algorithm", type=click.Choice(["HS256", "EdDSA"]), help="Of the new key; by default as before."
)
@_keys_option
@json_option
@click.pass_context
def rotate(ctx: click.Context, overlap: float, algorithm: str | None, keys: Path | None) -> None:
    """Make a new key, with which tokens are signed from now on.

    Tokens of the key before are accepted until the overlap is over; by then whoever has one needs another.
    Hubs read keys when they start, and nobody notices their restart.

    Examples:
      gleitzeit token rotate
      gleitzeit token rotate --overlap 30d
    """
    from gleitzeitd.runtime.clock import wall

    options = ctx.ensure_object(Options)
    where = places(keys, options)
    before, now = where.ring(), wall()
    after = before.rotated(now=now, overlap=overlap, algorithm=algorithm)
    revoked = where.revoked_ids()
    good = [each for each in where.tokens() if _state(each, after, revoked, now).startswith("good")]
    outlive = [each for each in good if each.expires is None or each.expires > now + overlap]
    try:
        after.write(where.keys)
    except OSError as problem:
        raise ConfigError(f"{where.keys}: cannot be written: {problem.strerror}") from problem
    done_here(options, Action.TOKEN_ROTATE, after.active.key_id)
    until = _day(now + overlap)
    if options.as_json:
        told = [_plain(grant_of(each.claims)) for each in outlive]
        click.echo(as_json({"key": after.active.key_id, "until": now + overlap, "replace": told}))
        return
    click.echo(f"The key is {after.active.key_id}. Now: {_RESTART}, on each host of a hub.")
    if outlive:
        click.echo(f"To be replaced until {until}:")
        echo_lines(f"  {each.token_id}  {each.claims['sub']}" for each in outlive)
        click.echo("Of this host: gleitzeitd keygen --replace; systemctl restart gleitzeit")


def _plain(grant: Grant) -> dict[str, Json]:
    return {
        "id": grant.token_id,
        "subject": grant.subject,
        "roles": list(role_names(grant)),
        "names": grant.names,
        "namespace": grant.namespace,
        "expires": grant.expires,
    }


def _roles(grant: Grant) -> str:
    every = EVERYTHING - {Role.CLIENT} <= grant.components
    named = ["all components", *role_names(grant)[len(grant.components - {Role.CLIENT}) :]] if every else None
    return ", ".join(named or role_names(grant))


def _told(grant: Grant) -> str:
    parts = [f"{grant.subject} as {_roles(grant)}"]
    if grant.names != "*":
        parts.append(f"called like {grant.names}")
    if grant.namespace is not None:
        parts.append(f"workflows {grant.namespace}:...")
    parts.append("for ever" if grant.expires is None else f"until {_day(grant.expires)}")
    return ", ".join(parts)


def _day(seconds: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
