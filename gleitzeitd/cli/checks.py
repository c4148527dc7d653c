"""What a look at the system finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, and how it is."""

    level: Literal["ok", "warning", "problem"]
    about: str
    """``units``, ``database``, ...: the same word for all that concerns the same."""
    text: str
    remedy: str = ""
    """What an operator can do, mostly a command; empty where all is well."""


def ok(about: str, text: str) -> Finding:
    """All is well, or does not concern us."""
    return Finding(level="ok", about=about, text=text)


def warning(about: str, text: str, remedy: str) -> Finding:
    """It works, and should not stay so."""
    return Finding(level="warning", about=about, text=text, remedy=remedy)


def problem(about: str, text: str, remedy: str) -> Finding:
    """Work stands still, or may be lost, until somebody does something."""
    return Finding(level="problem", about=about, text=text, remedy=remedy)
