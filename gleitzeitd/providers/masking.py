"""Values of secrets in what work says, replaced by ``***``.

A value is found as it is and as programs write it by habit, each of its characters in any of these ways: as
in JSON (also in JSON within JSON), URLs, HTML, and the source of Python and of shells. And as a whole: as
hexadecimal digits, as base64 (also inside a longer text that was encoded as a whole), and line by line if it
has several. Whoever turns a value into something else on purpose gets it through.

Text that comes in pieces is held back as far as it may be the beginning of a value, so that no border between
two pieces makes a difference.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from gleitzeitd.model.python_code import spelled
from gleitzeitd.plain import Json

MASK = "***"
SHORTEST = 4
"""Characters. A shorter text is too often one by chance."""
_SHORTEST_PART = 8
"""Characters of what is only a part of a value: one of its lines, or base64 of its middle."""
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""Characters that are written in one way only."""

Span = tuple[int, int]
Pattern = tuple[tuple[str, ...], ...]
"""What follows upon each other, each in one of several ways."""


class Masker:
    """Knows some values. It can be asked from any thread."""

    def __init__(self, values: Iterable[str]) -> None:
        patterns = {pattern for value in values for pattern in patterns_of(value)}
        self._patterns = sorted(patterns)
        self._shortest = min((sum(min(map(len, ways)) for ways in p) for p in patterns), default=0)

    def text(self, text: str) -> str:
        """``text`` without the values."""
        spans, _ = self.spans(text)
        return _masked(text, spans) if spans else text

    def value(self, value: Json) -> Json:
        """Plain data without them; its texts, keys and numbers are looked at.

        Raises:
            RecursionError: it is nested too deeply to be JSON.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return MASK if self.spans(repr(value))[0] else value
        return value

    def stream(self, out: Callable[[str], object]) -> Stream:
        """For a text that comes in pieces; ``out`` gets it without the values."""
        return Stream(self, out)

    def spans(self, text: str) -> tuple[list[Span], int]:
        """Where values are, what overlaps as one; and where one may begin that goes on after the text."""
        found: list[Span] = []
        open_from = len(text)
        for pattern in self._patterns:
            for start in _starts(text, pattern[0]):
                end, goes_on = _reach(text, start, pattern)
                if end:
                    found.append((start, end))
                if goes_on:
                    open_from = min(open_from, start)
        return _merged(found), open_from


def _starts(text: str, ways: tuple[str, ...]) -> Iterator[int]:
    """Where one of them is, or may begin at the end of the text."""
    for way in ways:
        at = text.find(way)
        while at >= 0:
            yield at
            at = text.find(way, at + 1)
        at = text.find(way[0], max(0, len(text) - len(way) + 1))
        while at >= 0:
            if way.startswith(text[at:]):
                yield at
            at = text.find(way[0], at + 1)


def _reach(text: str, start: int, pattern: Pattern) -> tuple[int, bool]:
    """The furthest end of the pattern from ``start`` on, 0 if it is not there; and whether it may be there,
    or reach further, when the text goes on.
    """
    reached, goes_on = {start}, False
    for ways in pattern:
        following = set()
        for at in reached:
            for way in ways:
                if text.startswith(way, at):
                    following.add(at + len(way))
                elif len(text) - at < len(way) and way.startswith(text[at:]):
                    goes_on = True
        if not following:
            return 0, goes_on
        reached = following
    return max(reached), goes_on


class Stream:
    """One text in pieces."""

    def __init__(self, masker: Masker, out: Callable[[str], object]) -> None:
        self._masker = masker
        self._out = out
        self._held = ""
        self._covered = 0
        """So much of what is held is the end of a value whose mask has been written."""

    def feed(self, text: str) -> None:
        """More of it."""
        self._pass_on(self._held + text, at_end=False)

    def end(self) -> None:
        """That was all. Can be repeated."""
        self._pass_on(self._held, at_end=True)

    def _pass_on(self, text: str, *, at_end: bool) -> None:
        spans, open_from = self._masker.spans(text)
        if self._covered:
            spans = _merged([(0, self._covered), *spans])
        ready = len(text) if at_end else open_from
        shown = _masked(text[:ready], [(a, min(b, ready)) for a, b in spans if a < ready])
        if self._covered and ready:
            shown = shown[len(MASK) :]
        self._held = text[ready:]
        over = [b - ready for a, b in spans if a < ready < b]
        if ready:
            self._covered = over[0] if over else 0
        if shown:
            self._out(shown)


def patterns_of(value: str) -> set[Pattern]:
    """How the value is written; none is shorter than SHORTEST."""
    data = value.encode("utf-8", "surrogatepass")
    whole = [data.hex(), data.hex().upper(), *spelled(value)]
    whole += [form for form in _base64(data) if len(form) >= _SHORTEST_PART]
    patterns = {_pattern(value), *(((form,),) for form in whole if len(form) >= SHORTEST)}
    lines = [line.strip() for line in value.splitlines() if not line.startswith("-----")]
    return patterns | {_pattern(line) for line in lines if len(line) >= _SHORTEST_PART}


def _pattern(value: str) -> Pattern:
    pattern: list[tuple[str, ...]] = []
    for _, run in groupby(value, key=lambda char: "" if char in _PLAIN else char):
        text = "".join(run)
        # All of a run in the same way: else there were too many ways to look at.
        ways = (text,) if text[0] in _PLAIN else tuple(way * len(text) for way in _ways(text[0]))
        pattern.append(tuple(dict.fromkeys(ways)))
    return tuple(pattern)


def _ways(char: str) -> Iterator[str]:
    yield char
    data, number = char.encode("utf-8", "surrogatepass"), ord(char)
    percents = "".join(f"%{byte:02X}" for byte in data)
    yield from (percents, percents.lower(), percents.replace("%", "%25"))
    in_json = json.dumps(char)[1:-1]
    escapes = [in_json, f"\\u{number:04x}", f"\\x{number:02x}", "".join(f"\\x{byte:02x}" for byte in data)]
    escapes += [repr(char)[1:-1], ascii(char)[1:-1]]
    escapes += [f"\\{char}"] if char.isascii() and char.isprintable() else []
    for escape in escapes:
        if escape != char:
            yield from (escape, escape[:1] + escape[1:2] + escape[2:].upper())
            twice = json.dumps(escape, ensure_ascii=False)[1:-1]
            yield from (twice, json.dumps(twice, ensure_ascii=False)[1:-1])
    yield from (html.escape(char), f"&#{number};", f"&#x{number:x};", f"&#x{number:X};")
    yield from _OTHER_WAYS.get(char, ())


_OTHER_WAYS = {
    " ": ("+",),
    "\n": ("\r\n", "%0D%0A", "%0d%0a", "\\r\\n"),
    "'": ("'\\''", "'\"'\"'", "&apos;"),
    "{": ("{{",),
    "}": ("}}",),
}


def _base64(data: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        yield from (whole, whole.rstrip("="))
        for before in range(3):  # bytes of something else in the same group of three
            text = encode(bytes(before) + data).decode()
            # What is left are the digits that depend on the value alone.
            yield text[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]


def _merged(spans: list[Span]) -> list[Span]:
    spans.sort()
    merged = spans[:1]
    for start, end in spans[1:]:
        if start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _masked(text: str, spans: list[Span]) -> str:
    parts, last = [], 0
    for start, end in spans:
        parts += [text[last:start], MASK]
        last = end
    return "".join([*parts, text[last:]])
