"""The list of revoked tokens: a line each, its id and when it expires (seconds since 1970, or ``-``).

It holds no secret, and everybody may read it. Hubs look at it again when it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from gleitzeitd.errors import ConfigError
from gleitzeitd.runtime import durable_files

log = logging.getLogger(__name__)

REVOKED_FILE = Path("/etc/gleitzeit/revoked-tokens")
SIZE_LIMIT = 8 * 2**20
"""Bytes; some 200,000 tokens."""
_HEAD = "# Tokens that hubs refuse: id, and when it expires in seconds since 1970 (gleitzeit token revoke)\n"


def revoked_file(revoked: str, keys: str) -> Path:
    """Where the list is that goes with these settings: beside keys of one's own, if it is not said."""
    if revoked:
        return Path(revoked)
    return Path(keys).with_suffix(".revoked") if keys else REVOKED_FILE


def read_revoked(file: Path) -> dict[str, float | None]:
    """Ids of revoked tokens, to when they expire; none if there is no such file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with file.open(encoding="utf-8") as source:
            text = source.read(SIZE_LIMIT)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "not UTF-8 text"
        raise ConfigError(f"{file}: the revoked tokens cannot be read: {why}") from problem
    found: dict[str, float | None] = {}
    for line in text.splitlines():
        token_id, _, expires = line.partition(" ")
        if token_id and not token_id.startswith("#"):
            found[token_id] = _seconds(expires.strip())
    return found


def write_revoked(file: Path, revoked: Mapping[str, float | None], now: float) -> None:
    """Replace the list; what has expired meanwhile is refused for that, and left out. Raises OSError."""
    lines = [
        f"{token_id} {'-' if expires is None else int(expires)}\n"
        for token_id, expires in sorted(revoked.items())
        if expires is None or expires > now
    ]
    durable_files.replace(file, _HEAD + "".join(lines), 0o644)


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class RevocationList:
    """The ids in a file, as of its last change."""

    def __init__(self, file: Path | None) -> None:
        """Raises ConfigError if it cannot be read. None: nothing is ever revoked."""
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._ids: frozenset[str] = frozenset()
        if file is not None:
            self._seen = _mark(file)
            self._ids = frozenset(read_revoked(file))

    def current(self) -> frozenset[str]:
        """Look whether the file has changed; if it cannot be read now, what it held stays in force."""
        if self._file is None or (mark := _mark(self._file)) == self._seen:
            return self._ids
        self._seen = mark
        try:
            self._ids = frozenset(read_revoked(self._file))
        except ConfigError as problem:
            log.error(
                "revoked tokens could not be read again; those of before stay", extra={"error": problem}
            )
        else:
            log.info("revoked tokens were read again", extra={"tokens": len(self._ids)})
        return self._ids


def _mark(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
