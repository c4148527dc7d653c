"""References to secrets: ``${secret.name}`` in a task's parameters.

The name is an identifier; there is neither a path nor a default. Such a reference travels as it was
written, through every event and into the store, until it is on the provider's host: only there is a value.

What comes from a task's result, from an input, or after ``$${`` is text and refers to nothing, whatever it
looks like. So that the provider can tell, ``${secret.`` in such a text travels with a second dot, as
``${secret..``, and loses it there again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

from gleitzeitd.model import python_code
from gleitzeitd.plain import Json

SECRET = "secret"  # noqa: S105 - a word, and none
"""What ``${secret.x}`` refers to; no task can be called so."""
OPENING = "${secret."
NAME_PATTERN = "[A-Za-z_][A-Za-z0-9_]{0,63}"
REFERENCE = re.compile(rf"\$\{{secret\.({NAME_PATTERN})\}}")
_NAME = re.compile(NAME_PATTERN)
_MEANT = re.compile(r"(?<!\$)\$\{\s*secret\s*[.\[}]")

Place = tuple[str | int, ...]


def is_name(text: str) -> bool:
    """Whether a secret can be called so."""
    return _NAME.fullmatch(text) is not None


def problem_of(text: str) -> str:
    """What is wrong with a reference to a secret, as written with its braces; empty if nothing is."""
    if REFERENCE.fullmatch(text):
        return ""
    return (
        "a secret is written ${secret.name}, without a path, a default or spaces; the name has up to 64 "
        "letters, digits and _, and begins with no digit"
    )


def as_text(text: str) -> str:
    """``text`` as it travels; it refers to nothing."""
    return text.replace(OPENING, f"{OPENING}.")


def as_text_all(value: Json) -> Json:
    """Plain data as it travels; nothing in it refers to anything. Keys are left alone, as everywhere."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, (dict, list, tuple)) and any(OPENING in text for _, text in _texts(value, ())):
        return _copied(value)
    return value


def _copied(value: Json) -> Json:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(item) for item in value]
    return value


def open_places(parameters: Mapping[str, Json]) -> list[Place]:
    """Where something stands whose value is known to the provider's host alone."""
    return [place for place, text in _texts(parameters, ()) if OPENING in text]


def names_in(parameters: Mapping[str, Json]) -> list[str]:
    """The secrets that are named, each once, in their order; also in comments of Python source."""
    found = (m.group(1) for _, text in _texts(parameters, ()) for m in REFERENCE.finditer(text))
    return list(dict.fromkeys(found))


def put_in(
    parameters: Mapping[str, Json], value_of: Callable[[str], str], *, python_keys: Collection[str] = ()
) -> dict[str, Json]:
    """``parameters`` with the secrets in their places, and all other text as it was meant.

    Raises:
        ValueError: a reference stands in Python source where no value can be written.
    """

    def in_value(value: Json, place: Place) -> Json:
        if isinstance(value, str):
            if OPENING not in value:
                return value
            if len(place) == 1 and place[0] in python_keys:
                return _in_python(value, value_of)
            return _in_text(value, value_of)
        if isinstance(value, dict):
            return {key: in_value(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [in_value(item, (*place, index)) for index, item in enumerate(value)]
        return value

    return {key: in_value(value, (key,)) for key, value in parameters.items()}


def _in_text(text: str, value_of: Callable[[str], str]) -> str:
    # A split at a pattern with one group: text, name, text, name, ..., text.
    parts = REFERENCE.split(text)
    return "".join(value_of(part) if at % 2 else _as_meant(part) for at, part in enumerate(parts))


def _in_python(source: str, value_of: Callable[[str], str]) -> str:
    found = python_code.scan(source, only=REFERENCE)
    try:
        return python_code.put_last(source, found, lambda span: value_of(span.inner), rest=_as_meant)
    except python_code.BytesInFieldError:
        raise ValueError(
            "a secret in a bytes literal inside an f-string's field; assign it to a variable first"
        ) from None


def _as_meant(text: str) -> str:
    return text.replace(f"{OPENING}.", OPENING)


def misplaced(document: Json) -> Iterator[tuple[Place, str, bool]]:
    """Every reference to a secret in a workflow document that cannot work where it is: the place, why, and
    whether it is only worth a warning, since the text is for people.
    """
    for place, text in _all_texts(document, ()):
        if _MEANT.search(text) is None:
            continue
        if len(place) > 1 and place[-1] is _KEY:
            yield place[:-1], "a reference to a secret in a key is not replaced; it can be in a value", False
        elif not (len(place) > 3 and place[0] == "tasks" and place[2] in ("parameters", "params")):
            for_people = "metadata" in place or place[-1] == "description"
            message = "a reference to a secret stands for its value in a task's parameters alone"
            yield place, f"{message}; here it is {'text' if for_people else 'of no use'}", for_people


_KEY = "(key)"


def _texts(value: Json, place: Place) -> Iterator[tuple[Place, str]]:
    pending: list[tuple[Place, Json]] = [(place, value)]
    while pending:
        where, item = pending.pop()
        if isinstance(item, str):
            yield where, item
        elif isinstance(item, Mapping):
            pending.extend(((*where, key), item[key]) for key in reversed(list(item)))
        elif isinstance(item, (list, tuple)):
            pending.extend(((*where, index), item[index]) for index in reversed(range(len(item))))


def _all_texts(value: Json, place: Place) -> Iterator[tuple[Place, str]]:
    """Also of keys, as ``(*place, _KEY)``."""
    pending: list[tuple[Place, Json]] = [(place, value)]
    while pending:
        where, item = pending.pop()
        if isinstance(item, str):
            yield where, item
        elif isinstance(item, dict):
            for key in reversed(list(item)):
                pending.append(((*where, key), item[key]))
                if isinstance(key, str):
                    pending.append(((*where, key, _KEY), key))
        elif isinstance(item, (list, tuple)):
            pending.extend(((*where, index), item[index]) for index in reversed(range(len(item))))
