"""Settings to TOML: the commented file that is shipped, and what is in force for ``--print-config``.

In a shipped file a line ``# Like this`` is prose, and a line ``#like = "this"`` becomes a setting when
its ``#`` is removed; where a setting goes on, several spaces follow. A key without a default is prose.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import tomli_w

from gleitzeitd.config.environment import variable_name
from gleitzeitd.config.loading import Loaded
from gleitzeitd.config.shape import Key, bare, in_words, keys_of
from gleitzeitd.plain import Json

WIDTH = 88
REDACTED = "(redacted)"


def reference(sections: Mapping[str, type], title: str) -> str:
    """The shipped file: every key commented out, with its default, meaning, type, unit and bounds."""
    example = ""
    for section, cls in sections.items():
        example = example or next((variable_name(section, key) for key in keys_of(cls)), "")
    lines = [
        *_prose(title),
        "#",
        *_prose(
            "Each key is shown with its default. To change one, remove the # before it, here or in a "
            "file of its own in the directory of drop-ins. Variables of the environment win over files"
            + (f": the first key below is also {example}." if example else ".")
        ),
    ]
    for section, cls in sections.items():
        lines += ["", f"[{section}]"]
        if about := _class_doc(cls):
            lines += _prose(about)
        lines += _table((section,), cls)
    return "\n".join(lines) + "\n"


def redacted(settings: object) -> dict[str, Json]:
    """All values of a settings object as plain data, defaults included, secrets replaced.

    A secret that is empty or None stays so: whether it is set is what the reader wants to know.
    """
    values: dict[str, Json] = _plain(settings, mask=True)
    return values


def effective(loaded: Loaded, *, origins: bool = True) -> str:
    """TOML of all values in force, each with its origin in a comment if ``origins``, secrets replaced."""
    lines: list[str] = []
    for section, settings in loaded.settings.items():
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for name, value in redacted(settings).items():
            shown = f"# {name} is not set" if value is None else f"{name} = {_inline(value)}"
            lines.append(f"{shown}  # {loaded.origin[f'{section}.{name}']}" if origins else shown)
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One key of a section as a reader is told of it, or a table in it, whose keys follow."""

    table: tuple[str, ...]
    """The table's name, its section first."""
    name: str
    """Empty: this is the table itself."""
    about: str
    """What it means, in sentences, literals in double backquotes; may be empty."""
    kind: str = ""
    """Type, unit and bounds: ``Number of seconds, 0 to 60.``"""
    required: bool = False
    default: Json = None
    """None: it is not set."""

    def shown(self) -> str:
        """The default as TOML; empty if there is none."""
        return "" if self.default is None else _inline(self.default)


def described(table: tuple[str, ...], cls: type, instance: object = None) -> Iterator[Described]:
    """The keys of ``cls``, then its tables; with the values of ``instance``, or the defaults if None."""
    about = field_docs(cls)
    nested: list[tuple[Key, object]] = []
    for name, key in keys_of(cls).items():
        required = instance is None and key.required
        value: Any = None
        if not required:
            value = key.default() if instance is None else getattr(instance, name)
        if value is not None and dataclasses.is_dataclass(bare(key.want)):
            nested.append((key, value))
            continue
        yield Described(
            table=table,
            name=name,
            about=about.get(name, ""),
            kind=_kind(key),
            required=required,
            default=_plain(value, mask=False),
        )
    for key, value in nested:
        inner = (*table, key.name)
        yield Described(table=inner, name="", about=about.get(key.name, ""))
        yield from described(inner, bare(key.want), value)


def about_section(cls: type) -> str:
    """What a section is for, in sentences; may be empty."""
    return _class_doc(cls)


def _table(table: tuple[str, ...], cls: type) -> Iterator[str]:
    for one in described(table, cls):
        yield ""
        yield from _prose(one.about)
        if not one.name:
            yield f"#[{'.'.join(one.table)}]"
            continue
        yield from _prose(one.kind)
        if one.required or one.default is None:
            yield from _prose("Required." if one.required else "Not set by default.")
            yield f"# {one.name} ="
        else:
            yield from _assignment(one.name, one.default)


def _kind(key: Key) -> str:
    words = in_words(key.want)
    if key.bounds.unit:
        words += f" of {key.bounds.unit}"
    sample: object = "" if bare(key.want) is str else {} if words.startswith("table") else []
    bounds = [part for part in (key.bounds.range_words(), key.bounds.length_words(sample)) if part]
    if bounds:
        words += f", {', '.join(bounds)}"
    return f"{words[0].upper()}{words[1:]}." + (" Secret." if key.secret else "")


def _prose(text: str) -> list[str]:
    # A word never begins a line in a way that would make the line a setting: there is one space after the #.
    return [f"# {line}" for line in textwrap.wrap(text.replace("``", ""), WIDTH - 2, break_on_hyphens=False)]


def _assignment(name: str, value: Json) -> Iterator[str]:
    line = f"#{_key(name)} = {_inline(value)}"
    if len(line) <= WIDTH or not isinstance(value, list) or not value:
        yield line
        return
    yield f"#{_key(name)} = ["
    for item in value:
        yield f"#    {_inline(item)},"
    yield "#]"


def _plain(value: Any, *, mask: bool, secret: bool = False) -> Json:
    if mask and secret and value:
        return REDACTED
    if dataclasses.is_dataclass(value):
        return {
            name: _plain(getattr(value, name), mask=mask, secret=secret or key.secret)
            for name, key in _keys_of(value).items()
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(item, mask=mask) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, mask=mask) for key, item in value.items()}
    return value


def _keys_of(settings: object) -> dict[str, Key]:
    cls: Any = type(settings)
    return keys_of(cls)


def _inline(value: Json) -> str:
    """A value on one line; ``tomli_w`` alone would give tables lines of their own."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items() if item is not None)
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_inline(item) for item in value)}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def _key(name: str) -> str:
    return tomli_w.dumps({name: 0}).removesuffix(" = 0\n")


def _class_doc(cls: type) -> str:
    # A dataclass without a docstring is given its signature as one.
    doc = inspect.cleandoc(cls.__doc__ or "")
    return "" if doc.startswith(f"{cls.__name__}(") else _words(doc)


def _words(doc: str) -> str:
    return " ".join(doc.split())


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The string below each field, of the class and those it inherits from; literals in double backquotes."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        source = inspect.getsource(base)
        if source[0].isspace():  # a class inside a function; strings in it may be less indented than it is
            source = f"if True:\n{source}"
        node = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef))
        for field, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(value=ast.Constant(value=str(words))):
                        docs[field.target.id] = _words(words)
    return docs
