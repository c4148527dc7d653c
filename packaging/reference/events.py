"""The event catalogue in Markdown: who sends what to whom, with which fields, how surely."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import types
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from gleitzeitd.config.reference import field_docs
from gleitzeitd.events import CATALOGUE, COMPONENTS, Delivery, Envelope, Event, Kind, Route, To
from gleitzeitd.machines.permissions import is_system_wide
from gleitzeitd.model.names import Role
from reference import refusals
from reference.words import listed, unmarked

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any JSON"}
_PLURALS = {"text": "texts", "whole number": "whole numbers", "number": "numbers"}
_DELIVERY = {
    Delivery.TELL: "told once",
    Delivery.ASK: "asked until it is answered",
    Delivery.FEED: "fed, in order, until it is confirmed",
}


def page(template: str) -> str:
    """The page, from its frame."""
    structures: dict[str, type] = {}
    parts = {
        "<!-- envelope -->": "\n".join(_fields(Envelope, structures, mark="_")),
        "<!-- events -->": "\n".join(_events(structures)),
        "<!-- refusals -->": "\n".join(refusals.numbers()),
        "<!-- limits -->": "\n".join(refusals.limits()),
    }
    parts["<!-- structures -->"] = "\n".join(_structures(structures))
    for mark, text in parts.items():
        assert mark in template
        template = template.replace(mark, text)
    return template


def _events(structures: dict[str, type]) -> Iterator[str]:
    owner = ""
    for cls in sorted(CATALOGUE.values(), key=lambda each: each.__module__):
        if cls.__module__ != owner:
            owner = cls.__module__
            yield from (f"## {owner.rpartition('.')[2].replace('_', ' ')}", "")
            yield from (unmarked(importlib.import_module(owner).__doc__ or ""), "")
        yield from (f"### {cls.name}", "", unmarked(cls.__doc__ or ""), "")
        yield from (_manner(cls), "")
        yield from _routes(cls)
        yield from _fields(cls, structures)


def _manner(cls: type[Event]) -> str:
    stream = cls.kind is Kind.STREAM and cls.delivery is Delivery.TELL
    how = "told once, and kept by nobody" if stream else _DELIVERY[cls.delivery]
    link = " It concerns the connection alone." if cls.link else ""
    return f"A {cls.kind.value}, {how}.{link}"


def _routes(cls: type[Event]) -> Iterator[str]:
    for each in cls.routes:
        renamed = f", as `{each.renamed}`" if each.renamed else ""
        by = f" (clients: {each.by.value})" if each.by is not None else ""
        yield f"- {_roles(each.senders)}{by} -> {_destination(each)}{renamed}"
    yield ""
    yield from _permissions(cls)


def _permissions(cls: type[Event]) -> Iterator[str]:
    if cls.answers:
        yield from (f"Answered by {listed([f'`{name}`' for name in sorted(cls.answers)], 'or')}.", "")
    if is_system_wide(cls.name):
        yield from ("It is about the whole system: not for tokens with a namespace.", "")


def _roles(roles: Iterable[Role], last: str = "or") -> str:
    found = frozenset(roles)
    if found == frozenset(Role):
        return "anybody"
    if found == COMPONENTS:
        return "any component"
    return listed([each.value.replace("_", " ") for each in Role if each in found], last)


def _destination(route: Route) -> str:
    match route.to:
        case To.HUB:
            return "the hub"
        case To.ONE:
            return f"one {_roles(route.roles)}, the least loaded"
        case To.OWNER:
            return f"the {_roles(route.roles)} that owns the shard"
        case To.ALL:
            return f"every {_roles(route.roles, 'and every')}"
        case To.COMPONENT:
            return f"the {_roles(route.roles)} named in `_reply_to`"
        case To.EVERYBODY:
            return "every component"
        case To.WATCHERS:
            return "clients that watch"


def _fields(cls: type, structures: dict[str, type], mark: str = "") -> Iterator[str]:
    docs = field_docs(cls)
    hints = typing.get_type_hints(cls)
    for each in dataclasses.fields(typing.cast("Any", cls)):
        kind = in_words(hints[each.name], structures)
        given = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        optional = "" if given else ", if given"
        about = unmarked(docs.get(each.name, ""))
        yield f"- `{mark}{each.name}`, {kind}{optional}" + (f": {about}" if about else "")
    yield ""


def in_words(want: Any, structures: dict[str, type]) -> str:
    """The type as it is on the wire. Structures that it names are added to ``structures``."""
    if hasattr(want, "__supertype__"):
        return _spaced(want.__name__)
    origin, arguments = typing.get_origin(want), typing.get_args(want)
    if origin in (types.UnionType, typing.Union):
        return listed(in_words(each, structures) for each in arguments if each is not types.NoneType)
    if origin is typing.Literal:
        return listed(f"`{each}`" for each in arguments)
    if origin in (list, tuple):
        item = in_words(arguments[0], structures)
        return f"list of {_PLURALS.get(item, item if item.startswith(('*', 'list', 'any')) else f'{item}s')}"
    if origin is dict:
        return f"table, {in_words(arguments[0], structures)} to {in_words(arguments[1], structures)}"
    if isinstance(want, type) and issubclass(want, Enum):
        return listed(f"`{each.value}`" for each in want)
    if isinstance(want, type) and dataclasses.is_dataclass(want):
        structures[want.__name__] = want
        return f"*{want.__name__}*"
    return _PLAIN[want]


def _spaced(name: str) -> str:
    """``workflow id`` for WorkflowId."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()


def _structures(found: dict[str, type]) -> Iterator[str]:
    """Those that are named, and those that these name."""
    told: set[str] = set()
    while waiting := sorted(found.keys() - told):
        name = waiting[0]
        told.add(name)
        cls = found[name]
        yield from (f"### {name}", "")
        doc = inspect.cleandoc(cls.__doc__ or "")
        if not doc.startswith(f"{name}("):
            yield from (unmarked(doc), "")
        yield from _fields(cls, found)
