r"""References inside Python source: where they are, and how a value is put there.

What is put in never becomes code. Outside a string literal a value is written as a parenthesised
literal of its own; inside one, its text is escaped for that literal; in a comment, nothing is
replaced. Line numbers stay as they were.

    total = ${sum.result} + 1         ->  total = (41) + 1
    print("said: ${ask.response}")    ->  print("said: it\'s \"fine\"")

The source is not valid Python before the replacement, so Python's own tokeniser cannot read it (and
it treats f-strings differently since 3.12). The scanner here knows of Python's lexis what matters:
comments, string literals of every prefix, and the replacement fields and format specifications of
f-strings, nested to any depth that Python takes.

Inside a replacement field Python 3.11 allows neither a backslash nor the quotes around the field. A
value is written without them there: ``str().join(map(chr,(104,105)))``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum

from gleitzeitd.plain import Json
from gleitzeitd.record import record

REFERENCE = re.compile(
    r"""\$\{((?:[^{}\[\]\r\n]++|\[(?:\\?'[^'\r\n]*'|\\?"[^"\r\n]*"|[^\[\]{}'"\r\n]*)\])*+)\}"""
)
"""``${...}``; its group is what is inside. It takes time and memory in proportion to that, whatever it is."""

UNREADABLE = "'${' without a readable reference after it; write '$${' for a literal '${'"

_PREFIXES = frozenset({"r", "b", "u", "f", "t", "br", "rb", "fr", "rf", "tr", "rt"})
_CODE = re.compile(r"\#[^\r\n]*|\w+|'''|\"\"\"|[\"'$(){}\[\]:!]|[^\w\"'$(){}\[\]:!\#]+")
_TEXT = re.compile(r"[^\\$'\"{}\r\n]+")
_OCTAL = re.compile(r"\\[0-7]{1,2}")
_NESTING_LIMIT = 100
SOURCE_LIMIT = 1_000_000
"""Characters of a source that references are looked for in; a longer one with references is a problem."""


class Place(Enum):
    """What surrounds a reference."""

    CODE = "code"
    TEXT = "text of a string literal"
    SPEC = "format specification in an f-string"


@dataclass(slots=True, eq=False)
class Literal:
    """A string literal; what has to change in it when a text is put in."""

    start: int
    prefix: str
    quote: str
    nested: bool
    """Whether it stands in a replacement field."""
    backslashes: list[int] = field(default_factory=list)
    braces: list[int] = field(default_factory=list)
    """Of the text of a literal that is no f-string."""
    last_escape: int = -1

    @property
    def raw(self) -> bool:
        return "r" in self.prefix.lower()

    @property
    def binary(self) -> bool:
        return "b" in self.prefix.lower()

    @property
    def formatted(self) -> bool:
        return "f" in self.prefix.lower() or "t" in self.prefix.lower()


@record
class Span:
    """One reference in the source."""

    start: int
    end: int
    inner: str
    """Between the braces."""
    place: Place
    literal: Literal | None
    """The literal whose text it stands in, or whose format specification."""
    nested: bool
    """Whether it stands in a replacement field."""
    lone_backslash: bool = False
    """Whether the character before it is a backslash that stands for itself."""
    after_octal: bool = False
    """Whether an octal escape before it would take in more digits."""


@dataclass(slots=True)
class Scan:
    """What a source contains."""

    spans: list[Span] = field(default_factory=list)
    escapes: list[int] = field(default_factory=list)
    """Where a ``$${`` begins."""
    problems: list[str] = field(default_factory=list)
    literals: list[Literal] = field(default_factory=list)


class BytesInFieldError(Exception):
    """A reference in a bytes literal in a replacement field: there is no way to write its value."""


@dataclass(slots=True, eq=False)
class _Code:
    """Code: the source itself, or a replacement field."""

    nested: bool
    depth: int = 0
    """Open brackets."""


@dataclass(slots=True, eq=False)
class _Spec:
    """The part of a replacement field after its colon."""


class _Scanner:
    """Goes once through a source, with the open literals and fields on a stack."""

    def __init__(self, source: str, only: re.Pattern[str] | None = None) -> None:
        self.source = source
        self.only = only
        self.found = Scan()
        self.stack: list[_Code | _Spec | Literal] = [_Code(nested=False)]

    def run(self) -> Scan:
        position = 0
        while position < len(self.source):
            if len(self.stack) > _NESTING_LIMIT:
                self.found.problems.append("string literals are nested too deeply")
                break
            frame = self.stack[-1]
            if isinstance(frame, _Code):
                position = self._code(frame, position)
            elif isinstance(frame, Literal):
                position = self._text(frame, frame, position)
            else:
                position = self._text(frame, self._literal(), position)
        return self.found

    def _literal(self) -> Literal:
        return next(frame for frame in reversed(self.stack) if isinstance(frame, Literal))

    def _code(self, frame: _Code, position: int) -> int:
        match = _CODE.match(self.source, position)
        assert match is not None
        lexeme, end = match.group(), match.end()
        if lexeme in ("'", '"', "'''", '"""'):
            return self._open("", position, lexeme)
        if lexeme.lower() in _PREFIXES and self.source[end : end + 1] in ("'", '"'):
            quote = self.source[end]
            return self._open(
                lexeme, position, quote * 3 if self.source.startswith(quote * 3, end) else quote
            )
        if lexeme == "$":
            return self._dollar(Place.CODE, None, position, nested=frame.nested)
        if lexeme in "([{":
            frame.depth += 1
        elif lexeme in ")]}" and frame.depth:
            frame.depth -= 1
        elif lexeme == "}" and frame.nested:
            self.stack.pop()
        elif lexeme == ":" and frame.nested and not frame.depth:
            self.stack[-1] = _Spec()
        return end

    def _open(self, prefix: str, start: int, quote: str) -> int:
        nested = any(isinstance(frame, _Code) and frame.nested for frame in self.stack)
        literal = Literal(start, prefix, quote, nested)
        self.found.literals.append(literal)
        self.stack.append(literal)
        return start + len(prefix) + len(quote)

    def _text(self, frame: Literal | _Spec, literal: Literal, position: int) -> int:
        """One step in the text of ``literal``, or in a format specification in it."""
        in_spec = isinstance(frame, _Spec)
        plain = _TEXT.match(self.source, position)
        if plain is not None:
            return plain.end()
        char = self.source[position]
        if char == "\\":
            return self._backslash(literal, position)
        if char == "$":
            place = Place.SPEC if in_spec else Place.TEXT
            return self._dollar(place, literal, position, nested=literal.nested)
        if char in "{}":
            return self._brace(literal, position, in_spec=in_spec)
        ends = char in "\r\n" if len(literal.quote) == 1 else False
        if ends or self.source.startswith(literal.quote, position):
            while self.stack.pop() is not literal:
                pass  # a field that was left open: not Python, but to be got over
            return position + (1 if ends else len(literal.quote))
        return position + 1

    def _backslash(self, literal: Literal, position: int) -> int:
        literal.backslashes.append(position)
        after = self.source[position + 1 : position + 2]
        if after == "$" or (literal.formatted and after in ("{", "}")):
            return position + 1
        literal.last_escape = position
        if after == "N" and self.source.startswith("{", position + 2) and not (literal.raw or literal.binary):
            close = self.source.find("}", position)
            return close + 1 if close > 0 else position + 3
        if after == "\\":
            literal.backslashes.append(position + 1)
        return position + (3 if self.source.startswith("\r\n", position + 1) else 2)

    def _brace(self, literal: Literal, position: int, *, in_spec: bool) -> int:
        char = self.source[position]
        if not literal.formatted:
            literal.braces.append(position)
            return position + 1
        if in_spec and char == "}":
            self.stack.pop()
            return position + 1
        if not in_spec and self.source.startswith(char * 2, position):
            return position + 2
        if char == "{":
            self.stack.append(_Code(nested=True))
        return position + 1

    def _dollar(self, place: Place, literal: Literal | None, position: int, *, nested: bool) -> int:
        formatted = literal is not None and literal.formatted
        if self.only is not None:
            match = self.only.match(self.source, position)
            return position + 1 if match is None else self._span(place, literal, match, nested=nested)
        if self.source.startswith("$${", position):
            self.found.escapes.append(position)
            # In an f-string the brace after it opens a field of Python's.
            return position + (2 if formatted else 3)
        if not self.source.startswith("${", position):
            return position + 1
        if formatted and self.source.startswith("{{", position + 1):
            return position + 1
        match = REFERENCE.match(self.source, position)
        if match is None:
            self.found.problems.append(UNREADABLE)
            return position + 1
        return self._span(place, literal, match, nested=nested)

    def _span(self, place: Place, literal: Literal | None, match: re.Match[str], *, nested: bool) -> int:
        position = match.start()
        escape = literal.last_escape if literal is not None else -1
        lone = literal is not None and bool(literal.backslashes) and literal.backslashes[-1] == position - 1
        self.found.spans.append(
            Span(
                start=position,
                end=match.end(),
                inner=match.group(1),
                place=place,
                literal=literal,
                nested=nested,
                lone_backslash=lone and escape < position - 2,
                after_octal=escape >= 0 and _OCTAL.fullmatch(self.source, escape, position) is not None,
            )
        )
        return match.end()


def scan(source: str, only: re.Pattern[str] | None = None) -> Scan:
    """All references in ``source``, in order. Never raises; what it cannot read is in ``problems``.

    With ``only``, a reference is what that matches, and any other ``$`` stands for itself.
    """
    if "${" not in source:
        return Scan()
    if only is None and len(source) > SOURCE_LIMIT:
        found = f"code of {len(source)} characters with references in it"
        return Scan(problems=[f"{found}; at most {SOURCE_LIMIT} are possible: keep it in a file"])
    return _Scanner(source, only).run()


def put_in(
    source: str,
    found: Scan,
    value_of: Callable[[Span], Json],
    *,
    kept: Collection[Span] = (),
    rest: Callable[[str], str] = str,
) -> str:
    """``source`` with the value of each span in its place, and ``$${`` as ``${``.

    Spans that are ``kept`` stay as they are; what stands between them goes through ``rest``.

    Raises:
        BytesInFieldError: see there.
    """
    edits = [(position, position + 1, "") for position in found.escapes]
    stay = {span.start for span in kept}
    edits += _edits(source, [span for span in found.spans if span.start not in stay], value_of)
    return _edited(source, edits + [(s.start, s.end, source[s.start : s.end]) for s in kept], stay, rest)


def put_last(
    source: str, found: Scan, value_of: Callable[[Span], Json], *, rest: Callable[[str], str] = str
) -> str:
    """As :func:`put_in`; what stands between the values goes through ``rest``.

    Raises:
        BytesInFieldError: see there.
    """
    return _edited(source, _edits(source, found.spans, value_of), {span.start for span in found.spans}, rest)


_Edit = tuple[int, int, str]
"""Start, end, and what is put there."""


def _edits(source: str, spans: list[Span], value_of: Callable[[Span], Json]) -> list[_Edit]:
    edits: list[_Edit] = []
    for literal in dict.fromkeys(span.literal for span in spans if span.place is Place.TEXT):
        if literal is not None:
            edits += _literal_edits(source, literal)
    for span in spans:
        around = span.literal
        if span.lone_backslash and around is not None and not around.raw and not around.nested:
            edits.append((span.start - 1, span.start, "\\\\"))
        edits.append((span.start, span.end, _written(span, value_of(span))))
    return edits


def _edited(source: str, edits: list[_Edit], apart: Collection[int], rest: Callable[[str], str]) -> str:
    """``source`` with the edits; what stands between those that begin at ``apart`` goes through ``rest``."""
    done: list[str] = []
    parts: list[str] = []
    last = 0
    for start, end, text in sorted(edits):
        parts.append(source[last:start])
        if start in apart:
            done += [rest("".join(parts)), text]
            parts = []
        else:
            parts.append(text)
        last = end
    return "".join([*done, rest("".join([*parts, source[last:]]))])


def spelled(value: str) -> Iterator[str]:
    """How :func:`put_in` writes a text into a source, for whoever looks for it there."""
    escaped = "".join(_escaped(char) for char in value)
    yield escaped
    yield escaped.replace("{", "{{").replace("}", "}}")
    yield "".join(_escaped_byte(byte) for byte in value.encode(errors="surrogatepass"))
    yield "".join(f"{ord(char)}," for char in value)


def _literal_edits(source: str, literal: Literal) -> list[tuple[int, int, str]]:
    """What has to change so that the literal can hold escapes, or, in a field, fields."""
    prefix_end = literal.start + len(literal.prefix)
    if literal.nested:
        if literal.binary:
            raise BytesInFieldError
        if literal.formatted:
            return []
        new = "rf" if literal.raw else "f"
        return [(literal.start, prefix_end, new)] + [(at, at + 1, source[at] * 2) for at in literal.braces]
    if not literal.raw:
        return []
    kept = literal.prefix.replace("r", "").replace("R", "")
    edits = [(literal.start, prefix_end, kept)]
    for at in literal.backslashes:
        after = source[at + 1 : at + 2]
        if after in ("'", '"'):
            text = "\\\\\\"
        elif after in ("\r", "\n"):
            text = "\\\\\\n\\"  # the backslash, the newline, and a continued line
        else:
            text = "\\\\"
        edits.append((at, at + 1, text))
    return edits


def _written(span: Span, value: Json) -> str:
    if span.place is Place.CODE:
        # The parentheses also keep a prefix or a number before it from merging with it.
        return f"({_expression(value, quotes=not span.nested)})"
    text = value if isinstance(value, str) else str(value)
    if span.place is Place.SPEC or span.nested:
        return "{" + _expression(text, quotes=False) + "}"
    assert span.literal is not None
    if span.literal.binary:
        return _first_escaped(span, "".join(_escaped_byte(b) for b in text.encode(errors="surrogatepass")))
    escaped = "".join(_escaped(char) for char in text)
    if span.literal.formatted:
        escaped = escaped.replace("{", "{{").replace("}", "}}")
    return _first_escaped(span, escaped)


def _first_escaped(span: Span, text: str) -> str:
    return f"\\x{ord(text[0]):02x}{text[1:]}" if span.after_octal and text[:1].isdigit() else text


_NAMED = {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if char.isprintable():
        return char
    number = ord(char)
    if number > 0xFFFF:
        return f"\\U{number:08x}"
    return f"\\u{number:04x}" if number > 0xFF else f"\\x{number:02x}"


def _escaped_byte(byte: int) -> str:
    return _escaped(chr(byte)) if byte < 0x7F else f"\\x{byte:02x}"


def _expression(value: Json, *, quotes: bool) -> str:
    """A Python expression for plain data; without quotes and backslashes if they are not allowed."""
    if isinstance(value, str):
        if quotes:
            return repr(value)
        codes = "".join(f"{ord(char)}," for char in value)
        return f"str().join(map(chr,({codes})))" if codes else "str()"
    if isinstance(value, dict):
        items = (
            f"{_expression(k, quotes=quotes)}: {_expression(v, quotes=quotes)}" for k, v in value.items()
        )
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_expression(item, quotes=quotes) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "(1e999-1e999)" if math.isnan(value) else ("-1e999" if value < 0 else "1e999")
    return repr(value)
