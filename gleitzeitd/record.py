"""Records: dataclasses that nobody changes, and that cost little, as classes and as objects.

A daemon makes some two hundred of these classes when it starts, and some dozens of objects for every task.
What ``dataclass(frozen=True)`` generates for each class is much of the time of a start, and its objects take
three times as long to make, since every field is set past a guard. The guard here is the type checker, to
which a record is frozen. Comparison, hash and text are written once, for all of them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast, dataclass_transform

T = TypeVar("T")

_COMPARED: dict[type, tuple[str, ...]] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A record whose fields are named where it is made."""
    return _made(cls, kw_only=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def positional_record(cls: type[T]) -> type[T]:
    """A record whose fields may be given in their order."""
    return _made(cls, kw_only=False)


def _made(cls: type[T], *, kw_only: bool) -> type[T]:
    same: Any = cls
    same.__eq__, same.__hash__, same.__repr__ = _equal, _hash, _text
    made: Any = dataclass(slots=True, kw_only=kw_only, eq=False, repr=False)(same)
    return cast("type[T]", made)


def _compared(cls: type) -> tuple[str, ...]:
    names = _COMPARED.get(cls)
    if names is None:
        names = _COMPARED[cls] = tuple(each.name for each in fields(cast("Any", cls)) if each.compare)
    return names


def _equal(self: object, other: object) -> Any:  # True, False, or NotImplemented
    if type(self) is not type(other):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in _compared(type(self)))


def _hash(self: object) -> int:
    values: Hashable = tuple(getattr(self, name) for name in _compared(type(self)))
    return hash(values)


def _text(self: object) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(cast("Any", self)) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"
