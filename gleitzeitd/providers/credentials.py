"""Secrets and certificates that settings name, and never hold.

A name is that of a systemd credential (``LoadCredential=`` of the unit); what begins with ``/`` is a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gleitzeitd.errors import ConfigError

SIZE_LIMIT = 2**20
"""Bytes of a certificate, a key, or a bundle of authorities."""
TEXT_LIMIT = 8192
"""Characters of a secret text."""


def file_of(name: str, environment: Mapping[str, str], key: str) -> Path:
    """Where it is. ``key`` names the setting in messages.

    Raises:
        ConfigError: there is no such credential, or no such file.
    """
    if name.startswith("/"):
        file = Path(name)
    elif "/" in name or name.startswith("."):
        raise ConfigError(f"{key}: expected the name of a credential, or an absolute path, found {name!r}")
    else:
        directory = environment.get("CREDENTIALS_DIRECTORY", "")
        if not directory:
            raise ConfigError(f"{key}: there is no systemd credential {name}: the unit loads none")
        file = Path(directory) / name
    if not file.is_file():
        what = "file" if name.startswith("/") else "systemd credential"
        raise ConfigError(f"{key}: there is no {what} {name}")
    return file


def bytes_of(name: str, environment: Mapping[str, str], key: str) -> bytes:
    """What it holds.

    Raises:
        ConfigError: it cannot be read, is empty, or is too large.
    """
    file = file_of(name, environment, key)
    try:
        with file.open("rb") as opened:
            data = opened.read(SIZE_LIMIT + 1)
    except OSError as problem:
        raise ConfigError(f"{key}: {file}: {problem.strerror}") from problem
    if not data or len(data) > SIZE_LIMIT:
        raise ConfigError(f"{key}: {file}: {'empty' if not data else f'more than {SIZE_LIMIT} bytes'}")
    return data


def text_of(name: str, environment: Mapping[str, str], key: str) -> str:
    """Its one line of ASCII, which can stand in a header.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    text = bytes_of(name, environment, key).decode("ascii", "replace").strip()
    if not text or len(text) > TEXT_LIMIT or not (text.isascii() and text.isprintable()):
        raise ConfigError(f"{key}: {name} does not hold one line of ASCII")
    return text
