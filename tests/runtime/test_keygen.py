"""The token of a host: made once, shown to nobody."""

from __future__ import annotations

import grp
import io
import os
import stat
from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.runtime.keygen import TokenFiles, command, make_token

OURS = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def files(tmp_path: Path) -> TokenFiles:
    return TokenFiles(credential=tmp_path / "store" / "token", shared=tmp_path / "etc" / "token", group=OURS)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="the owner of the credential is root")
def test_both_files_hold_one_token_and_are_for_those_they_are_meant_for(files: TokenFiles) -> None:
    assert make_token(files) == [files.credential, files.shared]
    token = files.credential.read_text()
    assert files.shared.read_text() == token
    assert len(token.strip()) >= 40
    assert (mode(files.credential), mode(files.shared)) == (0o600, 0o640)
    assert mode(files.credential.parent) == 0o700
    assert [file.name for file in files.credential.parent.iterdir()] == ["token"]  # no draft is left


@pytest.mark.skipif(os.geteuid() != 0, reason="the owner of the credential is root")
def test_what_is_there_is_kept_and_what_is_missing_is_made_from_it(files: TokenFiles) -> None:
    make_token(files)
    before = files.credential.read_text()
    assert make_token(files) == []
    for missing in (files.credential, files.shared):
        missing.unlink()
        assert make_token(files) == [missing]
        assert missing.read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="the owner of the credential is root")
def test_the_token_of_another_host_is_taken_but_takes_the_place_of_none(
    files: TokenFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["--stdin"], io.StringIO("theirs\n"), files) == 0
    assert files.shared.read_text() == "theirs\n"
    assert command(["--stdin"], io.StringIO("theirs"), files) == 0
    assert command(["--stdin"], io.StringIO("another"), files) == 2
    captured = capsys.readouterr()
    assert "holds another token, which is kept" in captured.err
    assert files.credential.read_text() == "theirs\n"
    assert "theirs" not in captured.out + captured.err


@pytest.mark.parametrize("given", ["", "two\nlines", "x" * 5000])
def test_what_can_be_no_token_is_refused(files: TokenFiles, given: str) -> None:
    assert command(["--stdin"], io.StringIO(given), files) == 2
    assert not files.credential.exists()


def test_without_the_group_it_is_said_who_makes_it(files: TokenFiles) -> None:
    with pytest.raises(ConfigError, match="no group no-such-group: systemd-sysusers makes it"):
        make_token(TokenFiles(credential=files.credential, shared=files.shared, group="no-such-group"))


def test_two_tokens_on_one_host_are_an_error(files: TokenFiles) -> None:
    for file, text in ((files.credential, "one"), (files.shared, "two")):
        file.parent.mkdir()
        file.write_text(text)
    with pytest.raises(ConfigError, match="holds another token"):
        make_token(files)


def test_help_says_what_to_do_on_another_host(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command(["--help"], io.StringIO())
    assert "ssh HUB-HOST cat /etc/gleitzeit/token | gleitzeitd keygen --stdin" in capsys.readouterr().out
