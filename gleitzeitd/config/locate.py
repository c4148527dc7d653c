"""On which line of a TOML file each key stands; ``tomllib`` does not say.

The text has been parsed by ``tomllib`` before, so it is known to be valid, and the scanner only needs
to tell keys from values: it follows TOML 1.0 in what a string, a comment, a header, a dotted key, an
inline table and an array are, and knows nothing about numbers and dates.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""From the root of the document to a value: ``("hub", "listeners", 0, "port")``."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# A run of up to five quotes ends a multi-line string: the last three close it, the others are its own.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_OTHER_VALUE = re.compile(r"[^,\]}#\n]+")  # a date can have a space inside


def locate(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every table, key and array item; of its first mention, if several.

    ``text`` is valid TOML. A table that only exists as part of a longer name (``[a.b]``) is where
    that name is.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


def rendered(path: KeyPath) -> str:
    """``hub.listeners[0].port``: the form that messages about plain data use."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            out += f".{part}" if out else part
    return out


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [i for i, character in enumerate(text) if character == "\n"]
        self._tables: dict[KeyPath, int] = {}  # arrays of tables, and how many they have so far
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._next():
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        repeated = self._text.startswith("[[", self._at)
        self._at += 2 if repeated else 1
        line = self._line()
        self._next()
        names = self._key()
        self._next()
        self._at += 2 if repeated else 1
        path: KeyPath = ()
        for depth, name in enumerate(names, start=1):
            path += (name,)
            self.lines.setdefault(path, line)
            if repeated and depth == len(names):
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path += (self._tables[path] - 1,)
                self.lines.setdefault(path, line)
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for name in self._key():
            path += (name,)
            self.lines.setdefault(path, line)
        self._next()
        self._at += 1  # the equals sign
        self._next()
        self._value(path)

    def _key(self) -> list[str]:
        names = []
        while True:
            if self._text[self._at] in "\"'":
                raw = self._take(_STRING)
                names.append(str(tomllib.loads(f"key = {raw}")["key"]))
            else:
                names.append(self._take(_BARE_KEY))
            self._next()
            if self._text[self._at] != ".":
                return names
            self._at += 1
            self._next()

    def _value(self, path: KeyPath) -> None:
        match self._text[self._at]:
            case '"' | "'":
                self._take(_STRING)
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case _:
                self._take(_OTHER_VALUE)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._more("]"):
            item = (*path, index)
            self.lines.setdefault(item, self._line())
            self._value(item)
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._more("}"):
            self._pair(path)

    def _more(self, end: str) -> bool:
        """Whether another item comes before ``end``; commas and ``end`` are consumed."""
        self._next()
        if self._text[self._at] == ",":
            self._at += 1
            self._next()
        if self._text[self._at] == end:
            self._at += 1
            return False
        return True

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found is not None, f"no {pattern.pattern} at offset {self._at}: the text was not valid TOML"
        self._at = found.end()
        return found.group()

    def _next(self) -> bool:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at < len(self._text)

    def _line(self) -> int:
        return bisect.bisect_left(self._ends, self._at) + 1
