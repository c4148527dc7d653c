from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.keygen import daemons_grant, group_grant
from gleitzeitd.runtime.security import find_token, why_unreadable
from gleitzeitd.runtime.tokens import KeyRing


def test_the_credential_comes_before_the_variable_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("credential\n")
    (tmp_path / "file").write_text("  file ")
    everything = {"CREDENTIALS_DIRECTORY": str(tmp_path), "GLEITZEIT_TOKEN": " variable "}
    assert find_token(str(tmp_path / "file"), everything) == "credential"
    assert find_token(str(tmp_path / "file"), {"GLEITZEIT_TOKEN": " variable "}) == "variable"
    assert find_token(str(tmp_path / "file"), {"CREDENTIALS_DIRECTORY": "/nowhere"}) == "file"
    assert find_token("", {}) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "the token cannot be read: No such file"),
        (b" \n", "holds no token"),
        (b"\xff\xfe", "the token is not UTF-8"),
        (b"two\nlines", "one line"),
        (b"x" * 5000, "at most 4096"),
    ],
)
def test_a_file_without_a_token_is_named(content: bytes | None, why: str, tmp_path: Path) -> None:
    file = tmp_path / "token-file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{file}: .*{why}") as caught:
        find_token(str(file), {})
    assert "lines" not in str(caught.value)  # never the token itself


def test_the_token_of_the_host_comes_last_and_only_where_it_can_be_read(tmp_path: Path) -> None:
    installed = tmp_path / "token"
    assert find_token("", {}, installed) is None
    installed.write_text("host\n")
    assert find_token("", {}, installed) == "host"
    assert find_token("", {"GLEITZEIT_TOKEN": "variable"}, installed) == "variable"


def test_who_may_not_read_the_token_of_the_host_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    assert why_unreadable(file) is None  # there is none
    file.write_text("host")
    assert why_unreadable(file) is None
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    monkeypatch.setattr("grp.getgrnam", lambda _: SimpleNamespace(gr_mem=["otto"], gr_gid=4711))
    assert "you are not in group gleitzeit: ask root for `usermod -aG gleitzeit anna`" in str(
        why_unreadable(file)
    )
    monkeypatch.setattr("grp.getgrnam", lambda _: SimpleNamespace(gr_mem=["anna"], gr_gid=4711))
    assert "log in again" in str(why_unreadable(file))
    monkeypatch.setattr("os.getgroups", lambda: [4711])
    assert f"ask root for `chgrp gleitzeit {file} && chmod 0640 {file}`" in str(why_unreadable(file))
    assert find_token("", {}, file) is None


def test_credentials_that_a_command_of_the_unit_may_not_look_into_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "token").write_text("host")
    monkeypatch.setattr(Path, "exists", refuse)
    assert find_token("", {"CREDENTIALS_DIRECTORY": "/run/credentials/x"}, tmp_path / "token") == "host"


def test_daemons_do_not_take_the_token_of_the_members_of_the_group(tmp_path: Path) -> None:
    ring, installed = KeyRing.make(), tmp_path / "token"
    users, daemons = (ring.issue(grant("a"), now=0.0) for grant in (group_grant, daemons_grant))
    installed.write_text(users)
    assert find_token("", {}, installed) == users
    assert find_token("", {}, installed, role=Role.PERSISTENCE) is None
    installed.write_text(daemons)
    assert find_token("", {}, installed, role=Role.PERSISTENCE) == daemons
    assert find_token("", {}, installed) is None
