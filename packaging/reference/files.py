"""What is generated here, and where it lies."""

from __future__ import annotations

from pathlib import Path

from reference import asyncapi, completion
from reference.pages import all_pages

PACKAGING = Path(__file__).resolve().parent.parent
MANUAL, COMPLETION = PACKAGING / "man", PACKAGING / "completion"
ASYNCAPI = PACKAGING / "sdk" / "asyncapi.json"
"""It lies among files that are written by hand."""


def generated() -> dict[Path, str]:
    """Every file to its text."""
    pages = {MANUAL / name: text for name, text in all_pages().items()}
    pages[ASYNCAPI] = asyncapi.document()
    return pages | {COMPLETION / name: text for name, text in completion.scripts().items()}


def stale() -> list[Path]:
    """Files that are missing, are another, or should not be there."""
    files = generated()
    there = {path for folder in (MANUAL, COMPLETION) if folder.is_dir() for path in folder.iterdir()}
    there |= {ASYNCAPI} & {*ASYNCAPI.parent.glob("*.json")}
    other = {
        path for path, text in files.items() if path not in there or path.read_text(encoding="utf-8") != text
    }
    return sorted(other | (there - files.keys()))
