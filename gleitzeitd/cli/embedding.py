"""Which database a run without daemons uses: the first of a user's that nobody else has open.

$XDG_STATE_HOME/gleitzeit/gleitzeit.db, gleitzeit-2.db, gleitzeit-3.db, ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

DATABASES = 32
"""Runs without daemons that one user can have at the same time."""


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where a user's own runs are kept (XDG Base Directory Specification)."""
    home = environment.get("XDG_STATE_HOME", "")
    # A relative path is to be ignored, the specification says.
    base = (
        Path(home)
        if home.startswith("/")
        else Path(environment.get("HOME", "~")).expanduser() / ".local/state"
    )
    return base / "gleitzeit"


def databases(environment: Mapping[str, str]) -> Iterator[Path]:
    """Those to try, in order."""
    directory = state_directory(environment)
    yield directory / "gleitzeit.db"
    for number in range(2, DATABASES + 1):
        yield directory / f"gleitzeit-{number}.db"
