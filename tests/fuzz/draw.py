"""Where a generated input's choices come from: chance, or bytes that somebody else varies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Draw(Protocol):
    """One choice after the other."""

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1."""


class Chance:
    """From a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        """As the protocol says."""
        return int(self._random.random() * limit)


class Bytes:
    """From bytes; when these are used up, the first choice is taken every time, so that inputs end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def below(self, limit: int) -> int:
        """As the protocol says."""
        width = 1 if limit <= 256 else 4
        taken = self._data[self._position : self._position + width]
        self._position += width
        return int.from_bytes(taken, "little") % limit


def pick(draw: Draw, items: Sequence[T]) -> T:
    """One of them."""
    return items[draw.below(len(items))]


def once_in(draw: Draw, many: int) -> bool:
    """True once in so many times; never, when the bytes are used up."""
    return draw.below(many) == many - 1
