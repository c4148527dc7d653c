"""Manual pages from Markdown, as far as manual pages need it.

A page is ``# NAME(SECTION): what it is about``, then ``## Section`` and ``### Subsection`` with paragraphs,
``- `` lists, fenced code, and definitions: a line with the term, below it ``:   `` and its text, both
of which may hold all of these, indented by four. Inside a line `literal`, *placeholder* and **strong** are
marked. The result is ASCII, in the macros of man(7).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

INDENT = 4
WIDTH = 78

_TITLE = re.compile(r"# ([\w.-]+)\((\d)\): (.+)")
_DEFINED = re.compile(r"\n:(?= {3})")
_INLINE = re.compile(r"`(?P<literal>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|(?<!\w)\*(?P<place>[^*\s][^*]*)\*")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.?:!]) (?=[A-Z`*\"(])")
_LONG_NAME = 28
_UNBROKEN = 32
"""Characters of a literal that stay on one line."""
_GAP = "\x00"
"""Stands for a space that lines are not broken at."""


def page(source: str, *, version: str) -> str:
    """The page in roff.

    Raises:
        ValueError: the source has no title, or holds what is not ASCII.
    """
    lines = _COMMENT.sub("", source).strip()
    title, _, body = lines.partition("\n")
    found = _TITLE.fullmatch(title)
    if found is None:
        raise ValueError(f"{title!r}: expected '# NAME(SECTION): what it is about'")
    if not source.isascii():
        raise ValueError(f"{title}: {next(c for c in source if not c.isascii())!r} is not ASCII")
    name, section, about = found.groups()
    # Three columns; a long name needs those at both sides.
    manual = "Gleitzeit" if len(name) < _LONG_NAME else ""
    heading = f'.TH {name.upper()} {section} "" "{version}" "{manual}"'.replace("-", r"\-")
    head = [
        r".\" Made by ./dev reference; what it is made from is in packaging/manual and in the code.",
        heading,
        ".nr HY 0",  # no hyphenation from the next heading on, which would undo .nh
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"{_literal(name)} \- {_escaped(about)}",
    ]
    return "\n".join([*head, *_blocks(body)]) + "\n"


def _blocks(text: str) -> Iterator[str]:
    after_heading = True
    for block in _split(text):
        heading = re.fullmatch(r"(##|###) (.+)", block)
        if heading:
            yield _heading(*heading.groups())
            after_heading = True
            continue
        lines = list(_block(block))
        if lines[0] == ".PP" and after_heading:
            lines = lines[1:]
        yield from lines
        after_heading = False


def _heading(level: str, title: str) -> str:
    if level == "##":
        return f'.SH "{_escaped(title.upper())}"'
    return f'.SS "{_line(title)}"'


def _split(text: str) -> Iterator[str]:
    """Blocks; what is indented, and what is fenced, belongs to what it stands in."""
    block: list[str] = []
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        inside = fenced or line.startswith((" ", ":   ", "```"))
        ended = block and block[-1] == ""
        opened = bool(block) and fenced and line.startswith("```") and not block[0].startswith("- ")
        if opened or (ended and line and not inside):
            if any(block):
                yield "\n".join(block).strip("\n")
            block = []
        if line or block:
            block.append(line)
    if any(block):
        yield "\n".join(block).strip("\n")


def _block(block: str) -> Iterator[str]:
    if block.startswith("```"):
        yield from _code(block.splitlines()[1:-1])
    elif block.startswith("- "):
        yield from _list(block)
    elif _DEFINED.search(block):
        yield from _definition(block)
    else:
        yield ".PP"
        yield from _filled(block)


def _list(block: str) -> Iterator[str]:
    items = re.split(r"\n+- ", block[2:])
    # Without an empty line between its items it is as tight in the page.
    tight = len(items) > 1 and "\n\n- " not in block
    for number, item in enumerate(items):
        first, *rest = _split(textwrap.dedent(f"  {item}"))
        yield r".IP \(bu 2"
        if tight and number == 0:
            yield ".PD 0"
        yield from _filled(first)
        yield from _below(rest, 2)
    if tight:
        yield ".PD"


def _definition(block: str) -> Iterator[str]:
    terms, body = _DEFINED.split(block, maxsplit=1)
    first, *rest = _split(textwrap.dedent(f" {body}"))
    for number, term in enumerate(terms.splitlines()):
        yield f".TP {INDENT}" if number == 0 else ".TQ"
        yield _line(term)
    if first.startswith(("```", "- ")) or _DEFINED.search(first):
        yield "\\&"
        rest = [first, *rest]
    else:
        yield from _filled(first)
    yield from _below(rest, INDENT)


def _below(blocks: list[str], indent: int) -> Iterator[str]:
    if blocks:
        yield f".RS {indent}"
        for block in blocks:
            yield from _block(block)
        yield ".RE"


def _code(lines: list[str]) -> Iterator[str]:
    yield ".PP"
    yield f".RS {INDENT}"
    yield ".EX"
    for line in lines:
        text = _escaped(line).replace("-", r"\-")
        yield rf"\&{text}" if text.startswith((".", r"\(aq")) else text
    yield ".EE"
    yield ".RE"


def _filled(text: str) -> Iterator[str]:
    """One sentence a line at least, as roff likes it."""
    for sentence in _SENTENCE.split(" ".join(text.split())):
        for line in textwrap.wrap(
            _inline(sentence), WIDTH, break_on_hyphens=False, break_long_words=False, drop_whitespace=True
        ):
            whole = line.replace(_GAP, r"\ ")
            yield rf"\&{whole}" if whole.startswith((".", "'")) else whole


def _line(text: str) -> str:
    """Text that is one line of the source, such as a term."""
    return _inline(text).replace(_GAP, r"\ ")


def _inline(text: str) -> str:
    out, end = "", 0
    for found in _INLINE.finditer(text):
        out += _escaped(text[end : found.start()])
        if found["place"]:
            out += rf"\fI{_escaped(found['place'])}\fR"
        else:
            out += _literal(found["literal"] or found["strong"])
        end = found.end()
    out += _escaped(text[end:])
    # Inside a word the mark would mean the opposite: break here.
    return re.sub(r"(?<=[^\s\x00(])\\f([BI])\\%", r"\\f\1", out)


def _literal(text: str) -> str:
    escaped = _whole(_escaped(text).replace("-", r"\-"))
    if len(text) <= _UNBROKEN:
        escaped = escaped.replace(" ", _GAP)
    return rf"\fB{escaped}\fR"


def _whole(escaped: str) -> str:
    """Without hyphens: what is typed is not to be broken."""
    return re.sub(r"(^|(?<= ))(?=\S)", r"\\%", escaped)


_CHARACTERS = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}


def _escaped(text: str) -> str:
    return "".join(_CHARACTERS.get(character, character) for character in text)
