"""What ``gleitzeit doctor`` looks at of keys and tokens: who can read them, and how long they are good."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from gleitzeitd.cli.checks import Finding, ok, problem, warning
from gleitzeitd.cli.options import Options
from gleitzeitd.cli.show import coarse
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.claims import grant_of, said_by
from gleitzeitd.runtime.clock import wall
from gleitzeitd.runtime.revocation import REVOKED_FILE, read_revoked
from gleitzeitd.runtime.security import GROUP, KEYS_FILE, TOKEN_FILE

TOKENS = (TOKEN_FILE, Path("/etc/credstore/gleitzeit.token"))
"""What members of the group read, and what units are given."""
SOON_SECONDS = 14 * 86_400.0
"""A token that expires so soon is worth a warning."""
_RENEW = "on the hub's host: gleitzeit token create --host NAME; here: gleitzeitd keygen --stdin --replace"


def token(
    options: Options,
    files: Sequence[Path] = TOKENS,
    keys: Path = KEYS_FILE,
    revoked: Path = REVOKED_FILE,
) -> Iterator[Finding]:
    """Whether there is a token for us that is good, and for nobody else who happens to be on this host."""
    try:
        ours = options.secret()
    except ConfigError as found:
        yield problem("token", str(found), "do that, and then gleitzeit doctor again")
        return
    wrong = [*_open(files, keys), *_not_good(ours, files, revoked)]
    yield from wrong
    present = [str(file) for file in files if _mode(file)]
    if _mode(keys) and not wrong:
        yield ok("keys", f"{keys} is root's alone")
    if ours:
        if not wrong:
            yield ok("token", "this user has one" + (f"; it is in {present[0]}" if present else ""))
    elif present:
        yield warning("token", f"{present[0]} is there, and {files[0]} is not", "as root: gleitzeitd keygen")
    else:
        yield ok("token", "none on this host; a hub lets nobody in without one")


def _open(files: Sequence[Path], keys: Path) -> Iterator[Finding]:
    """Who can read what he should not, or change it, or cannot read what he should."""
    if (mode := _mode(keys)) & 0o077:
        yield problem("keys", f"{keys} is open to others than root ({mode:04o})", f"chmod 0600 {keys}")
    for file in files:
        mode = _mode(file)
        if mode & 0o007:
            text = f"{file} is open to every user of this host ({mode:04o})"
            yield problem("token", text, f"chmod o= {file}")
        elif mode & 0o020:
            yield warning("token", f"{file} can be changed by its group ({mode:04o})", f"chmod g-w {file}")
    if (mode := _mode(files[0])) and not mode & 0o040:
        mend = f"chgrp {GROUP} {files[0]} && chmod 0640 {files[0]}"
        yield warning("token", f"{files[0]} cannot be read by the group {GROUP} ({mode:04o})", mend)


def _not_good(ours: str | None, files: Sequence[Path], revoked: Path) -> Iterator[Finding]:
    texts = {read: str(file) for file in reversed(files) if (read := _read(file))}
    if ours:
        texts.setdefault(ours, "the token of this user")
    try:
        refused = read_revoked(revoked)
    except ConfigError as found:
        yield problem("token", str(found), f"chmod 0644 {revoked}")
        refused = {}
    for text, name in texts.items():
        claims = said_by(text)
        if claims is None:
            yield warning(
                "token",
                f"{name}: the shared token of an earlier version, with which one may do everything",
                "on the hub's host, as root: gleitzeitd keygen --replace; gleitzeitd(8) says what follows",
            )
            continue
        try:
            grant = grant_of(claims)
        except MalformedData as found:
            yield problem("token", f"{name}: {found}", _RENEW)
            continue
        left = None if grant.expires is None else grant.expires - wall()
        if grant.token_id in refused:
            yield problem("token", f"{name}: revoked", _RENEW)
        elif left is not None and left <= 0:
            yield problem("token", f"{name}: expired {coarse(-left)} ago", _RENEW)
        elif left is not None and left < SOON_SECONDS:
            yield warning("token", f"{name}: expires in {coarse(left)}", _RENEW)


def _mode(file: Path) -> int:
    """Its permissions; 0 if it is not there, or we may not know."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0


def _read(file: Path) -> str:
    """What is in it; empty if that is not for us."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
