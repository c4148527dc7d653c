"""What a setting may be, declared with its field: range, length, unit, secrecy.

A settings class writes ``slots: int = bounded(4, least=1, most=10_000)`` and stays an ordinary
frozen dataclass; the loader of the configuration reads the declaration from the field's metadata,
refuses what lies outside, and says the bounds in the shipped file. A class that is constructed
directly is not checked. Pure: machines declare their settings with it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, TypeVar, cast, overload

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The range of a number (of each number, in a list or table), or the length of what has one."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    """Exclusive."""
    below: float | None = None
    """Exclusive."""
    shortest: int | None = None
    """Characters of a text, items of a list, keys of a table."""
    longest: int | None = None
    unit: str = ""
    """In the plural: ``seconds``."""

    def range_problem(self, value: object) -> str | None:
        """``expected 1 to 10, found 0``, or None; None too if ``value`` is no number."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or self._in_range(value):
            return None
        return f"expected {self.range_words()}, found {value}"

    def length_problem(self, value: object) -> str | None:
        """``expected at most 3 items, found 4``, or None; None too if ``value`` has no length."""
        if not isinstance(value, (str, list, tuple, dict)) or self._has_length(len(value)):
            return None
        return f"expected {self.length_words(value)}, found {len(value)}"

    def _in_range(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def _has_length(self, length: int) -> bool:
        return (self.shortest or 0) <= length <= (math.inf if self.longest is None else self.longest)

    def range_words(self) -> str:
        """``1 to 10``, ``more than 0``, ``at least 1 and less than 2``; empty if nothing is declared."""
        if self.least is not None and self.most is not None:
            return f"{self.least} to {self.most}"
        parts = [
            f"{word} {limit}"
            for word, limit in (
                ("more than", self.above),
                ("at least", self.least),
                ("less than", self.below),
                ("at most", self.most),
            )
            if limit is not None
        ]
        return " and ".join(parts)

    def length_words(self, sample: object) -> str:
        """``1 to 3 items``, in the words that fit ``sample``; empty if nothing is declared."""
        if self.shortest is not None and self.longest is not None:
            return f"{self.shortest} to {_counted(self.longest, sample)}"
        if self.shortest is not None:
            return f"at least {_counted(self.shortest, sample)}"
        return "" if self.longest is None else f"at most {_counted(self.longest, sample)}"


@overload
def bounded(
    default: T,
    /,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> T: ...
@overload
def bounded(
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> Any: ...
def bounded(
    default: Any = MISSING,
    /,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> Any:
    """A field for a number, or a list of numbers, with a range; without ``default`` the key is required."""
    bounds = Bounds(least=least, most=most, above=above, below=below, unit=unit)
    return _declared(default, bounds, {})


@overload
def sized(default: T, /, *, least: int | None = None, most: int | None = None) -> T: ...
@overload
def sized(*, least: int | None = None, most: int | None = None) -> Any: ...
def sized(default: Any = MISSING, /, *, least: int | None = None, most: int | None = None) -> Any:
    """A field for a text, list or table with a bounded length; without ``default`` the key is required."""
    return _declared(default, Bounds(shortest=least, longest=most), {})


@overload
def secret(default: T, /, *, least: int | None = None, most: int | None = None) -> T: ...
@overload
def secret(*, least: int | None = None, most: int | None = None) -> Any: ...
def secret(default: Any = MISSING, /, *, least: int | None = None, most: int | None = None) -> Any:
    """A field whose value appears in no message, no ``repr`` and no printed configuration.

    ``least`` and ``most`` are its length in characters.
    """
    return _declared(default, Bounds(shortest=least, longest=most), {"secret": True})


def bounds_of(metadata: Mapping[str, Any]) -> Bounds:
    """The bounds in a field's metadata; without a declaration, those that admit everything."""
    return cast("Bounds", metadata.get("bounds", _UNBOUNDED))


def is_secret(metadata: Mapping[str, Any]) -> bool:
    """Whether a field with this metadata was declared secret."""
    return bool(metadata.get("secret", False))


_UNBOUNDED = Bounds()


def _declared(default: Any, bounds: Bounds, metadata: dict[str, Any]) -> Any:
    for item in default if isinstance(default, (list, tuple)) else [default]:
        assert not (problem := bounds.range_problem(item)), f"a default outside its bounds: {problem}"
    assert not (problem := bounds.length_problem(default)), f"a default outside its bounds: {problem}"
    hidden = not metadata.get("secret", False)
    metadata = {**metadata, "bounds": bounds}
    if isinstance(default, (list, dict)):  # one instance may not serve all objects
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata, repr=hidden)
    return field(default=default, metadata=metadata, repr=hidden)


def _counted(count: int, sample: object) -> str:
    noun = "character" if isinstance(sample, str) else "key" if isinstance(sample, dict) else "item"
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
