"""``gleitzeitd keygen``: what a host needs so that its components are let in, made once and shown to nobody.

On the host of a hub that is a ring of keys, and two tokens that it has signed: one for the daemons, which get
it from systemd as a credential, whose file root alone can read; and one for the members of the group
``gleitzeit``, which is where ``gleitzeit`` finds it. Other hosts get their tokens from the hub's. What exists
is never replaced, unless that is asked for.
"""

from __future__ import annotations

import argparse
import grp
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.access import EVERYTHING, Grant, UserRole
from gleitzeitd.model.claims import grant_of, said_by
from gleitzeitd.model.names import Role
from gleitzeitd.runtime import durable_files
from gleitzeitd.runtime.clock import wall
from gleitzeitd.runtime.issued import ISSUED_FILE, Issued, note_issued
from gleitzeitd.runtime.security import KEYS_FILE, TOKEN_FILE, TOKEN_LIMIT, checked_token, read_token

if TYPE_CHECKING:
    from gleitzeitd.runtime.tokens import KeyRing

CREDENTIAL = Path("/etc/credstore/gleitzeit.token")
"""Where units look for it: ``LoadCredential=token:gleitzeit.token``."""
GROUP = "gleitzeit"
TOKENS_GIVEN = 2
"""At most, on standard input: for the daemons, and for the group."""
_OTHER_KEYS = (
    "this host has tokens that another one's keys have signed, and makes no keys of its own. A second hub "
    "of the same system needs the same keys: copy {keys} from the first one. To begin a system of its own "
    "here: gleitzeitd keygen --replace"
)
_EARLIER = (
    "this host has the shared token of an earlier version, which hubs without keys still accept. To have "
    "keys, and a token for each host, run `gleitzeitd keygen --replace` here, `systemctl restart gleitzeit`, "
    "and give each other host its tokens (gleitzeitd(8))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFiles:
    """Where the keys and tokens of a host are kept."""

    keys: Path = KEYS_FILE
    """0600: for systemd, on the host of a hub."""
    credential: Path = CREDENTIAL
    """0600: for systemd."""
    shared: Path = TOKEN_FILE
    """0640: for the group."""
    issued: Path = ISSUED_FILE
    """0600: which tokens were made here."""
    group: str = GROUP


def daemons_grant(host: str) -> Grant:
    """What the token of a host's daemons is for."""
    return Grant(subject=f"host:{host}", components=EVERYTHING - {Role.CLIENT})


def group_grant(host: str) -> Grant:
    """What the token of the members of the group is for."""
    return Grant(subject=f"group:{GROUP}@{host}", user=UserRole.OPERATOR)


def issue_all(
    ring: KeyRing, grants: Sequence[Grant], issued: Path, authority: str | None = None
) -> list[str]:
    """A token for each grant, and a note of it in the list ``issued``. Raises OSError."""
    now = wall()
    tokens = [ring.issue(grant, now=now, authority=authority) for grant in grants]
    said = [said_by(token) or {} for token in tokens]
    note_issued(
        issued,
        [Issued(token_id=each["jti"], key_id=ring.active.key_id, claims=each) for each in said],
    )
    return tokens


def make_keys(files: TokenFiles, host: str, *, replace: bool = False) -> tuple[list[Path], str]:
    """Make the keys and tokens of a hub's host that are missing: what was made, and what there is to say.

    Raises:
        ConfigError: a file of them is none, or there is no group; the message says what to do.
        OSError: a file cannot be read or written.
    """
    from gleitzeitd.runtime.tokens import KeyRing

    group_id = _group_id(files.group)
    made: list[Path] = []
    if not files.keys.exists():
        there = [read_token(file) for file in (files.credential, files.shared) if file.exists()]
        if there and not replace:
            signed = any(said_by(token) is not None for token in there)
            return [], (_OTHER_KEYS if signed else _EARLIER).format(keys=files.keys)
        if durable_files.create(files.keys, KeyRing.make().text(), 0o600, 0):
            made.append(files.keys)
    ring = KeyRing.load(files.keys)  # it may be another process that has made it
    for file, mode, owner_group, grant in (
        (files.credential, 0o600, 0, daemons_grant(host)),
        (files.shared, 0o640, group_id, group_grant(host)),
    ):
        if file.exists() and not replace:
            continue
        (token,) = issue_all(ring, [grant], files.issued)
        if _put(file, token, mode, owner_group, replace=replace):
            made.append(file)
    return made, ""


def take_tokens(files: TokenFiles, given: str, *, replace: bool = False) -> list[Path]:
    """Keep tokens that were made on the hub's host, and return the files that were written.

    What a token is for says where it belongs: to the daemons, or to the group. A shared token of an earlier
    version is for both.

    Raises:
        ConfigError: they can be no tokens, or the host has others already.
        OSError: a file cannot be read or written.
    """
    group_id = _group_id(files.group)
    lines = [line.strip() for line in given.splitlines() if line.strip()]
    if not 0 < len(lines) <= TOKENS_GIVEN:
        raise ConfigError(
            f"standard input: expected a token, or one and below it another, found {len(lines)}"
        )
    places: dict[Path, str] = {}
    for line in lines:
        for file in _places(files, checked_token(line, "the token given"), len(lines)):
            if places.setdefault(file, line) != line:
                raise ConfigError(
                    "standard input: both tokens are for the same; expected one for the daemons "
                    "of this host, and one for its users"
                )
    for file, token in places.items():
        if not replace and file.exists() and read_token(file) != token:
            raise ConfigError(f"{file}: holds another token, which is kept. To replace it, say --replace")
    written = []
    for file, token in places.items():
        mode, group = (0o640, group_id) if file == files.shared else (0o600, 0)
        if not (file.exists() and read_token(file) == token) and _put(
            file, token, mode, group, replace=replace
        ):
            written.append(file)
    return written


def _places(files: TokenFiles, token: str, given: int) -> list[Path]:
    claims = said_by(token)
    if claims is None:
        if given > 1:
            raise ConfigError("standard input: a shared token of an earlier version comes alone")
        return [files.credential, files.shared]
    try:
        grant = grant_of(claims)
    except MalformedData as problem:
        raise ConfigError(f"the token given: {problem}") from None
    # One for daemons is root's, whatever else it is for: the members of the group are none.
    return [files.credential] if grant.components else [files.shared]


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {name}: systemd-sysusers makes it") from None


def _put(file: Path, token: str, mode: int, group_id: int, *, replace: bool) -> bool:
    if replace:
        durable_files.replace(file, f"{token}\n", mode, group_id)
        return True
    return durable_files.create(file, f"{token}\n", mode, group_id)


def command(
    arguments: Sequence[str], standard_input: TextIO, files: TokenFiles | None = None, host: str = ""
) -> int:
    """The exit code: 0 all is there now, 1 it cannot be kept, 2 wrong usage, or it would replace another."""
    files = files or TokenFiles()
    options = _parser(files).parse_args(arguments)
    said = ""
    try:
        if options.stdin:
            given = standard_input.read(TOKENS_GIVEN * (TOKEN_LIMIT + 2))
            made = take_tokens(files, given, replace=options.replace)
        else:
            made, said = make_keys(files, host or socket.gethostname(), replace=options.replace)
    except ConfigError as problem:
        sys.stderr.write(f"gleitzeitd: {problem}\n")
        return 2
    except OSError as problem:
        hint = "" if os.geteuid() == 0 else ": it takes root to do this"
        sys.stderr.write(f"gleitzeitd: {problem.filename}: {problem.strerror}{hint}\n")
        return 1
    text = "".join(f"made {file}\n" for file in made) or f"{said or 'this host has its tokens already'}\n"
    sys.stdout.write(text)
    return 0


def _parser(files: TokenFiles) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gleitzeitd keygen",
        description="Make the keys of a hub's host, and the tokens of its daemons and users, if there are "
        "none. They are not shown.",
        epilog=f"""\
files:
  {files.keys}   the keys that tokens are signed with; for hubs, by way of systemd (mode 0600)
  {files.credential}  for the daemons, by way of systemd (mode 0600)
  {files.shared}           for the gleitzeit command of members of the group {files.group} (mode 0640)
  {files.issued} which tokens were made on this host, without the tokens (mode 0600)

The host of the hub makes its own at its first start. On every other host, as root:
  ssh HUB-HOST gleitzeit token create --host $(hostname) | gleitzeitd keygen --stdin
  systemctl restart gleitzeit""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--stdin",
        action="store_true",
        help="keep the tokens that the hub's host has made, from standard input",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="in place of the tokens that are there, of an earlier version too; keys that are there stay",
    )
    return parser
