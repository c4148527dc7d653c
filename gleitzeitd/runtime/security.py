"""Where the token comes from that a hub asks for. It appears in no message and no log."""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.claims import grant_of, said_by
from gleitzeitd.model.names import Role

TOKEN_LIMIT = 4096
"""Characters of a token."""
TOKEN_FILE = Path("/etc/gleitzeit/token")
"""The token of this host, for members of the group gleitzeit; ``gleitzeitd keygen`` makes it."""
KEYS_FILE = Path("/etc/credstore/gleitzeit.keys")
"""The keys of the system, on the host of a hub: ``LoadCredential=keys:gleitzeit.keys``."""
GROUP = "gleitzeit"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings:
    """How components prove to hubs that they belong to this system; the same for all of them."""

    token_file: str = ""
    """The file with the token that hubs ask for. The systemd credential token and the variable
    GLEITZEIT_TOKEN come before it. If it is empty, that is /etc/gleitzeit/token, where it can be read.
    Without a token no hub lets us in."""
    keys_file: str = ""
    """Of a hub: the keys that tokens are signed with. The systemd credential keys comes before it. If it is
    empty, that is /etc/credstore/gleitzeit.keys, where it can be read. A hub without keys lets nobody in."""
    revoked_file: str = ""
    """Of a hub: the list of revoked tokens. If it is empty, that is /etc/gleitzeit/revoked-tokens; or, with a
    keys_file, the file beside that with the suffix .revoked. It is looked at with each heartbeat; connections
    with a token that is in it are cut."""
    insecure: bool = False
    """Of a hub: ask for no token, and let in whoever is on its host; that is said in the journal and in
    `gleitzeit status`. Such a hub does not listen to other hosts."""
    certificate_file: str = ""
    """The certificate (PEM, with those between it and the CA) that is shown. A hub that has one speaks TLS; a
    component shows its own to hubs that ask. The systemd credential certificate comes before it."""
    key_file: str = ""
    """Its private key, if that is not in the same file. The systemd credential key comes before it."""
    ca_file: str = ""
    """The CA (PEM) whose certificates are trusted. If it is empty, components trust those that this host
    does. The systemd credential ca comes before it."""


def find_token(
    token_file: str,
    environment: Mapping[str, str],
    installed: Path = TOKEN_FILE,
    *,
    role: Role = Role.CLIENT,
) -> str | None:
    """The token: the systemd credential ``token``, else the variable GLEITZEIT_TOKEN, else ``token_file``,
    else ``installed``, if we may read it, and if it is for ``role``: that of the group's members is for
    clients, and daemons can read it.

    White space around it does not count. None if none of them is there.

    Raises:
        ConfigError: a file that should hold it cannot be read, or holds no token; the message names it.
    """
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    if directory:
        credential = Path(directory) / "token"
        # Commands of ExecReload= may not look into it.
        with suppress(PermissionError):
            if credential.exists():
                return read_token(credential)
    from_environment = environment.get("GLEITZEIT_TOKEN", "").strip()
    if from_environment:
        return checked_token(from_environment, "GLEITZEIT_TOKEN")
    if token_file:
        return read_token(Path(token_file))
    if not os.access(installed, os.R_OK):
        return None
    token = read_token(installed)
    return token if is_for(token, role) else None


def is_for(token: str, role: Role) -> bool:
    """Whether a connection of this role may have it; of a shared token, that says nothing, that is so."""
    claims = said_by(token)
    try:
        return claims is None or grant_of(claims).admits(role)
    except MalformedData:
        return True  # the hub says what is wrong with it


def find_keys(keys_file: str, environment: Mapping[str, str], installed: Path = KEYS_FILE) -> Path | None:
    """The file of keys: the systemd credential ``keys``, else ``keys_file``, else ``installed``, if we may
    read it; None if none of them is there.
    """
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    if directory:
        credential = Path(directory) / "keys"
        with suppress(PermissionError):  # commands of ExecReload= may not look into it
            if credential.exists():
                return credential
    if keys_file:
        return Path(keys_file)
    return installed if os.access(installed, os.R_OK) else None


def why_unreadable(file: Path = TOKEN_FILE) -> str | None:
    """Why we may not read the token of this host, and what to do; None if there is none, or if we may."""
    try:
        file.stat()
    except FileNotFoundError:
        return None
    except OSError:  # not even its directory can be looked into
        pass
    if os.access(file, os.R_OK):
        return None
    user = getpass.getuser()
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        members, belongs = [], False
    else:
        members, belongs = group.gr_mem, group.gr_gid in (os.getgid(), os.getegid(), *os.getgroups())
    if belongs:
        mend = f"chgrp {GROUP} {file} && chmod 0640 {file}"
        return f"{file}: group {GROUP}, in which you are, may not read it: ask root for `{mend}`"
    if user in members:
        return f"{file}: you are in group {GROUP}, but were not yet when you logged in: log in again"
    return (
        f"{file}: you are not in group {GROUP}: ask root for `usermod -aG {GROUP} {user}`, then log in again"
    )


def read_token(file: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: it cannot be read, or holds no token; the message names it.
    """
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise ConfigError(f"{file}: the token cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{file}: the token is not UTF-8 text") from problem
    return checked_token(text, str(file))


def checked_token(text: str, where: str) -> str:
    """``text``, if it can be a token; ``where`` is how the message of the ConfigError begins."""
    if not text:
        raise ConfigError(f"{where}: holds no token")
    if len(text) > TOKEN_LIMIT or not text.isprintable():
        raise ConfigError(f"{where}: a token is one line of at most {TOKEN_LIMIT} characters")
    return text
