"""Pieces of Markdown that several pages need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def unmarked(doc: str) -> str:
    """A docstring's marks as Markdown's: one backquote around what is literal."""
    return " ".join(doc.replace("``", "`").split())


def defined(term: str, paragraphs: Iterable[str]) -> Iterator[str]:
    """A definition, and an empty line."""
    for number, text in enumerate(filter(None, paragraphs)):
        mark = f"{term}\n:   " if number == 0 else "    "
        yield mark + text.replace("\n", "\n    ").replace("\n    \n", "\n\n")
        yield ""


def listed(items: Iterable[str], last: str = "or") -> str:
    """``a, b or c``."""
    found = list(items)
    return " ".join(filter(None, [", ".join(found[:-1]), last if len(found) > 1 else "", *found[-1:]]))
