"""Where secrets come from, which of them a task gets, and who must not be able to read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import ConfigError, SecretNotAvailable
from gleitzeitd.providers.secrets import Secrets, SecretSettings


def _file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def _of_file(path: Path, text: str) -> dict[str, str]:
    secrets = Secrets.of(SecretSettings(file=str(_file(path, text))), {})
    return {name: str(secrets.put_in({"x": f"${{secret.{name}}}"})[0]["x"]) for name in secrets.names()}


def _refused(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Secrets.of(SecretSettings(**settings), {})  # type: ignore[arg-type]
    return str(caught.value)


def test_credentials_of_each_kind_are_found(tmp_path: Path) -> None:
    _file(tmp_path / "secret.one", "first\n")
    _file(tmp_path / "secrets_two", "second")
    _file(tmp_path / "secrets", "three=third\none=not this\n")
    _file(tmp_path / "token", "no secret of tasks")
    secrets = Secrets.of(SecretSettings(), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert secrets.names() == ["one", "three", "two"]
    found, _ = secrets.put_in({"a": ["${secret.one}", "${secret.two}", "${secret.three}"]})
    assert found == {"a": ["first", "second", "third"]}


def test_credentials_come_before_the_file(tmp_path: Path) -> None:
    _file(tmp_path / "secret.one", "from systemd")
    file = _file(tmp_path / "file", "one=from the file\ntwo=from the file\n")
    secrets = Secrets.of(SecretSettings(file=str(file)), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert secrets.put_in({"a": "${secret.one}, ${secret.two}"})[0] == {"a": "from systemd, from the file"}


def test_the_file_is_read_as_systemd_reads_one(tmp_path: Path) -> None:
    text = (
        '# a comment\n; another\n\nPLAIN=some words  \nexport  EXPORTED = value\nDOUBLE="a \\"b\\" \\$c \'d\' \\n"\n'
        'SINGLE=\'a "b" \\c\'\nSEVERAL="one\ntwo"\nJOINED=\'ab\'"cd"ef\nLONG=one\\\ntwo\nESCAPED=a\\ b\\=c\n'
    )
    assert _of_file(tmp_path / "f", text) == {
        "PLAIN": "some words",
        "EXPORTED": "value",
        "DOUBLE": "a \"b\" $c 'd' \\n",
        "SINGLE": 'a "b" \\c',
        "SEVERAL": "one\ntwo",
        "JOINED": "abcdef",
        "LONG": "onetwo",
        "ESCAPED": "a b=c",
    }


@given(st.text(min_size=4, max_size=20).filter(lambda text: "\r" not in text and "\0" not in text))
def test_any_text_can_be_quoted(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    quoted = "".join(f"\\{char}" if char in '"\\`$' else char for char in value)
    path = tmp_path_factory.mktemp("secrets") / "f"
    if not value.isascii():
        value.encode()
    assert _of_file(path, f'a="{quoted}"\n') == {"a": value}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o610])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    file = _file(tmp_path / "f", "a=topsecret\n", mode)
    assert _refused(file=str(file)) == (
        f"secrets.file: {file}: its mode is {mode:04o}, so that others may get at it; expected 0600: "
        f"chmod 600 {file}"
    )


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(tmp_path / "f", "a=topsecret\n")
    owner = file.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1000)
    if owner == 0:
        assert Secrets.of(SecretSettings(file=str(file)), {}).names() == ["a"]  # root's
    else:
        assert f"belongs to user {owner}; expected {owner + 1000}" in _refused(file=str(file))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert _refused(file=str(tmp_path / "f")) == f"secrets.file: {tmp_path / 'f'}: No such file or directory"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a=topsecret\njust words of a topsecret\n", ":2: expected NAME=VALUE"),
        ("a=topsecret\n\nb='topsecret\n", ":3: the quote is never closed"),
        ("api-token=topsecret\n", ":1: the name of a secret has up to 64 letters"),
        ("a=abc\n", ":1: a secret has at least 4 characters"),
        ("a=\n", ":1: a secret has at least 4 characters"),
    ],
)
def test_a_message_names_the_line_and_nothing_that_it_holds(tmp_path: Path, text: str, problem: str) -> None:
    file = _file(tmp_path / "f", text)
    message = _refused(file=str(file))
    assert message.startswith(f"{file}{problem}")
    assert "topsecret" not in message
    assert "abc" not in message.replace(str(file), "")


def test_a_credential_that_is_too_short_or_no_text_is_refused(tmp_path: Path) -> None:
    for content in (b"abc\n", b"\xff\xfe\xfd\xfc", b"ab\0cd", b"x" * 70_000):
        (tmp_path / "secret.a").write_bytes(content)
        with pytest.raises(ConfigError, match=r"secret\.a: "):
            Secrets.of(SecretSettings(), {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_only_what_is_allowed_is_given_out() -> None:
    secrets = Secrets({"one": "first", "two": "second"}, ["one", "three"])
    assert secrets.names() == ["one"]
    assert secrets.missing() == ["three"]
    for name, why in (("two", "gives no secret 'two' to tasks"), ("three", "has no secret 'three'")):
        with pytest.raises(SecretNotAvailable, match=why) as caught:
            secrets.put_in({"a": f"${{secret.one}} ${{secret.{name}}}"})
        assert not caught.value.retryable
        assert "second" not in str(caught.value)


def test_an_unknown_secret_is_named_with_where_it_was_looked_for() -> None:
    with pytest.raises(SecretNotAvailable) as caught:
        Secrets({}).put_in({"a": "${secret.token}"})
    assert "'token'" in str(caught.value)
    assert "secret.token" in str(caught.value)
    assert "secrets.file" in str(caught.value)
    assert caught.value.info().code == -29010


def test_a_long_secret_is_hidden_in_later_calls_too_and_a_short_one_in_its_own() -> None:
    secrets = Secrets({"long": "long enough", "short": "abcd", "unused": "never given"})
    assert secrets.put_in({"a": "text"})[1] is None
    _, masker = secrets.put_in({"a": "${secret.long}${secret.short}"})
    assert masker is not None
    assert masker.text("long enough abcd never given") == "*** *** never given"
    _, later = secrets.put_in({"a": "text"})
    assert later is not None
    assert later.text("long enough abcd") == "*** abcd"
    assert secrets.hidden("long enough abcd never given") == "*** *** never given"


def test_names_that_are_allowed_are_names() -> None:
    assert _refused(allowed=["api-token"]).startswith("secrets.allowed: 'api-token': the name of a secret")
