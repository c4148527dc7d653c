"""What the doctor says of keys and tokens."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from gleitzeitd.cli.checks_token import token
from gleitzeitd.cli.options import Options
from gleitzeitd.model.access import Grant, UserRole
from gleitzeitd.runtime.revocation import write_revoked
from gleitzeitd.runtime.tokens import KeyRing

RING = KeyRing.make()
ALICE = Grant(subject="alice", user=UserRole.OPERATOR, token_id="a1")
DAY = 86_400.0


def said(folder: Path, text: str, *, mode: int = 0o640, keys_mode: int = 0) -> list[tuple[str, str]]:
    """Of a host with this token: what is not well."""
    file, keys = folder / "token", folder / "keys"
    file.write_text(text)
    file.chmod(mode)
    if keys_mode:
        keys.touch()
        keys.chmod(keys_mode)
    options = Options(environment={"GLEITZEIT_TOKEN": text}, config_files=())
    found = list(token(options, [file, folder / "none"], keys, folder / "revoked"))
    assert not any(text in each.text for each in found)
    return [(each.level, each.text) for each in found if each.level != "ok"]


def signed(**more: object) -> str:
    return RING.issue(replace(ALICE, **more), now=time.time())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "level"), [(0o640, None), (0o600, "warning"), (0o644, "problem"), (0o660, "warning")]
)
def test_a_token_is_for_few(tmp_path: Path, mode: int, level: str | None) -> None:
    assert [each for each, _ in said(tmp_path, signed(), mode=mode)] == ([] if level is None else [level])


def test_keys_are_roots_alone(tmp_path: Path) -> None:
    assert said(tmp_path, signed(), keys_mode=0o600) == []
    (found,) = said(tmp_path, signed(), keys_mode=0o640)
    assert (found[0], "open to others than root (0640)" in found[1]) == ("problem", True)


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [(15, None, ""), (13, "warning", "expires in 12 d"), (-3, "problem", "expired 3 d ago")],
)
def test_a_token_that_expires_soon_is_worth_a_warning(
    tmp_path: Path, days: float, level: str | None, words: str
) -> None:
    found = said(tmp_path, signed(expires=time.time() + days * DAY))
    assert [each for each, _ in found] == ([] if level is None else [level])
    assert all(words in text for _, text in found)


def test_a_token_that_was_revoked_is_a_problem(tmp_path: Path) -> None:
    write_revoked(tmp_path / "revoked", {"a1": None}, now=0.0)
    (found,) = said(tmp_path, signed())
    assert (found[0], found[1].endswith("revoked")) == ("problem", True)


def test_the_shared_token_of_an_earlier_version_is_worth_a_warning(tmp_path: Path) -> None:
    (found,) = said(tmp_path, "sesame")
    assert (found[0], "shared token of an earlier version" in found[1]) == ("warning", True)


def test_a_token_that_only_daemons_have_is_made_for_people_too(tmp_path: Path) -> None:
    (tmp_path / "credential").write_text(signed())
    (tmp_path / "credential").chmod(0o600)
    options = Options(environment={}, config_files=(), installed_token=tmp_path / "token")
    files = [tmp_path / "token", tmp_path / "credential"]
    (found,) = token(options, files, tmp_path / "keys", tmp_path / "revoked")
    assert (found.level, found.remedy) == ("warning", "as root: gleitzeitd keygen")
