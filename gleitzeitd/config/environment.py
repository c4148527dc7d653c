"""Settings from the environment: ``GLEITZEIT_<SECTION>_<KEY>``, and older names as aliases.

A text is bare (``LOG_LEVEL=debug``), a number as in TOML, a truth ``true`` or ``false``; a list is a TOML
array or items with commas between them, a table an inline table. Choices are found in any case. A variable
that is empty counts as absent: service managers and container tools make no difference between the two.
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gleitzeitd.config.shape import Key, bare, choices, fits, is_list, is_union, keys_of
from gleitzeitd.plain import Json, did_you_mean

PREFIX = "GLEITZEIT_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that is set, and the key that it sets."""

    name: str
    section: str
    key: str
    value: Json
    """As its text reads for the key's type; the bare text if it does not read as that."""


def variable_name(section: str, key: str) -> str:
    """``GLEITZEIT_QUEUE_MANAGER_LEASE_SECONDS``."""
    return f"{PREFIX}{section}_{key}".upper().replace("-", "_")


def variables(
    sections: Mapping[str, type], environment: Mapping[str, str], aliases: Mapping[str, str]
) -> Iterator[Variable]:
    """What the environment sets, the strongest last: full names after aliases, early aliases after late ones.

    An alias of a key in a section that is not among ``sections`` is another role's.
    """
    order = [(name, target) for name, target in reversed(list(aliases.items()))]
    order += [(name, target) for name, target in _names(sections).items() if name not in aliases]
    for name, target in order:
        section, _, key = target.partition(".")
        text = environment.get(name, "")
        if section in sections:
            keys = keys_of(sections[section])
            assert key in keys, f"the alias {name} is of {section}.{key}, which does not exist"
            if text:
                yield Variable(
                    name=name, section=section, key=key, value=_parsed(keys[key].want, text, keys[key])
                )


def unknown_variables(
    sections: Mapping[str, type],
    environment: Mapping[str, str],
    aliases: Mapping[str, str],
    foreign: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Names that speak of one of ``sections`` but of none of its keys, each with what is wrong."""
    known = _names(sections)
    for name in sorted(environment):
        if name in known or name in aliases or not name.startswith(PREFIX):
            continue
        owners = [s for s in {*sections, *foreign} if name.startswith(variable_name(s, ""))]
        owner = max(owners, key=len, default="")
        if owner in sections and environment[name]:
            nearest = did_you_mean(name, [*known, *aliases])
            yield name, f"[{owner}] has no such key{nearest}"


def _names(sections: Mapping[str, type]) -> dict[str, str]:
    names: dict[str, str] = {}
    for section, cls in sections.items():
        for key in keys_of(cls):
            name = variable_name(section, key)
            assert name not in names, f"{name} would set {section}.{key} and {names[name]}"
            names[name] = f"{section}.{key}"
    return names


def _parsed(want: Any, text: str, key: Key) -> Json:
    want = bare(want)
    if known := choices(want):
        exact = {str(value): value for value in known}
        return exact.get(text, {str(value).lower(): value for value in known}.get(text.lower(), text))
    if is_union(want):
        for option in typing.get_args(want):
            if option in (str, types.NoneType):
                continue
            value = _parsed(option, text, key)
            if fits(option, value, key):
                return value
        return text
    if is_list(want) and not text.lstrip().startswith("["):
        items = [item.strip() for item in text.split(",")]
        return [_parsed(typing.get_args(want)[0], item, key) for item in items if item]
    if want is bool:
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    return text if want is str else _toml(text)


def _toml(text: str) -> Json:
    try:
        document = tomllib.loads(f"value = {text.strip()}")
    except (ValueError, RecursionError):
        return text
    # A line feed in the variable could begin another key.
    return document["value"] if document.keys() == {"value"} else text
