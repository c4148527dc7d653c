"""Reads values out of the tables of a document and collects what is wrong with them.

Nothing here raises: each method notes a problem with its place and returns what one can go on with, so
that the reader finds everything in one pass. A key without a value is as good as absent.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import TypeVar

from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import NAME_LIMIT
from gleitzeitd.model.problem import Problem
from gleitzeitd.plain import Json, describe, did_you_mean

PROBLEMS_LIMIT = 100
"""Problems, and warnings, that are told one by one."""
INTEGER_LIMIT = 2**53
"""Beyond it, a whole number does not survive a JSON reader that uses floats."""

_SUGGESTIONS_LIMIT = 20
_SUGGESTED_AMONG = 1000
_CHOICES_SHOWN = 25
_SHOWN = 80

Path = tuple[str | int, ...]
E = TypeVar("E", bound=StrEnum)


class TableReader:
    """Problems and warnings of one document, and the ways to read its values."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.count = 0
        """Of all problems, also those past PROBLEMS_LIMIT."""
        self.suggestions = 0

    def problem(self, path: Path, message: str) -> None:
        self.count += 1
        if len(self.problems) < PROBLEMS_LIMIT:
            self.problems.append(Problem(path=path, message=message))

    def warn(self, path: Path, message: str) -> None:
        if len(self.warnings) < PROBLEMS_LIMIT:
            self.warnings.append(Problem(path=path, message=message))

    def suggest(self, word: str, known: Collection[str]) -> str:
        # To look for the nearest is slow: not for thousands of words, nor among thousands.
        self.suggestions += 1
        if self.suggestions > _SUGGESTIONS_LIMIT or len(known) > _SUGGESTED_AMONG or len(word) > NAME_LIMIT:
            return ""
        return did_you_mean(word, known)

    def choices(self, known: Collection[str]) -> str:
        """``"; known: a, b"``, as long as it is not said for the twentieth time."""
        self.suggestions += 1
        if self.suggestions > _SUGGESTIONS_LIMIT or not 0 < len(known) <= _CHOICES_SHOWN:
            return ""
        return f"; known: {', '.join(known)}"

    def known_keys(self, table: dict[str, Json], known: Collection[str], path: Path) -> None:
        for key in table:
            if key not in known:
                self.problem((*path, key), f"unknown key{self.suggest(key, known) or self.choices(known)}")

    def too_many(self, path: Path, what: str, found: int, most: int, remedy: str) -> bool:
        """Whether there are more than can be; then that is a problem, with what one can do."""
        if found > most:
            self.problem(path, f"{found} {what}; at most {most} are possible: {remedy}")
        return found > most

    def table(self, value: Json, path: Path) -> dict[str, Json]:
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.problem(path, f"expected a table, found {describe(value)}")
        return {}

    def text(self, table: dict[str, Json], key: str, path: Path, limit: int | None = None) -> str | None:
        value = table.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.problem((*path, key), f"expected text, found {describe(value)}{_in_quotes(value)}")
            return None
        if limit is not None and len(value) > limit:
            self.problem((*path, key), f"{len(value)} characters; at most {limit} are possible")
        return value

    def texts(self, table: dict[str, Json], key: str, path: Path) -> list[Json]:
        value = table.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problem((*path, key), f"expected a list, found {describe(value)}")
            return []
        for index, item in enumerate(value):
            if not isinstance(item, str):
                self.problem((*path, key, index), f"expected text, found {describe(item)}{_in_quotes(item)}")
        return value

    def number(
        self, table: dict[str, Json], key: str, path: Path, bounds: tuple[float, float]
    ) -> float | None:
        value = table.get(key)
        if value is None:
            return None
        low, high = bounds
        if type(value) not in (int, float) or not low <= value <= high:
            self.problem((*path, key), f"expected a number from {low:g} to {high:g}, found {shown(value)}")
            return None
        return float(value)

    def flag(self, table: dict[str, Json], key: str, path: Path, *, default: bool) -> bool:
        value = table.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem((*path, key), f"expected true or false, found {describe(value)}")
            return default
        return value

    def choice(self, table: dict[str, Json], key: str, path: Path, kind: type[E], default: E) -> E:
        value = table.get(key)
        if value is None:
            return default
        names = [member.value for member in kind]
        if not isinstance(value, str) or value not in names:
            hint = self.suggest(value, names) if isinstance(value, str) else ""
            self.problem((*path, key), f"expected one of {', '.join(names)}, found {shown(value)}{hint}")
            return default
        return kind(value)


def not_plain(document: Json, limits: WorkflowLimits = LIMITS) -> Iterable[tuple[Path, str]]:
    """Whatever JSON could not carry unchanged to every component, and what is beyond the limits."""
    pending: list[tuple[Path, Json]] = [((), document)]
    count = 0
    while pending:
        path, value = pending.pop()
        count += 1
        # Before a list is taken apart: what waits is bounded, too.
        if count + (len(value) if type(value) in (dict, list) else 0) > limits.values:
            yield path, too_many_values(limits.values)
            return
        if len(path) > limits.depth:
            yield path, too_deep(limits.depth)
        elif type(value) is dict:
            for key in reversed(value):
                if type(key) is not str:
                    yield path, f"the key {key!r} is no text; put it in quotes"
                    continue
                if not _is_text(key):
                    yield path, f"the key {key!r} holds half a character (a lone surrogate); write it in full"
                    continue
                pending.append(((*path, key), value[key]))
        elif type(value) is list:
            pending.extend(((*path, index), item) for index, item in reversed(list(enumerate(value))))
        else:
            wrong = _wrong_scalar(value)
            if not wrong and type(value) is str and len(value) > limits.text_characters:
                wrong = too_long_text(len(value), limits.text_characters)
            if wrong:
                yield path, wrong


def too_many_values(limit: int) -> str:
    return f"more than {limit} values; make several files of it"


def too_deep(limit: int) -> str:
    return f"nested more than {limit} levels deep; make it flatter, or keep it in a file that a task reads"


def too_long_text(found: int, limit: int) -> str:
    return f"a text of {found} characters; at most {limit} are possible: keep it in a file that a task reads"


def _wrong_scalar(value: Json) -> str:
    if value is None or type(value) is bool:
        return ""
    if type(value) is str:
        return (
            "" if _is_text(value) else "half a character (a lone surrogate) is in the text; write it in full"
        )
    if type(value) is int:
        return (
            "" if -INTEGER_LIMIT <= value <= INTEGER_LIMIT else "a whole number beyond 2^53; write it as text"
        )
    if type(value) is float:
        return "" if math.isfinite(value) else "NaN and Infinity are no JSON; write them as text"
    return f"{type(value).__name__} is no JSON"


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _in_quotes(value: Json) -> str:
    return "" if value is None or isinstance(value, (dict, list)) else "; put it in quotes"


def shown(value: Json) -> str:
    """A value in a message, cut if it is long."""
    if isinstance(value, (dict, list)):
        return describe(value)
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
