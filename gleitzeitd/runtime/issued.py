"""Which tokens were made on this host: a line of JSON each, without the token itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.claims import grant_of
from gleitzeitd.plain import Json
from gleitzeitd.record import record

ISSUED_FILE = Path("/etc/credstore/gleitzeit.issued")
SIZE_LIMIT = 64 * 2**20


@record
class Issued:
    """One token that was made."""

    token_id: str
    key_id: str
    """Of the key that signed it."""
    claims: dict[str, Json]
    """As in the token."""

    @property
    def expires(self) -> float | None:
        """Seconds since 1970; None: never."""
        return grant_of(self.claims).expires


def note_issued(file: Path, tokens: Iterable[Issued]) -> None:
    """Add them to the list. Raises OSError."""
    lines = [
        json.dumps({"jti": each.token_id, "kid": each.key_id, "claims": each.claims}, separators=(",", ":"))
        for each in tokens
    ]
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write("".join(f"{line}\n" for line in lines))
        out.flush()
        os.fsync(out.fileno())


def read_issued(file: Path) -> list[Issued]:
    """All of them, the oldest first; none if there is no such file.

    A line that a crash has cut off is passed over.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with file.open(encoding="utf-8", errors="replace") as source:
            lines = source.read(SIZE_LIMIT).splitlines()
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise ConfigError(f"{file}: the list of tokens cannot be read: {problem.strerror}") from problem
    return [found for line in lines if (found := _parsed(line)) is not None]


def _parsed(line: str) -> Issued | None:
    try:
        data = json.loads(line)
        grant_of(data["claims"])
        return Issued(token_id=str(data["jti"]), key_id=str(data["kid"]), claims=data["claims"])
    except (ValueError, KeyError, TypeError, RecursionError, MalformedData):
        return None
