"""A provider's YAML of earlier versions to the TOML of the provider that does its work now.

Much of those files was decoration: limits, sandboxes and authentication that no code ever read. That is not
taken over as if it had held, but left out, with what holds now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from urllib.parse import urlsplit

from gleitzeitd.earlier.conversion import Converted, Source, toml
from gleitzeitd.errors import ConfigError
from gleitzeitd.plain import Json, describe

Settings = dict[str, Json]

CLASSES = {
    "llm": "gleitzeitd.providers.llm:LlmProvider",
    "python": "gleitzeitd.providers.python:PythonProvider",
    "http": "gleitzeitd.providers.http:HttpProvider",
    "mcp": "gleitzeitd.providers.mcp:McpProvider",
    "shell": "gleitzeitd.providers.shell:ShellProvider",
    "echo": "gleitzeitd.providers.echo:EchoProvider",
}
"""By the protocol, who does its work now."""
_EXECUTORS = {"ollama-llm": "llm", "ollama": "llm", "openai-llm": "llm", "python-local": "python"}
_DECORATION = "no version has ever looked at it"
_SANDBOX = f"{_DECORATION}; what a provider may is said by its unit, see systemd-analyze security"
_IN_CODE = "a provider says itself what it does: gleitzeit protocols show"
REASONS = {
    "version": "of the file; protocols have versions",
    "capabilities": _IN_CODE,
    "examples": _IN_CODE,
    "executor": "which class does the work is said by module",
    "protocol": "the class has its protocol",
    "metadata": "for people",
    "tags": "for people",
    "author": "for people",
    "license": "for people",
    "authentication": f"{_DECORATION}; a key is a credential of the unit, named by key_credential",
    "security": _SANDBOX,
    "connection": "there is no such setting",
    "connection.type": "the class knows how it connects",
    "connection.retries": f"{_DECORATION}; a task says retry: {{max_attempts: ...}}",
    "connection.health_check": "a provider knows how to ask its server",
    "connection.timeout": "a task says timeout, in seconds",
    "connection.max_memory_mb": f"{_DECORATION}; MemoryMax= of the unit limits it",
    "connection.sandbox_enabled": _SANDBOX,
    "connection.base_url": "tasks name the whole address",
    "connection.python_executable": "the Python of the provider itself is used",
}


def from_provider(document: Json, origin: str) -> Converted:
    """The settings of one provider; ``origin`` is the file that the document is from.

    Raises:
        ConfigError: it is no provider's file, or nobody does this work now.
    """
    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: expected a table with name and protocol, found {describe(document)}")
    source = Source(document)
    name = source.text("name")
    kind = _kind(source, origin)
    if not name:
        raise ConfigError(f"{origin}: name is missing")
    about = source.text("description")
    reader = _READERS.get(kind)
    settings = {"module": CLASSES[kind], **(reader(source, name) if reader is not None else {})}
    left = source.left(REASONS)
    head = f"The provider {name}{f': {about}' if about else ''}\nMade by gleitzeit import from {origin}."
    file = PurePath("providers") / f"{re.sub(r'[^A-Za-z0-9_.@-]', '-', name)}.toml"
    return Converted(files={file: toml(head, {"provider": settings}, left)}, left_out=left)


def _kind(source: Source, origin: str) -> str:
    protocol = source.document.get("protocol")
    executor = source.document.get("executor")
    if not isinstance(protocol, str):
        if "methods" in source.document:
            raise ConfigError(f"{origin}: this is a protocol: gleitzeit import protocol reads it")
        raise ConfigError(f"{origin}: protocol is missing; expected one as llm/v1")
    kind = _EXECUTORS.get(str(executor), protocol.partition("/")[0])
    if kind not in CLASSES:
        raise ConfigError(
            f"{origin}: nothing that comes with gleitzeit serves {protocol}; a class of your own can, whose "
            "settings name the file of its protocol: see gleitzeit-provider.toml(5)"
        )
    return kind


# --- what each of them makes of it ----------------------------------------------------------------


def _llm(source: Source, name: str) -> Settings:
    found: Settings = {}
    seconds = source.number("connection", "timeout", least=0.001, most=86400)
    if seconds is not None:
        found["read_seconds"] = seconds
    backend = backend_for(source.text("connection", "base_url"), name, str(source.document.get("executor")))
    if backend:
        found["backends"] = [backend]
    return found


def backend_for(url: str, name: str, executor: str = "") -> Settings:
    """One server of the provider for language models; empty if the address is none."""
    try:
        address = urlsplit(url)
        usable = address.scheme in ("http", "https") and bool(address.hostname)
        port = address.port
    except ValueError:
        return {}
    if not usable:
        return {}
    # In those files, OpenAI's API was spoken only where its name is.
    openai = "openai" in f"{name} {executor} {address.hostname}".lower() and port != 11434
    if openai and address.path in ("", "/"):
        url = f"{url.rstrip('/')}/v1"
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("-._")[:100]
    return {"name": safe or "server", "kind": "openai" if openai else "ollama", "base_url": url}


def _python(source: Source, _name: str) -> Settings:
    found: Settings = {}
    interpreter = source.text("connection", "python_executable")
    if "/" in interpreter:
        found["interpreter"] = interpreter
    else:
        source.taken.discard(("connection", "python_executable"))
    directory = source.text("connection", "working_directory")
    if directory.startswith("/"):
        found["working_directory"] = directory
    else:
        source.taken.discard(("connection", "working_directory"))
    return found


def _mcp(source: Source, name: str) -> Settings:
    table = source.document.get("connection")
    server = server_for(Source(table) if isinstance(table, dict) else Source({}), name)
    if not server:
        return {}
    for key in ("command", "args", "env", "url", "base_url", "tool_prefix"):
        source.take("connection", key)
    return {"servers": [server]}


def server_for(source: Source, name: str) -> Settings:
    """One server of the provider for MCP; empty if there is neither a command nor an address."""
    command = source.take("command")
    words = command if isinstance(command, list) else str(command).split() if command else []
    given = source.take("args")
    args = given if isinstance(given, list) else []
    url = source.text("url") or source.text("base_url")
    made: Settings = {"name": re.sub(r"[^A-Za-z0-9_-]", "-", name)}
    if words:
        made |= {"command": str(words[0]), "args": [str(each) for each in (*words[1:], *args)]}
        env = source.take("env")
        if isinstance(env, dict) and env:
            made["env"] = {str(key): str(value) for key, value in env.items()}
    elif url:
        made["url"] = url
    else:
        return {}
    prefix = source.take("tool_prefix")
    if isinstance(prefix, str):
        made["tool_prefix"] = prefix
    return made


_READERS: Mapping[str, Callable[[Source, str], Settings]] = {"llm": _llm, "python": _python, "mcp": _mcp}
