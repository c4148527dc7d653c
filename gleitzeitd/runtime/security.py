"""Where the token comes from that a hub asks for. It appears in no message and no log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gleitzeitd.errors import ConfigError

TOKEN_LIMIT = 4096
"""Characters of a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings:
    """How components prove to hubs that they belong to this system; the same for all of them."""

    token_file: str = ""
    """The file with the token that hubs ask for. The systemd credential token and the variable
    GLEITZEIT_TOKEN come before it. Without a token a hub serves its own host only."""


def find_token(token_file: str, environment: Mapping[str, str]) -> str | None:
    """The token: the systemd credential ``token``, else the variable GLEITZEIT_TOKEN, else ``token_file``.

    White space around it does not count. None if none of the three is there.

    Raises:
        ConfigError: a file that should hold it cannot be read, or holds no token; the message names it.
    """
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    if directory:
        credential = Path(directory) / "token"
        if credential.exists():
            return _read(credential)
    from_environment = environment.get("GLEITZEIT_TOKEN", "").strip()
    if from_environment:
        return _checked(from_environment, "GLEITZEIT_TOKEN")
    return _read(Path(token_file)) if token_file else None


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise ConfigError(f"{file}: the token cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{file}: the token is not UTF-8 text") from problem
    return _checked(text, str(file))


def _checked(text: str, where: str) -> str:
    if not text:
        raise ConfigError(f"{where}: holds no token")
    if len(text) > TOKEN_LIMIT or not text.isprintable():
        raise ConfigError(f"{where}: a token is one line of at most {TOKEN_LIMIT} characters")
    return text
