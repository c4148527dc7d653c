from __future__ import annotations

from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.runtime.security import find_token


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
