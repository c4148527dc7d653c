"""Where a database is that nobody has chosen."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gleitzeitd.errors import StoreError
from gleitzeitd.runtime.state import database_for, make_room, state_directory

SYSTEM = "/var/lib/gleitzeit/persistence/gleitzeit.db"
USER = {"XDG_STATE_HOME": "/s", "HOME": "/h"}


def test_the_directory_is_where_the_user_wants_it() -> None:
    assert state_directory(USER) == Path("/s/gleitzeit")
    assert state_directory({"XDG_STATE_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/state/gleitzeit")
    assert state_directory({"HOME": "/h"}) == Path("/h/.local/state/gleitzeit")


def test_a_daemon_of_the_system_has_the_database_of_the_system() -> None:
    assert database_for(SYSTEM, USER, 0) == SYSTEM
    assert database_for(SYSTEM, {**USER, "STATE_DIRECTORY": "/var/lib/gleitzeit/persistence"}, 998) == SYSTEM


def test_a_daemon_of_an_ordinary_user_has_the_database_in_the_users_directory() -> None:
    assert database_for(SYSTEM, USER, 1000) == "/s/gleitzeit/persistence/gleitzeit.db"


def test_the_directory_is_made_and_for_its_owner_alone(tmp_path: Path) -> None:
    make_room(str(tmp_path / "gleitzeit" / "persistence" / "gleitzeit.db"))
    make_room(str(tmp_path / "gleitzeit" / "persistence" / "gleitzeit.db"))
    assert stat.S_IMODE((tmp_path / "gleitzeit" / "persistence").stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/persistence could not be made"):
        make_room(str(tmp_path / "file" / "persistence" / "gleitzeit.db"))
