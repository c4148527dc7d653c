"""``gleitzeitd keygen``: the token that all components of one system show to its hubs, on this host.

The daemons get it from systemd as a credential, whose file root alone can read. The same token stands in a
file for the members of the group ``gleitzeit``, which is where ``gleitzeit`` finds it. What exists is never
replaced: a host has one token until both files are removed. The token itself is never shown.
"""

from __future__ import annotations

import argparse
import grp
import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gleitzeitd.errors import ConfigError
from gleitzeitd.runtime.security import TOKEN_FILE, TOKEN_LIMIT, checked_token, read_token

CREDENTIAL = Path("/etc/credstore/gleitzeit.token")
"""Where units look for it: ``LoadCredential=token:gleitzeit.token``."""
GROUP = "gleitzeit"
TOKEN_BYTES = 32
"""Of chance in a new token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFiles:
    """Where the token of a host is kept."""

    credential: Path = CREDENTIAL
    """0600: for systemd."""
    shared: Path = TOKEN_FILE
    """0640: for the group."""
    group: str = GROUP


def make_token(files: TokenFiles, given: str | None = None) -> list[Path]:
    """Write the token to those of its files that are missing, and return these.

    Args:
        files: where.
        given: the token of another host. None: that of the file that exists, or else a new one.

    Raises:
        ConfigError: there is another token already, or no such group; the message says what to do.
        OSError: a file cannot be read or written.
    """
    try:
        group_id = grp.getgrnam(files.group).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {files.group}: systemd-sysusers makes it") from None
    wanted = given if given is None else checked_token(given.strip(), "the token given")
    made = []
    for file, mode, owner_group in ((files.credential, 0o600, 0), (files.shared, 0o640, group_id)):
        other = files.shared if file is files.credential else files.credential
        if not file.exists():
            token = wanted or (read_token(other) if other.exists() else secrets.token_urlsafe(TOKEN_BYTES))
            if _create(file, token, mode, owner_group):
                made.append(file)
        found = read_token(file)  # it may be another process that has made it
        if wanted is not None and found != wanted:
            raise ConfigError(
                f"{file}: holds another token, which is kept. To replace it everywhere, remove "
                f"{files.credential} and {files.shared} first"
            )
        wanted = found
    return made


def _create(file: Path, token: str, mode: int, group_id: int) -> bool:
    """Whether there was none; a file with half a token is never to be seen."""
    file.parent.mkdir(mode=0o700 if mode == 0o600 else 0o755, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(f"{token}\n")
            out.flush()
            if draft.stat().st_gid != group_id:
                os.chown(draft, -1, group_id)
            draft.chmod(mode)
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)
            _keep(file.parent)
            return True
        return False
    finally:
        draft.unlink()


def _keep(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def command(arguments: Sequence[str], standard_input: TextIO, files: TokenFiles | None = None) -> int:
    """The exit code: 0 there is one now, 1 it cannot be kept, 2 wrong usage, or it would replace another."""
    files = files or TokenFiles()
    parser = argparse.ArgumentParser(
        prog="gleitzeitd keygen",
        description="Make the token that components show to the hub, if this host has none. It is not shown.",
        epilog=f"""\
files:
  {files.credential}  for the daemons, by way of systemd (mode 0600)
  {files.shared}           for the gleitzeit command of members of the group {files.group} (mode 0640)

The host of the hub makes its own at its first start. On every other host, as root:
  ssh HUB-HOST cat {files.shared} | gleitzeitd keygen --stdin
  systemctl restart gleitzeit
To replace a token, remove both files on every host, and do the same again.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--stdin", action="store_true", help="take the token of another host from standard input"
    )
    options = parser.parse_args(arguments)
    given = standard_input.read(TOKEN_LIMIT + 2) if options.stdin else None
    try:
        made = make_token(files, given)
    except ConfigError as problem:
        sys.stderr.write(f"gleitzeitd: {problem}\n")
        return 2
    except OSError as problem:
        hint = "" if os.geteuid() == 0 else ": it takes root to do this"
        sys.stderr.write(f"gleitzeitd: {problem.filename}: {problem.strerror}{hint}\n")
        return 1
    sys.stdout.write("".join(f"made {file}\n" for file in made) or "this host has its token already\n")
    return 0
