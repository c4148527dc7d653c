"""How values look to a person: durations, sizes, times, statuses, tables, results.

Colour is used for a status and for nothing else; it is left out when NO_COLOR is set, and when nobody sees
it. Text that comes from outside never reaches the terminal with its control characters.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from gleitzeitd.plain import Json

GAP = "  "
ELLIPSIS = "…"

STYLES: dict[str, dict[str, Json]] = {
    "completed": {"fg": "green"},
    "running": {"fg": "cyan"},
    "assigned": {"fg": "cyan"},
    "retry_pending": {"fg": "yellow"},
    "unknown": {"fg": "yellow"},
    "cancelling": {"fg": "yellow"},
    "blocked": {"fg": "yellow"},
    "draining": {"fg": "yellow"},
    "degraded": {"fg": "yellow"},
    "failed": {"fg": "red"},
    "pending": {"dim": True},
    "skipped": {"dim": True},
    "cancelled": {"dim": True},
}

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    flexible: bool = False
    """It is cut where the terminal is too narrow."""
    least: int = 8
    """Characters to which it is cut at worst, if it is flexible; rather are optional columns left out."""
    optional: int = 0
    """It is left out where the terminal is too narrow, the greatest number first; 0: it stays."""


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None) -> list[str]:
    """The lines of a table with its titles, at most ``width`` columns wide; None: as wide as it is."""
    cells = [[printable(cell) for cell in row] for row in rows]
    shown = list(range(len(columns)))
    widths = [
        max([cell_width(column.title), *(cell_width(row[index]) for row in cells)])
        for index, column in enumerate(columns)
    ]
    if width is not None:
        shown = _fit(columns, widths, width)
    lines = [_line([(columns[i].title.upper(), columns[i], widths[i]) for i in shown], plain=True)]
    lines[0] = style(lines[0], bold=True)
    lines += [_line([(row[i], columns[i], widths[i]) for i in shown], plain=False) for row in cells]
    return lines


def _fit(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    shown = list(range(len(columns)))

    def excess() -> int:
        return sum(widths[i] for i in shown) + len(GAP) * (len(shown) - 1) - width

    def slack(i: int) -> int:
        least = max(columns[i].least, cell_width(columns[i].title))
        return max(0, widths[i] - least) if columns[i].flexible else 0

    while excess() > sum(slack(i) for i in shown):
        candidates = [i for i in shown if columns[i].optional]
        if not candidates:
            break
        shown.remove(max(candidates, key=lambda i: columns[i].optional))
    while excess() > 0:
        widest = max(shown, key=lambda i: (slack(i), -i))
        if not slack(widest):
            break
        widths[widest] -= 1
    return shown


def _line(cells: Sequence[tuple[str, Column, int]], *, plain: bool) -> str:
    out = []
    for index, (text, column, width) in enumerate(cells):
        cut = clipped(text, width)
        padding = " " * (width - cell_width(cut))
        if index == len(cells) - 1 and not column.right:
            padding = ""
        shown = cut if plain else style(cut, **STYLES.get(text, {}))
        out.append(padding + shown if column.right else shown + padding)
    return GAP.join(out).rstrip()


def style(text: str, **how: Json) -> str:
    """With colour, if it is wanted; ``click.echo`` removes it where nobody sees it."""
    return click.style(text, **how) if how and not os.environ.get("NO_COLOR") else text


def status_text(status: str) -> str:
    """A status in its colour."""
    return style(status, **STYLES.get(status, {}))


def terminal_width() -> int | None:
    """Columns of the terminal; None if standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def cell_width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def clipped(text: str, width: int) -> str:
    """At most ``width`` columns of it, with an ellipsis where something is missing."""
    if cell_width(text) <= width:
        return text
    while text and cell_width(text) > width - 1:
        text = text[:-1]
    return text + ELLIPSIS


def printable(text: str) -> str:
    """In one line, without anything that a terminal would obey."""
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text).replace("\t", "    ")
    return "".join(
        c if c.isprintable() else " " if c in "\r\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def duration(seconds: float | None) -> str:
    """``25 ms``, ``0.4 s``, ``12 s``, ``2 min 03 s``, ``1 h 05 min``, ``3 d 04 h``."""
    if seconds is None:
        return ""
    if seconds < 0.0995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02} h"


def coarse(seconds: float | None) -> str:
    """How long, in one unit: ``40 s``, ``8 min``, ``3 h``, ``5 d``."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float | None) -> str:
    """Bytes: ``512 B``, ``1.5 KiB``, ``20 MiB``."""
    if count is None:
        return ""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            break
        count, unit = count / 1024, larger
    return f"{count:.0f} {unit}" if unit == "B" or count >= 9.95 else f"{count:.1f} {unit}"


def instant(text: str | None) -> float | None:
    """Seconds since the epoch for a time on the wire; None if there is none."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def between(start: str | None, end: str | None) -> float | None:
    """Seconds from one time on the wire to another."""
    first, last = instant(start), instant(end)
    return None if first is None or last is None else max(0.0, last - first)


def clock(seconds: float) -> str:
    """``HH:MM:SS``, here."""
    return f"{datetime.fromtimestamp(seconds):%H:%M:%S}"  # noqa: DTZ006 - a person reads it on this host


def moment(text: str | None) -> str:
    """A time on the wire, as ``2026-01-31 12:00:00`` here."""
    seconds = instant(text)
    if seconds is None:
        return ""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"  # noqa: DTZ006 - a person reads it here


def count_text(counts: dict[str, int]) -> str:
    """``3 completed, 1 failed``."""
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def plural(count: int, word: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def as_json(value: Json, *, indent: int | None = 2) -> str:
    """JSON for people and programs; text stays as it is."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def pretty(value: Json, width: int, margin: str = "") -> str:
    """JSON over as many lines as it takes: whatever fits into one has one."""
    short = as_json(value, indent=None)
    if len(short) <= width or not isinstance(value, list | dict) or not value:
        return short
    inner = margin + "  "
    if isinstance(value, dict):
        heads, values, ends = [f"{as_json(str(key))}: " for key in value], list(value.values()), "{}"
    else:
        heads, values, ends = [""] * len(value), value, "[]"
    items = [
        inner + head + pretty(each, width - 2 - len(head), inner)
        for head, each in zip(heads, values, strict=True)
    ]
    return f"{ends[0]}\n" + ",\n".join(items) + f"\n{margin}{ends[1]}"


def result_lines(value: Json, *, width: int = 72, limit: int | None = 12) -> list[str]:
    """A task's result, in one line if it fits, else indented; at most ``limit`` lines."""
    lines = value.splitlines() or [""] if isinstance(value, str) else pretty(value, width).splitlines()
    left_out = 0
    if limit is not None and len(lines) > limit:
        left_out = len(lines) - limit + 1
        lines = lines[: limit - 1]
    shown = [printable(line) for line in lines]
    if limit is not None:
        shown = [clipped(line, width * 2) for line in shown]
    if left_out:
        shown.append(f"{ELLIPSIS} {plural(left_out, 'more line')}")
    return shown


def echo_lines(lines: Iterable[str]) -> None:
    """Print them."""
    for line in lines:
        click.echo(line)
