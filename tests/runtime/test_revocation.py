"""Revoked tokens are found in their list as soon as that has changed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.runtime.revocation import RevocationList, read_revoked, write_revoked


def test_what_is_written_is_read_and_what_has_expired_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "revoked"
    write_revoked(file, {"a": None, "b": 200.0, "c": 50.0}, now=100.0)
    assert read_revoked(file) == {"a": None, "b": 200.0}
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_change_is_seen_at_the_next_look_and_a_list_that_vanishes_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "revoked"
    found = RevocationList(file)
    assert found.current() == frozenset()
    write_revoked(file, {"a": None}, now=0.0)
    assert found.current() == {"a"}
    write_revoked(file, {"a": None, "b": None}, now=0.0)
    assert found.current() == {"a", "b"}
    file.unlink()
    assert found.current() == frozenset()


def test_if_it_cannot_be_read_any_more_what_it_held_stays_in_force(tmp_path: Path) -> None:
    file = tmp_path / "revoked"
    write_revoked(file, {"a": None}, now=0.0)
    found = RevocationList(file)
    file.unlink()
    file.mkdir()
    assert found.current() == {"a"}


def test_a_list_that_cannot_be_read_keeps_the_hub_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        RevocationList(tmp_path)


def test_comments_and_lines_without_a_time_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "revoked"
    file.write_text("# by hand\n\nabc\nd 17\ne nonsense\n")
    assert read_revoked(file) == {"abc": None, "d": 17.0, "e": None}
