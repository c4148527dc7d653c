"""A Python function as a method of a protocol: its schemas from its type hints, its arguments from JSON."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gleitzeitd.model.protocol import Example, Method
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall
from gleitzeitd.providers.hints import from_json, schema_for, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A method of a provider instance, ready to be called."""

    function: Callable[..., Any]
    hints: dict[str, Any]
    extra: Any
    """Hint of the values of ``**parameters``; None if the function has none."""
    injected: tuple[str, ...]
    """Parameters that get the call."""
    is_async: bool
    declared: Method

    def arguments(self, call: MethodCall) -> dict[str, Any]:
        arguments = {
            name: from_json(self.hints.get(name, self.extra), v) for name, v in call.parameters.items()
        }
        return {**arguments, **dict.fromkeys(self.injected, call)}


def bind(
    function: Callable[..., Any], returns: dict[str, Json] | None, examples: tuple[Example, ...] = ()
) -> Bound:
    """A function, ready to be called with JSON; ``returns`` is a schema for its result, if there is one.

    Raises:
        TypeError: a type hint has no JSON form.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    result_hint = hints.pop("return", Any)
    injected = tuple(name for name, hint in hints.items() if hint is MethodCall)
    schema: dict[str, Json] = {"type": "object", "properties": {}, "additionalProperties": False}
    required, extra = [], None
    for name, parameter in inspect.signature(function).parameters.items():
        if name in injected:
            continue
        hint = hints.setdefault(name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = hints.pop(name)
            schema["additionalProperties"] = schema_for(extra)
            schema["properties"].update(dict.fromkeys(injected, False))
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise TypeError(f"parameter {name}: parameters are passed by name")
        schema["properties"][name] = _parameter_schema(name, hint, parameter.default)
        if parameter.default is parameter.empty:
            required.append(name)
    if required:
        schema["required"] = required
    try:
        result_schema = schema_for(result_hint) if returns is None else returns
    except TypeError as error:
        raise TypeError(f"the result: {error}") from None
    return Bound(
        function=function,
        hints=hints,
        extra=extra,
        injected=injected,
        is_async=inspect.iscoroutinefunction(function),
        declared=Method(
            description=summary(function),
            parameters=schema,
            returns=result_schema,
            examples=examples,
        ),
    )


def bind_as(function: Callable[..., Any], declared: Method) -> Bound:
    """A function, ready to be called with JSON, whose schemas are known."""
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    injected = tuple(name for name, hint in hints.items() if hint is MethodCall)
    of_others = [
        hints.pop(name, Any)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.VAR_KEYWORD
    ]
    return Bound(
        function=function,
        hints=hints,
        extra=of_others[0] if of_others else Any,
        injected=injected,
        is_async=inspect.iscoroutinefunction(function),
        declared=declared,
    )


def _parameter_schema(name: str, hint: Any, default: Any) -> dict[str, Json]:
    try:
        schema = schema_for(hint)
    except TypeError as error:
        raise TypeError(f"parameter {name}: {error}") from None
    if default is inspect.Parameter.empty or default is None:
        return schema
    plain = to_json(default)
    return {**schema, "default": plain} if isinstance(plain, (str, int, float, bool, list, dict)) else schema


def summary(thing: Any) -> str:
    """The first paragraph of the docstring."""
    text = inspect.cleandoc(thing.__doc__ or "")  # not that of a base class, as of the kit
    return " ".join(text.split("\n\n")[0].split())
