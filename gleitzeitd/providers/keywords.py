"""The keywords of JSON Schema, such that a check takes bounded time whatever the schema and the value are.

Those of the library are used, each counted as it is applied. Others are written anew: what searches for a
regular expression, what compares each item with each other, and what divides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from gleitzeitd.plain import Json
from gleitzeitd.providers.pattern import TooLongError, Work, compiled

REFERENCES_LIMIT = 10_000
"""References that are followed to check a value, whatever it is."""
REFERENCES_PER_NODE = 10
"""More of them, for each value within it."""
WORK_LIMIT = 2_000_000
"""Steps that a check may take; about two seconds."""
_PER_KEYWORD = 8
"""Steps of applying one keyword once."""

Errors = Iterable[ValidationError]
Keyword = Callable[[Any, Any, Any, Any], Errors | None]


class TooManyReferencesError(Exception):
    """References multiply."""


class _Effort:
    """What one check has cost so far."""

    def __init__(self, value: Json) -> None:
        self._value = value
        self._references = REFERENCES_LIMIT
        self._counted = False
        self.work = Work(WORK_LIMIT)
        self._sizes: dict[int, int] = {}
        self._choices: dict[int, set[Any]] = {}

    def one_more_reference(self) -> None:
        """Raises TooManyReferencesError."""
        self._references -= 1
        if self._references > 0:
            return
        if self._counted:
            raise TooManyReferencesError
        self._counted = True
        self._references = REFERENCES_PER_NODE * _count(self._value)

    def choices(self, target: Json, *, single: bool = False) -> set[Any]:
        """What a value must be among: the items of ``target``, or that itself."""
        found = self._choices.get(id(target))
        if found is None or single:
            found = {_hashable(each) for each in ([target] if single else target)}
            self.work.spend(len(found))
            if not single:
                self._choices[id(target)] = found
        return found

    def failed(self, value: Json) -> None:
        """The library has written ``value`` into a message."""
        if isinstance(value, (dict, list)):
            size = self._sizes.get(id(value))
            if size is None:
                size = self._sizes[id(value)] = _count(value)
            self.work.spend(size)
        elif isinstance(value, str):
            self.work.spend(len(value) // 64)


_effort: ContextVar[_Effort] = ContextVar("_effort")


@contextmanager
def effort(value: Json) -> Iterator[None]:
    """While it is open, ``Validator`` may check ``value``.

    Raises:
        TooManyReferencesError, TooLongError: it takes too much.
    """
    before = _effort.set(_Effort(value))
    try:
        yield
    finally:
        _effort.reset(before)


def _count(value: Json) -> int:
    count, waiting = 0, [value]
    while waiting:
        node = waiting.pop()
        count += 1
        if isinstance(node, (dict, list)):
            waiting.extend(node.values() if isinstance(node, dict) else node)
    return count


def _counted(keyword: Keyword, *, reference: bool) -> Keyword:
    def apply(validator: Any, target: Any, value: Any, schema: Any) -> Errors:
        spent = _effort.get()
        spent.work.spend(_PER_KEYWORD)
        if reference:
            spent.one_more_reference()
        for error in keyword(validator, target, value, schema) or ():
            spent.failed(value)
            yield error

    return apply


def _found(pattern: str, text: str) -> bool:
    return compiled(pattern).search(text, _effort.get().work)


def _pattern(_validator: Any, target: Any, value: Any, _schema: Any) -> Errors:
    if isinstance(value, str) and not _found(target, value):
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, target: Any, value: Any, _schema: Any) -> Errors:
    if not isinstance(value, dict):
        return
    for pattern, inner in target.items():
        for key, item in value.items():
            if _found(pattern, key):
                yield from validator.descend(item, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, target: Any, value: Any, schema: Any) -> Errors:
    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [
        key for key in value if key not in known and not any(_found(pattern, key) for pattern in patterns)
    ]
    if isinstance(target, dict):
        for key in more:
            yield from validator.descend(value[key], target, path=key)
    elif not target and more:
        shown = ", ".join(repr(key) for key in more[:3])
        yield ValidationError(f"unknown keys: {shown}{', ...' if len(more) > 3 else ''}")


def _unique_items(_validator: Any, target: Any, value: Any, _schema: Any) -> Errors:
    if target and isinstance(value, list):
        seen: set[Any] = set()
        for number, item in enumerate(value):
            seen.add(_hashable(item))
            if len(seen) == number:
                yield ValidationError(f"item {number} is there twice")
                return


def _hashable(value: Json) -> Any:
    """The same for what JSON Schema calls equal, and for nothing else."""
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, list):
        return list, tuple(map(_hashable, value))
    if isinstance(value, dict):
        return dict, frozenset((key, _hashable(item)) for key, item in value.items())
    return value


def _enum(_validator: Any, target: Any, value: Any, _schema: Any) -> Errors:
    if _hashable(value) not in _effort.get().choices(target):
        yield ValidationError("none of those")


def _const(_validator: Any, target: Any, value: Any, _schema: Any) -> Errors:
    if _hashable(value) not in _effort.get().choices(target, single=True):
        yield ValidationError("something else")


def _type(validator: Any, target: Any, value: Any, _schema: Any) -> Errors:
    if not any(validator.is_type(value, kind) for kind in ([target] if isinstance(target, str) else target)):
        yield ValidationError("of another type")


def _multiple_of(_validator: Any, target: Any, value: Any, _schema: Any) -> Errors:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    try:
        if isinstance(value, int) and isinstance(target, int):
            fits = not value % target
        else:
            quotient = value / target
            if math.isinf(quotient):
                raise OverflowError
            fits = quotient.is_integer()
    except OverflowError:
        fits = not Fraction(value) % Fraction(target)
    if not fits:
        yield ValidationError(f"expected a multiple of {target}")


_REFERENCES = ("$ref", "$dynamicRef")
_OURS: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
    "enum": _enum,
    "const": _const,
    "type": _type,
}

Validator = extend(  # type: ignore[no-untyped-call]  # the library's function has no types
    Draft202012Validator,
    {
        word: _counted(keyword, reference=word in _REFERENCES)
        for word, keyword in {**Draft202012Validator.VALIDATORS, **_OURS}.items()
    },
)
"""Of draft 2020-12; to be used within :func:`effort`."""

__all__ = ["TooLongError", "TooManyReferencesError", "Validator", "effort"]
