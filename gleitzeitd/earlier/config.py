"""``~/.gleitzeit/config.yaml`` of earlier versions to drop-ins beside the settings of this one.

Drop-ins, since they take nothing away: the files that are shipped stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from gleitzeitd.earlier.conversion import Converted, Source, toml
from gleitzeitd.earlier.provider import backend_for, server_for
from gleitzeitd.errors import ConfigError
from gleitzeitd.plain import Json, describe

NAME = "imported.toml"
_LEDGER = "the ledger is SQLite, in a form of its own: what an earlier database holds stays there"
REASONS = {
    "persistence": _LEDGER,
    "batch": "a workflow file with a batch says what there is to say",
    "execution": "there is no such setting",
    "execution.timeout": "a task says timeout, in seconds",
    "execution.default_timeout": "a task says timeout, in seconds",
    "execution.retry": "a task says retry",
    "execution.max_retries": "a task says retry",
    "providers": "there is no such setting",
    "providers.ollama.default_models": "a task names its model",
    "redis": _LEDGER,
    "logging": "LOG_LEVEL, or level in [log], says what is logged; the journal keeps it",
    "version": "of the file",
}
_MODELS = {
    "chat_model": ("chat", "default", "text", "llm"),
    "vision_model": ("vision",),
    "embed_model": ("embed", "embeddings", "embedding"),
}
"""Our key, and what it was called."""


def from_config(document: Json, origin: str) -> Converted:
    """Drop-ins for the engine and for providers; ``origin`` is the file that the document is from.

    Raises:
        ConfigError: it is no table.
    """
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: expected a table, found {describe(document)}")
    source = Source(document)
    found = {
        PurePath("execution-engine.d") / NAME: dict(_engine(source)),
        PurePath("providers/llm.d") / NAME: dict(_llm(source)),
        PurePath("providers/mcp.d") / NAME: dict(_mcp(source)),
    }
    left = source.left(REASONS)
    files: dict[PurePath, str] = {}
    for path, sections in found.items():
        if sections:
            # What is left out is said once.
            files[path] = toml(f"Made by gleitzeit import from {origin}.", sections, () if files else left)
    return Converted(files=files, left_out=left)


def _engine(source: Source) -> Iterator[tuple[str, dict[str, Json]]]:
    slots = source.number("execution", "max_concurrent_tasks", least=1, most=10_000)
    if slots is not None:
        yield "execution_engine", {"slots": int(slots)}


def _llm(source: Source) -> Iterator[tuple[str, dict[str, Json]]]:
    url = source.text("providers", "ollama", "endpoint") or source.text("providers", "ollama", "base_url")
    keys: dict[str, Json] = {}
    models = source.document.get("providers")
    models = models.get("ollama") if isinstance(models, dict) else None
    models = models.get("default_models") if isinstance(models, dict) else None
    for key, names in _MODELS.items():
        for name in names:
            model = source.text("providers", "ollama", "default_models", name)
            if model and key not in keys:
                keys[key] = model
    if isinstance(models, str) and (model := source.text("providers", "ollama", "default_models")):
        keys["chat_model"] = model
    if backend := backend_for(url, "ollama"):
        keys["backends"] = [backend]
    if keys:
        yield "provider", keys


def _mcp(source: Source) -> Iterator[tuple[str, dict[str, Json]]]:
    given = source.take("mcp", "servers")
    servers = []
    for number, each in enumerate(given if isinstance(given, list) else ()):
        if isinstance(each, dict):
            servers.append(server_for(Source(each), str(each.get("name") or f"server-{number + 1}")))
    if not all(servers):
        source.taken.discard(("mcp", "servers"))  # some of them could not be read
    if any(servers):
        yield "provider", {"servers": [each for each in servers if each]}
