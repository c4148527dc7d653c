"""Which LLM servers there are, and the keys to them.

What is configured counts. If nothing is, the environment is asked, as the tools of those servers do:
``OLLAMA_HOST``, ``OPENAI_BASE_URL``, ``OPENAI_API_KEY``; else an Ollama at its usual address
is tried. A key is read from the systemd credential or the variable that a back end names, and it appears in
no event, no result, no log and no message: :class:`Scrubber` takes it out of whatever a server says.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from gleitzeitd.bounds import bounded, sized
from gleitzeitd.errors import ConfigError, MalformedData

KEY_LIMIT = 8192
"""Characters of a key."""
SECRET_LENGTH = 12
"""Shorter ones are taken for placeholders, as servers without keys want one: a word that answers may hold."""
REMOVED = "(key)"
"""Stands for a key in what is shown."""
OPENAI = "https://api.openai.com/v1"
OLLAMA_PORT = 11434
WHAT_TO_SET = (
    "Start Ollama (ollama serve), or set OLLAMA_HOST, OPENAI_BASE_URL or OPENAI_API_KEY, or name a back end "
    "in /etc/gleitzeit/providers/llm.toml"
)
_OPENAI_MODELS = ["gpt-*", "chatgpt-*", "o[0-9]*", "text-embedding-*", "*"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """One server: ``[[provider.backends]]``."""

    name: str = sized("", most=100)
    """In results, as provider_id, and in messages."""
    kind: Literal["openai", "ollama"] = "openai"
    """What it speaks: OpenAI's API, as most servers do, or Ollama's own."""
    base_url: str = ""
    """``https://host/v1``, ``http://host:11434``."""
    models: list[str] = field(default_factory=lambda: ["*"])
    """Patterns of the models that are looked for here: ``llama*``."""
    key_credential: str = ""
    """Name of the systemd credential with its key (LoadCredential= of the unit)."""
    key_variable: str = ""
    """Name of the variable with its key, if there is no such credential."""
    parallel: int = bounded(4, least=1, most=10_000)
    """Requests for one model that are under way at once."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise MalformedData("name", f"expected letters, digits, -, _ and ., found {self.name!r}")
        if not self.models:
            raise MalformedData("models", "expected at least one pattern, as *")
        if "/" in self.key_credential or self.key_credential.startswith("."):
            raise MalformedData("key_credential", "expected a name, found a path")
        try:
            address = urlsplit(self.base_url)
            usable = address.scheme in ("http", "https") and bool(address.hostname)
            address.port  # noqa: B018 - looks whether it is one
        except ValueError:
            usable = False
        if not usable:  # it is not repeated: there may be a password in it
            raise MalformedData("base_url", "expected http://HOST or https://HOST")


def from_environment(environment: Mapping[str, str]) -> list[BackendSettings]:
    """The servers that variables name; an Ollama at its usual address is always among them if none does.

    Raises:
        ConfigError: a variable names no server.
    """
    found: list[BackendSettings] = []
    ollama = environment.get("OLLAMA_HOST", "").strip()
    openai = environment.get("OPENAI_BASE_URL", "").strip()
    if openai or environment.get("OPENAI_API_KEY", "").strip():
        made = _made("OPENAI_BASE_URL", "openai", openai or OPENAI)
        # Of two servers, what nobody else has is looked for here first.
        found.append(_with_models(made, _OPENAI_MODELS if ollama else ["*"]))
    if ollama:
        found.insert(0, _made("OLLAMA_HOST", "ollama", ollama_address(ollama)))
    return found


def usual_ollama() -> BackendSettings:
    """Where Ollama is if nobody has said otherwise."""
    return _made("OLLAMA_HOST", "ollama", f"http://127.0.0.1:{OLLAMA_PORT}")


def ollama_address(value: str) -> str:
    """The URL that OLLAMA_HOST means: ``host``, ``:port``, ``http://host``, or ``0.0.0.0``, to which nobody
    can connect.
    """
    scheme, separator, rest = value.rpartition("://")
    usual = {"http": 80, "https": 443}.get(scheme, OLLAMA_PORT) if separator else OLLAMA_PORT
    authority, slash, path = rest.partition("/")
    user, at, place = authority.rpartition("@")
    host, _, port = place.rpartition(":") if re.search(r":\d*$", place) and place != "::" else (place, "", "")
    if host in ("", "0.0.0.0", "[::]", "::"):  # noqa: S104 - nothing is bound here
        host = "127.0.0.1"
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme or 'http'}://{user}{at}{host}:{port or usual}{slash}{path}"


def _made(variable: str, kind: Literal["openai", "ollama"], url: str) -> BackendSettings:
    key = "OPENAI_API_KEY" if kind == "openai" else ""
    try:
        return BackendSettings(name=kind, kind=kind, base_url=url, key_variable=key)
    except MalformedData:
        raise ConfigError(f"{variable}: expected http://HOST:PORT or https://HOST") from None


def _with_models(settings: BackendSettings, models: list[str]) -> BackendSettings:
    return BackendSettings(
        name=settings.name,
        kind=settings.kind,
        base_url=settings.base_url,
        models=models,
        key_variable=settings.key_variable,
    )


@dataclass(frozen=True, slots=True)
class Access:
    """How a back end is reached."""

    url: str
    """Without a user and without a slash at its end."""
    headers: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    problem: str = ""
    """Why nothing can be asked of it."""


def access_to(settings: BackendSettings, environment: Mapping[str, str]) -> Access:
    """The address without what is secret in it, and what the server is shown; or what is wrong with it."""
    address = urlsplit(settings.base_url)
    path = address.path.rstrip("/")
    if settings.kind == "openai" and not path:
        path = "/v1"
    place = address.netloc.rpartition("@")[2]
    url = urlunsplit((address.scheme, place, path, "", ""))
    try:
        key = _key(settings, environment)
    except ConfigError as problem:
        return Access(url, {}, (), str(problem))
    if key:
        return Access(url, {"Authorization": f"Bearer {key}"}, (key,))
    if address.password:
        pair = f"{unquote(address.username or '')}:{unquote(address.password)}".encode()
        coded = base64.b64encode(pair).decode()
        secrets = (coded, unquote(address.password), address.password)
        return Access(url, {"Authorization": f"Basic {coded}"}, secrets)
    return Access(url, {}, ())


def _key(settings: BackendSettings, environment: Mapping[str, str]) -> str:
    looked: list[str] = []
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    if settings.key_credential:
        if directory and (file := Path(directory) / settings.key_credential).exists():
            return _checked(_content(file, settings), settings, f"the credential {settings.key_credential}")
        looked.append(f"there is no systemd credential {settings.key_credential}")
    if settings.key_variable:
        if key := environment.get(settings.key_variable, "").strip():
            return _checked(key, settings, settings.key_variable)
        looked.append(f"{settings.key_variable} is not set")
    # Many servers that speak OpenAI's API want no key.
    if looked and (settings.key_credential or settings.key_variable != "OPENAI_API_KEY"):
        raise ConfigError(f"back end {settings.name}: no key: {', and '.join(looked)}")
    return ""


def _content(file: Path, settings: BackendSettings) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise ConfigError(f"back end {settings.name}: {file}: {problem.strerror}") from problem
    except UnicodeDecodeError:
        raise ConfigError(f"back end {settings.name}: {file}: no UTF-8 text") from None


def _checked(key: str, settings: BackendSettings, where: str) -> str:
    if not key or len(key) > KEY_LIMIT or not (key.isascii() and key.isprintable()):
        raise ConfigError(f"back end {settings.name}: {where} holds no key, which is one line of ASCII")
    return key


class Scrubber:
    """Takes secrets out of texts and of JSON."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= SECRET_LENGTH}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        return text

    def json(self, value: Any) -> Any:
        """The value without them, in keys and in texts."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.json(item) for key, item in value.items()}
        return value

    def begun(self, text: str) -> int:
        """Characters at the end of ``text`` that may be the beginning of a secret."""
        return max((_overlap(text, secret) for secret in self._secrets), default=0)


def _overlap(text: str, secret: str) -> int:
    longest = min(len(text), len(secret) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(secret[:size])), 0)


class ScrubbedStream:
    """Passes a text on that comes in pieces, and holds back what may be the beginning of a secret."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be shown now."""
        text = self._scrubber.text(self._held + text)
        held = self._scrubber.begun(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def end(self) -> str:
        """The rest."""
        held, self._held = self._held, ""
        return held
