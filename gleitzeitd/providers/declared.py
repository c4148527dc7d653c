"""A class whose protocol is in a file, instead of in its code.

What the file says about parameters and results is checked, and its defaults are given to the call. Of a
:class:`~gleitzeitd.providers.kit.MethodProvider` the methods that the file names are served, ``tools/list``
by ``tools_list``; type hints, where there are any, still make objects of the values.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.protocol import Method, Protocol, with_defaults
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.providers.base import MethodCall, Provider
from gleitzeitd.providers.schema import check_parameters


def serving(cls: type[Provider], protocol: Protocol) -> type[Provider]:
    """``cls``, a provider with a ``call`` of its own, serving this protocol."""
    made: Any = cls

    async def call(self: Any, call: MethodCall) -> Json:
        given = completed(protocol, call)
        check_parameters(protocol, given.method, given.parameters)
        return await made.call(self, given)

    named = {"__doc__": cls.__doc__, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), {**named, "call": call, "protocol": lambda self: protocol})


def completed(protocol: Protocol, call: MethodCall) -> MethodCall:
    """With the protocol's defaults for what is missing."""
    method = protocol.methods.get(call.method)
    if method is None:
        return call
    return replace(call, parameters=with_defaults(method.parameters, call.parameters))


def functions_for(
    protocol: Protocol, functions: Mapping[str, Callable[..., Any]], owner: str
) -> dict[str, Callable[..., Any]]:
    """By full name of a method, the one of ``functions`` (by their own names) that does its work.

    Raises:
        ConfigError: methods of the protocol have none; all of them are named.
    """
    family = protocol.name.partition("/")[0]
    found, missing = {}, []
    for name in protocol.methods:
        short = name.removeprefix(f"{family}/")
        function = functions.get(short) or functions.get(re.sub(r"\W", "_", short))
        if function is None:
            missing.append(f"{name}: {owner} has no method {short}{did_you_mean(short, functions)}")
        else:
            found[name] = function
    if missing:
        raise ConfigError("\n".join(missing))
    return found


def check_signature(name: str, method: Method, function: Callable[..., Any]) -> None:
    """Refuse a function that cannot take every call that the schema admits.

    Raises:
        TypeError: the function lacks a parameter of the schema, or needs one that may be missing.
    """
    known = method.parameters.get("properties", {})
    always = {*method.parameters.get("required", ())} | {
        each for each, schema in known.items() if isinstance(schema, dict) and "default" in schema
    }
    hints = typing.get_type_hints(function)
    taken = inspect.signature(function).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        for each in known:
            if each not in taken:
                raise TypeError(f"it takes no {each}, which {name} has{did_you_mean(each, taken)}")
    for each, one in taken.items():
        optional = one.default is not one.empty or one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        if not optional and hints.get(each) is not MethodCall and each not in always:
            raise TypeError(f"it needs {each}, which {name} does not require, and has no default for")
