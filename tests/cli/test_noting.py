"""What commands on a host leave in the audit."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gleitzeitd.cli.noting import done_here
from gleitzeitd.cli.options import Options
from gleitzeitd.model.audit import Action
from gleitzeitd.model.explanation import RECORD_IDS
from gleitzeitd.runtime.journal_entry import write_entry

Heard = Callable[[], dict[str, str]]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[Path, Heard]]:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(5)
        yield path, lambda: dict(line.split("=", 1) for line in listening.recv(65536).decode().splitlines())


def test_what_was_done_is_in_the_journal_under_the_id_of_the_audit(journal: tuple[Path, Heard]) -> None:
    path, heard = journal
    options = Options(
        environment={"SUDO_USER": "anna"}, config_files=(), installed_token=path.with_name("none")
    )
    done_here(options, Action.TOKEN_CREATE, "3f0c5a1d", "alice: submitter", journal=path)
    entry = heard()
    assert entry["MESSAGE_ID"] == RECORD_IDS["audit"]
    assert (entry["GLEITZEIT_ACTION"], entry["GLEITZEIT_OBJECT"]) == ("token_create", "3f0c5a1d")
    assert entry["GLEITZEIT_OUTCOME"] == "accepted"
    assert entry["GLEITZEIT_SUBJECT"]


def test_no_value_makes_a_field_of_its_own(journal: tuple[Path, Heard]) -> None:
    path, heard = journal
    assert write_entry({"GLEITZEIT_OBJECT": "a\nGLEITZEIT_SUBJECT=root", "PRIORITY": "5"}, path)
    assert heard() == {"GLEITZEIT_OBJECT": "a GLEITZEIT_SUBJECT=root", "PRIORITY": "5"}


def test_where_there_is_no_journal_nothing_fails(tmp_path: Path) -> None:
    assert not write_entry({"MESSAGE": "x"}, tmp_path / "none")
    options = Options(environment={}, config_files=(), installed_token=tmp_path / "none")
    done_here(options, Action.BACKUP, "file", journal=tmp_path / "none")
