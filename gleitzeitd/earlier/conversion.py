"""A document that is taken apart key by key, and the TOML that comes of it.

Whatever nobody has taken in the end is left out, and is said to be: nothing gets lost in silence.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import tomli_w

from gleitzeitd.plain import Json

WIDTH = 100
UNKNOWN = "nothing is known of it"
_SHOWN = 60
_SECRET = ("key", "token", "password", "secret", "credential")
_USER = re.compile(r"//[^/?#\s]*@")
"""Who speaks with a server, with a password, in an address."""

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that has no counterpart."""

    path: str
    """``connection.retries``."""
    value: Json
    why: str

    def __str__(self) -> str:
        return f"{self.path}{_shown(self.path, self.value)}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The files that a document has become."""

    files: dict[PurePath, str]
    """By their paths below ``/etc/gleitzeit``."""
    left_out: tuple[LeftOut, ...]


@dataclass(slots=True)
class Source:
    """A document, and what has been taken of it."""

    document: Mapping[str, Json]
    taken: set[Keys] = field(default_factory=set)

    def take(self, *path: str) -> Json:
        """The value there, which is dealt with now; None if there is none."""
        value: Any = self.document
        for step in path:
            if not isinstance(value, Mapping) or step not in value:
                return None
            value = value[step]
        self.taken.add(path)
        return value

    def text(self, *path: str) -> str:
        """The text there; anything else is no text, and stays."""
        value = self.take(*path)
        if isinstance(value, str):
            return value.strip()
        self.taken.discard(path)
        return ""

    def number(self, *path: str, least: float, most: float) -> float | None:
        """The number there, within bounds; anything else stays."""
        value = self.take(*path)
        if type(value) in (int, float) and least <= value <= most:
            return float(value)
        self.taken.discard(path)
        return None

    def left(self, reasons: Mapping[str, str]) -> tuple[LeftOut, ...]:
        """What has not been taken; ``reasons`` by path, or by the beginning of one."""
        found = []
        for path, value in self._rest(self.document, ()):
            text = ".".join(path)
            known = [why for start, why in reasons.items() if text == start or text.startswith(f"{start}.")]
            found.append(LeftOut(path=text, value=value, why=known[-1] if known else UNKNOWN))
        return tuple(found)

    def _rest(self, value: Json, path: Keys) -> Iterator[tuple[Keys, Json]]:
        if path in self.taken or value is None:
            return
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                yield from self._rest(inner, (*path, str(key)))
        elif path:
            yield path, value


def toml(head: str, sections: Mapping[str, Mapping[str, Json]], left_out: tuple[LeftOut, ...] = ()) -> str:
    """A file with these settings; ``[[section.key]]`` for lists of tables."""
    lines = [f"# {line}".rstrip() for paragraph in head.splitlines() for line in _wrapped(paragraph)]
    for section, keys in sections.items():
        tables = {
            key: value for key, value in keys.items() if isinstance(value, list) and value and _tables(value)
        }
        plain = {key: value for key, value in keys.items() if key not in tables}
        if plain or not tables:
            lines += ["", f"[{section}]", *_pairs(plain)]
        for key, several in tables.items():
            for each in several:
                lines += ["", f"[[{section}.{key}]]", *_pairs(each)]
    if left_out:
        lines += ["", "# Of the file that this was made from, these have no counterpart:"]
        for one in left_out:
            first, *more = _wrapped(str(one), WIDTH - 4)
            lines += [f"# - {first}", *(f"#   {line}" for line in more)]
    return "\n".join(lines) + "\n"


def _tables(value: list[Json]) -> bool:
    return all(isinstance(each, dict) for each in value)


def _pairs(keys: Mapping[str, Json]) -> list[str]:
    lines: list[str] = []
    for key, value in keys.items():
        if isinstance(value, dict):
            inner = ", ".join(tomli_w.dumps({name: each}).strip() for name, each in value.items())
            lines.append(f"{tomli_w.dumps({key: 0}).removesuffix(' = 0' + chr(10))} = {{ {inner} }}")
        else:
            lines += tomli_w.dumps({key: value}).splitlines()
    return lines


def _wrapped(text: str, width: int = WIDTH - 2) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _shown(path: str, value: Json) -> str:
    """The value, if it is short and no secret."""
    if any(word in path.lower() for word in _SECRET):
        return ""
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    text = _USER.sub("//", " ".join(text.split()))
    return f" = {text}" if len(text) <= _SHOWN and text.isprintable() else ""
