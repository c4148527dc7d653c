"""A user's own runs, without daemons: which database, and how others find one that is running.

    $XDG_STATE_HOME/gleitzeit/gleitzeit.db, gleitzeit-2.db, gleitzeit-3.db, ...

A run takes the first database that nobody has open. While it runs, a note beside the database says where
its hub is, so that ``gleitzeit watch`` in another terminal sees it. Whoever only looks takes the database
in use last, and the others after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gleitzeitd.errors import StoreError
from gleitzeitd.runtime.state import state_directory

DATABASES = 32
"""Runs without daemons that one user can have at the same time."""


@dataclass(frozen=True, slots=True)
class Note:
    """Where a run in another process can be reached."""

    hub_url: str
    token: str | None


def databases(environment: Mapping[str, str]) -> Iterator[Path]:
    """Those that a run tries, in order; their directory exists and is the user's alone.

    Raises:
        StoreError: it cannot be made.
    """
    directory = state_directory(environment)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreError(
            f"{directory} could not be made: {problem.strerror}. Runs without a hub are kept there; "
            "XDG_STATE_HOME names another place"
        ) from problem
    yield directory / "gleitzeit.db"
    for number in range(2, DATABASES + 1):
        yield directory / f"gleitzeit-{number}.db"


def databases_to_read(environment: Mapping[str, str]) -> list[Path]:
    """Those that exist, the one in use last first; the first one, if there is none yet."""
    everything = list(databases(environment))
    found = sorted((path for path in everything if path.exists()), key=_last_use, reverse=True)
    return found or everything[:1]


def _last_use(database: Path) -> float:
    # The newest changes are in the write-ahead log.
    times = [0.0]
    for path in (database, Path(f"{database}-wal"), _note_of(database)):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _note_of(database: Path) -> Path:
    return database.with_suffix(".hub.json")


@contextmanager
def noted(database: Path, hub_url: str, token: str | None) -> Iterator[None]:
    """While this lasts, :func:`note_for` tells others where the hub is."""
    path = _note_of(database)
    with suppress(FileNotFoundError):
        path.unlink()
    # The token is for this user alone, from the first moment on.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"hub_url": hub_url, "token": token}, file)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def note_for(database: Path) -> Note | None:
    """Where the process that has this database open can be reached, as far as it has said so."""
    try:
        plain = json.loads(_note_of(database).read_text(encoding="utf-8"))
        return Note(plain["hub_url"], plain["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # None was left, or it is just being written.
