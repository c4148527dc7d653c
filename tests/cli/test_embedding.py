"""Which database a user's own runs have."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gleitzeitd.cli.embedding import (
    Note,
    databases,
    databases_to_read,
    note_for,
    noted,
)
from gleitzeitd.errors import StoreError


def test_the_directory_is_the_users_alone(tmp_path: Path) -> None:
    first, second = list(databases({"XDG_STATE_HOME": str(tmp_path)}))[:2]
    assert (first.name, second.name) == ("gleitzeit.db", "gleitzeit-2.db")
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


def test_who_reads_takes_what_was_used_last(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    first, second, third, *_ = databases(environment)
    assert databases_to_read(environment) == [first]
    for path, at in ((first, 100), (third, 50)):
        path.touch()
        os.utime(path, (at, at))
    assert databases_to_read(environment) == [first, third]
    log = Path(f"{third}-wal")
    log.touch()
    assert databases_to_read(environment) == [third, first]
    assert second not in databases_to_read(environment)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/gleitzeit could not be made: .*XDG_STATE_HOME"):
        databases_to_read({"XDG_STATE_HOME": str(tmp_path / "file")})


def test_a_note_is_there_while_the_run_is_and_the_users_alone(tmp_path: Path) -> None:
    database = tmp_path / "gleitzeit.db"
    assert note_for(database) is None
    with noted(database, "http://127.0.0.1:1", "secret"):
        assert note_for(database) == Note("http://127.0.0.1:1", "secret")
        (path,) = tmp_path.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert note_for(database) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '"x"'])
def test_a_note_that_is_none_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "gleitzeit.hub.json").write_text(text)
    assert note_for(tmp_path / "gleitzeit.db") is None
