"""Values of secrets in what work says, replaced by ``***``.

A value is found as it is and in the forms in which programs write it by habit: in JSON, URLs, HTML, Python
and shell source, as hexadecimal digits, as base64 (also inside a longer text that was encoded as a whole),
and line by line if it has several. Whoever turns a value into something else on purpose gets it through.

Text that comes in pieces is held back as far as it may be the beginning of a form, so that no border between
two pieces makes a difference.
"""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator

from gleitzeitd.model.python_code import spelled
from gleitzeitd.plain import Json

MASK = "***"
SHORTEST = 4
"""Characters. A shorter text is too often one by chance."""
_SHORTEST_PART = 8
"""Characters of what is only a part of a value: one of its lines, or base64 of its middle."""

Span = tuple[int, int]


class Masker:
    """Knows some values. It can be asked from any thread."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in forms_of(value)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._shortest = len(self._forms[-1]) if self._forms else 0

    def text(self, text: str) -> str:
        """``text`` without the values."""
        spans = self._spans(text)
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
            return MASK if self._spans(repr(value)) else value
        return value

    def stream(self, out: Callable[[str], object]) -> Stream:
        """For a text that comes in pieces; ``out`` gets it without the values."""
        return Stream(self, out)

    def _spans(self, text: str) -> list[Span]:
        """Where values are; what overlaps is one span."""
        if len(text) < self._shortest:
            return []
        found = [span for form in self._forms for span in _places(text, form)]
        return _merged(found) if found else found

    def _open(self, text: str) -> int:
        """Where the longest end of ``text`` begins that a form may begin with."""
        first = len(text)
        for form in self._forms:
            at = text.find(form[0], max(0, len(text) - len(form) + 1), first)
            while at >= 0:
                if form.startswith(text[at:]):
                    first = at
                    break
                at = text.find(form[0], at + 1, first)
        return first


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
        spans = self._masker._spans(text)
        if self._covered:
            spans = _merged([(0, self._covered), *spans])
        ready = len(text) if at_end else self._masker._open(text)
        shown = _masked(text[:ready], [(a, min(b, ready)) for a, b in spans if a < ready])
        if self._covered and ready:
            shown = shown[len(MASK) :]
        self._held = text[ready:]
        over = [b - ready for a, b in spans if a < ready < b]
        if ready:
            self._covered = over[0] if over else 0
        if shown:
            self._out(shown)


def forms_of(value: str) -> set[str]:
    """The value, and how else it is written; none shorter than SHORTEST."""
    data = value.encode("utf-8", "surrogatepass")
    lines = [line for line in value.splitlines() if not line.startswith("-----")] if "\n" in value else []
    forms = {value, *_written(value), data.hex(), data.hex().upper()}
    forms |= {form for form in _base64(data) if len(form) >= _SHORTEST_PART}
    for line in lines:
        if len(line.strip()) >= _SHORTEST_PART:
            forms |= {line.strip(), *_written(line.strip())}
    return {form for form in forms if len(form) >= SHORTEST}


def _written(value: str) -> Iterator[str]:
    in_json = json.dumps(value)[1:-1]
    yield from (in_json, json.dumps(in_json)[1:-1], in_json.replace("/", "\\/"))
    unicode = json.dumps(value, ensure_ascii=False)[1:-1]
    yield from (unicode, json.dumps(unicode, ensure_ascii=False)[1:-1])
    for quoted in _url_quoted(value):
        yield from (quoted, _lower_percents(quoted))
    yield from (html.escape(value), html.escape(value, quote=False))
    yield from (repr(value)[1:-1], ascii(value)[1:-1], *spelled(value))
    yield from (value.replace("'", "'\\''"), value.replace("'", "'\"'\"'"))


def _url_quoted(value: str) -> Iterator[str]:
    for safe in ("", "/", "/:", "!$&'()*+,;=:@/?"):
        yield urllib.parse.quote(value, safe=safe, errors="replace")
    yield urllib.parse.quote_plus(value, errors="replace")
    yield urllib.parse.quote(value, safe="~()*!'", errors="replace")  # JavaScript's encodeURIComponent


def _lower_percents(quoted: str) -> str:
    parts = quoted.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _base64(data: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        yield from (whole, whole.rstrip("="))
        for before in range(3):  # bytes of something else in the same group of three
            text = encode(bytes(before) + data).decode()
            # What is left are the digits that depend on the value alone.
            yield text[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]


def _places(text: str, form: str) -> Iterator[Span]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + 1)


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
