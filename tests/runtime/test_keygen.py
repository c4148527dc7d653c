"""The keys and tokens of a host: made once, shown to nobody."""

from __future__ import annotations

import grp
import io
import os
import stat
import time
from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.issued import read_issued
from gleitzeitd.runtime.keygen import TokenFiles, command, daemons_grant, group_grant, make_keys
from gleitzeitd.runtime.tokens import KeyRing

OURS = grp.getgrgid(os.getgid()).gr_name
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the owner of the files is root")


@pytest.fixture
def files(tmp_path: Path) -> TokenFiles:
    return TokenFiles(
        keys=tmp_path / "store" / "keys",
        credential=tmp_path / "store" / "token",
        shared=tmp_path / "etc" / "token",
        issued=tmp_path / "store" / "issued",
        group=OURS,
    )


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def given(files: TokenFiles, text: str, *options: str) -> int:
    return command(["--stdin", *options], io.StringIO(text), files)


def signed() -> list[str]:
    """What another host's keys have signed: for daemons, and for a group."""
    ring = KeyRing.make()
    return [ring.issue(grant, now=0.0) for grant in (daemons_grant("b"), group_grant("b"))]


@as_root
def test_a_host_gets_keys_a_token_for_its_daemons_and_one_for_its_users(files: TokenFiles) -> None:
    assert make_keys(files, "a") == ([files.keys, files.credential, files.shared], "")
    ring, now = KeyRing.load(files.keys), time.time()
    daemons = ring.verify(files.credential.read_text().strip(), now=now)
    assert daemons.admits(Role.PERSISTENCE)
    assert not daemons.admits(Role.CLIENT)
    users = ring.verify(files.shared.read_text().strip(), now=now)
    assert (users.user, users.components) == (UserRole.OPERATOR, frozenset())
    assert [mode(file) for file in (files.keys, files.credential, files.shared, files.issued)] == [
        *(0o600, 0o600, 0o640, 0o600)
    ]
    assert mode(files.keys.parent) == 0o700
    assert {file.name for file in files.keys.parent.iterdir()} == {"keys", "token", "issued"}  # no drafts


@as_root
def test_what_was_made_is_noted_without_what_is_secret(files: TokenFiles) -> None:
    make_keys(files, "a")
    assert [each.claims["sub"] for each in read_issued(files.issued)] == ["host:a", "group:gleitzeit@a"]
    text = files.issued.read_text()
    for file in (files.credential, files.shared):
        assert file.read_text().strip().rpartition(".")[2] not in text


@as_root
def test_what_is_there_is_kept_and_what_is_missing_is_made_with_the_same_keys(files: TokenFiles) -> None:
    make_keys(files, "a")
    keys = files.keys.read_text()
    assert make_keys(files, "a") == ([], "")
    for missing in (files.credential, files.shared):
        missing.unlink()
        assert make_keys(files, "a") == ([missing], "")
        KeyRing.load(files.keys).verify(missing.read_text().strip(), now=time.time())
    assert files.keys.read_text() == keys


@as_root
def test_an_earlier_installation_keeps_its_shared_token_until_it_is_to_be_replaced(
    files: TokenFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert given(files, "sesame") == 0
    assert command([], io.StringIO(), files, "a") == 0
    assert "keygen --replace" in capsys.readouterr().out
    assert not files.keys.exists()
    assert command(["--replace"], io.StringIO(), files, "a") == 0
    KeyRing.load(files.keys).verify(files.credential.read_text().strip(), now=time.time())
    assert files.shared.read_text() != "sesame\n"


@as_root
def test_a_host_with_tokens_of_anothers_keys_makes_none_of_its_own(
    files: TokenFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    given(files, "\n".join(signed()))
    assert command([], io.StringIO(), files, "b") == 0
    assert f"copy {files.keys} from the first one" in capsys.readouterr().out
    assert not files.keys.exists()


@as_root
def test_tokens_go_to_those_whom_they_are_for(files: TokenFiles) -> None:
    daemons, users = signed()
    assert given(files, f"{users}\n{daemons}\n") == 0
    assert files.credential.read_text() == f"{daemons}\n"
    assert files.shared.read_text() == f"{users}\n"
    assert (mode(files.credential), mode(files.shared)) == (0o600, 0o640)


@as_root
def test_a_token_for_daemons_is_not_given_to_the_group(files: TokenFiles) -> None:
    assert given(files, signed()[0]) == 0
    assert not files.shared.exists()


@as_root
def test_given_tokens_take_the_place_of_others_only_if_that_is_said(
    files: TokenFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = signed()[0], signed()[0]
    assert given(files, before) == 0
    assert given(files, before) == 0
    assert given(files, after) == 2
    assert files.credential.read_text() == f"{before}\n"
    assert given(files, after, "--replace") == 0
    assert files.credential.read_text() == f"{after}\n"
    captured = capsys.readouterr()
    assert "holds another token, which is kept" in captured.err
    assert before not in captured.out + captured.err


@pytest.mark.parametrize("text", ["", "one\ntwo", "x" * 5000, "a\nb\nc"])
def test_what_can_be_no_token_is_refused(files: TokenFiles, text: str) -> None:
    assert given(files, text) == 2
    assert not files.credential.exists()


def test_two_tokens_for_the_same_are_refused(files: TokenFiles) -> None:
    assert given(files, f"{signed()[0]}\n{signed()[0]}") == 2
    assert not files.credential.exists()


def test_without_the_group_it_is_said_who_makes_it(files: TokenFiles) -> None:
    nowhere = TokenFiles(
        keys=files.keys, credential=files.credential, shared=files.shared, group="no-such-group"
    )
    with pytest.raises(ConfigError, match="no group no-such-group: systemd-sysusers makes it"):
        make_keys(nowhere, "a")


def test_help_says_what_to_do_on_another_host(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command(["--help"], io.StringIO())
    assert "gleitzeit token create --host $(hostname) | gleitzeitd keygen --stdin" in capsys.readouterr().out
