"""Which MCP servers there are, and what they are shown.

A server is a program of this host, which is started and spoken with by its standard input and output, or an
address. What is secret is not in the file: values of ``env`` and ``headers``, and the ``url``, say where it
is, as in ``"Bearer {credential:github}"``. It appears in no event, no result, no log and no message.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from gleitzeitd.bounds import bounded, sized
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.providers.kit import MethodProviderSettings
from gleitzeitd.providers.mcp_sdk import SDK_DIRECTORY

SECRET_LIMIT = 16384
"""Characters of a secret."""
PASSED_ON = ("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""Variables that a server gets of the provider's environment, and those that begin with LC_ or XDG_."""
_SOURCE = re.compile(r"\{(credential|variable|file):([^{}]+)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One server: ``[[provider.servers]]``."""

    name: str = sized("", most=64)
    """In messages, in results, and in front of the names of its tools."""
    command: str = sized("", most=4096)
    """The program of a server that is started here: its name, or its path."""
    args: list[str] = field(default_factory=list)
    """Its arguments."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables for it; {credential:NAME}, {variable:NAME} and {file:PATH} stand for what is there."""
    directory: str = sized("", most=4096)
    """Where it is started. Empty: where the provider was started."""
    url: str = sized("", most=4096)
    """``https://host/mcp``: a server that is there already, and speaks streamable HTTP."""
    headers: dict[str, str] = field(default_factory=dict)
    """For every request to it; secrets as in env: ``Bearer {credential:github}``."""
    tool_prefix: str | None = None
    """In front of the names of its tools, instead of its own name and a dot."""
    tools: list[str] = field(default_factory=lambda: ["*"])
    """Patterns of the tools that workflows may call: ``read_*``."""
    parallel: int = bounded(16, least=1, most=10_000)
    """Requests that are under way at once."""
    start_seconds: float = bounded(30.0, above=0, most=3600, unit="seconds")
    """From its start until it has said which tools it has."""
    call_seconds: float | None = bounded(None, above=0, most=86400, unit="seconds")
    """How long a call may take, whatever its task says. None: as long as the task may."""
    max_memory_bytes: int = bounded(0, least=0, most=2**50, unit="bytes")
    """Data that each of its processes may have (RLIMIT_DATA). 0: no limit but the unit's."""
    max_open_files: int = bounded(4096, least=0, most=2**20)
    """Descriptors that each of its processes may have. 0: as many as the provider."""
    max_cpu_seconds: int = bounded(0, least=0, most=10**9, unit="seconds")
    """Processor time after which it is ended, and started again. 0: no limit."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        if not _NAME.fullmatch(self.name):
            raise MalformedData("name", f"expected letters, digits, - and _, found {self.name!r}")
        if bool(self.command) == bool(self.url):
            raise MalformedData("command", "expected a command, or a url, and not both")
        if self.tool_prefix is not None and not _PREFIX.fullmatch(self.tool_prefix):
            raise MalformedData("tool_prefix", "expected letters, digits, -, _ and .")
        for name, value in self.env.items():
            if not name or "=" in name or "\0" in name + value:
                raise MalformedData(f"env.{name}", "an environment cannot hold this")
        for name in self.headers:
            if not _HEADER.fullmatch(name):
                raise MalformedData("headers", f"expected the name of a header, found {name!r}")
        if self.url and not _is_address(self.url):  # it is not repeated: there may be a password in it
            raise MalformedData("url", "expected http://HOST or https://HOST")

    @property
    def prefix(self) -> str:
        """What the names of its tools begin with: ``github.``."""
        return f"{self.name}." if self.tool_prefix is None else self.tool_prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings(MethodProviderSettings):
    """Which MCP servers there are, and within which limits they are used."""

    capacity: int = bounded(32, least=1, most=10_000)
    """Calls that are under way at once, of all servers."""
    servers: list[ServerSettings] = field(default_factory=list)
    """The servers, each with name, and command, args and env, or url and headers. None: a small one that
    comes with gleitzeit, to try it out, with the tools echo, add, multiply and concat."""
    start_seconds: float = bounded(10.0, least=0, most=3600, unit="seconds")
    """How long the start of the provider waits for all servers; those that need longer come later."""
    wait_seconds: float = bounded(3.0, least=0, most=4, unit="seconds")
    """How long a call waits for a server that is being started again, or has no room, before it goes back
    into the queue."""
    give_up_seconds: float = bounded(120.0, least=0, most=10**6, unit="seconds")
    """A server that has been away for so long fails its calls at once, until it is back."""
    restart_seconds: float = bounded(0.5, least=0.01, most=3600, unit="seconds")
    """Before a server that ended is started again; twice as long after each failure that follows."""
    restart_most_seconds: float = bounded(60.0, least=0.01, most=86400, unit="seconds")
    """The longest such pause."""
    check_seconds: float = bounded(30.0, least=0.1, most=86400, unit="seconds")
    """A server that nobody uses is asked so often whether it is still there."""
    max_message_bytes: int = bounded(32 * 2**20, least=4096, most=2**30, unit="bytes")
    """Of what a server sends at once. A program that sends more is ended, and started again."""
    tools_file: str = sized("tools.json", most=4096)
    """Where the tools are kept, for a start at which their server is away: a path, or a file of the unit's
    state directory; without that directory nowhere. Empty: nowhere."""
    sdk_directory: str = sized(SDK_DIRECTORY, most=4096)
    """Where the SDK of MCP is, if Python itself has none: python3.11 and others are below it."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        names = [server.name for server in self.servers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise MalformedData("servers", f"{twice[0]}: two servers have this name")
        prefixes = [server.prefix for server in self.servers]
        if twice := sorted({each for each in prefixes if prefixes.count(each) > 1}):
            raise MalformedData("servers", f"{twice[0]!r}: two servers have this prefix")


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is reached, with what is secret."""

    env: dict[str, str] = field(repr=False)
    """The whole environment of a program."""
    url: str = field(repr=False)
    """Without a user."""
    headers: dict[str, str] = field(repr=False)
    shown: str
    """The command or the address, for messages."""
    secrets: tuple[str, ...] = field(repr=False)


def access_to(settings: ServerSettings, environment: Mapping[str, str]) -> Access:
    """Look up what the settings refer to.

    Raises:
        ConfigError: something is not there; the message says what.
    """
    secrets: list[str] = []

    def filled(key: str, text: str) -> str:
        where = f"server {settings.name}: {key}"

        def looked_up(found: re.Match[str]) -> str:
            secret = _secret(found[1], found[2], environment, where)
            secrets.append(secret)
            return secret

        whole = _SOURCE.sub(looked_up, text)
        if whole != text:
            secrets.append(whole)
        return whole

    env = {
        name: value
        for name, value in environment.items()
        if name in PASSED_ON or name.startswith(("LC_", "XDG_"))
    }
    env.update({name: filled(f"env.{name}", value) for name, value in settings.env.items()})
    headers = {name: filled(f"headers.{name}", value) for name, value in settings.headers.items()}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"server {settings.name}: headers.{name}: expected one line of ASCII")
    if not settings.url:
        return Access(env, "", headers, settings.command, tuple(secrets))
    address = urlsplit(filled("url", settings.url))
    place = address.netloc.rpartition("@")[2]
    if address.password and "authorization" not in {name.lower() for name in headers}:
        pair = f"{unquote(address.username or '')}:{unquote(address.password)}".encode()
        coded = base64.b64encode(pair).decode()
        headers["Authorization"] = f"Basic {coded}"
        secrets += [coded, unquote(address.password), address.password]
    shown = urlunsplit((address.scheme, place, urlsplit(settings.url).path, "", ""))
    url = urlunsplit((address.scheme, place, address.path, address.query, ""))
    return Access(env, url, headers, shown, tuple(secrets))


def _secret(kind: str, name: str, environment: Mapping[str, str], where: str) -> str:
    if kind == "variable":
        found = environment.get(name, "").strip()
        if not found:
            raise ConfigError(f"{where}: {name} is not set")
    else:
        directory = environment.get("CREDENTIALS_DIRECTORY", "")
        if kind == "credential" and ("/" in name or not directory or not (Path(directory) / name).exists()):
            raise ConfigError(f"{where}: there is no systemd credential {name}")
        file = Path(directory) / name if kind == "credential" else Path(name)
        try:
            found = file.read_text(encoding="utf-8").strip()
        except OSError as problem:
            raise ConfigError(f"{where}: {file}: {problem.strerror}") from problem
        except UnicodeDecodeError:
            raise ConfigError(f"{where}: {file}: no UTF-8 text") from None
    if not found or len(found) > SECRET_LIMIT or "\0" in found:
        raise ConfigError(f"{where}: what {kind} {name} holds is empty, or no text of a secret")
    return found


def _is_address(url: str) -> bool:
    try:
        address = urlsplit(_SOURCE.sub("x", url))
        address.port  # noqa: B018 - looks whether it is one
    except ValueError:
        return False
    return address.scheme in ("http", "https") and bool(address.hostname)
