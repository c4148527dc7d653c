"""Where the database is, if no file and no variable says so.

A daemon of the system, which systemd or root has started, has it in ``/var/lib/gleitzeit``. One that an
ordinary user has started has it in that user's state directory, where it needs nobody's leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gleitzeitd.errors import StoreError


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where a user's own state is kept (XDG Base Directory Specification)."""
    home = environment.get("XDG_STATE_HOME", "")
    # A relative path is to be ignored, the specification says.
    if not home.startswith("/"):
        home = str(Path(environment.get("HOME", "~")).expanduser() / ".local" / "state")
    return Path(home) / "gleitzeit"


def database_for(default: str, environment: Mapping[str, str], user_id: int) -> str:
    """The path of the database that nobody has chosen; ``default`` is that of the system."""
    if user_id == 0 or "STATE_DIRECTORY" in environment:
        return default
    return str(state_directory(environment) / "persistence" / Path(default).name)


def make_room(database: str) -> None:
    """Make the directory of a database that nobody has chosen.

    Of one that somebody has chosen it has to exist: where a disk is missing, an empty database would
    otherwise begin in its place.

    Raises:
        StoreError: it cannot be made.
    """
    directory = Path(database).parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreError(f"{directory} could not be made: {problem.strerror}") from problem
