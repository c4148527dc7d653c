"""YAML and JSON text to plain data, with the place of everything, within limits.

Both are read as a stream, without recursion: limits hold before anything is built.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.model.limits import WorkflowLimits
from gleitzeitd.model.table_reader import INTEGER_LIMIT, too_deep, too_long_text, too_many_values
from gleitzeitd.plain import Json, describe
from gleitzeitd.workflow_file.advice import advice

_COMMA = "a comma before the end of a table or list; remove it"
_KEY = "a key must be text, found {}; put it in quotes"
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "value"})
_SCALAR_TAGS = frozenset({_TAG + name for name in ("null", "bool", "int", "float")})
_DIGITS_LIMIT = 100
_SHOWN = 80
_FAR_TOO_MANY = 2
"""With less, it can still be said that there are too many tasks."""
_TOKEN = re.compile(r'"(?:[^"\\]++|\\[\s\S])*+(?:"|\Z)|[\[\]{},:]|[^\s\[\]{},:"]+')
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may be at most."""

    size: int = 16 * 1024 * 1024
    """Bytes."""
    depth: int = 64
    """Levels of tables and lists, aliases followed."""
    nodes: int = 250_000
    """Values, aliases followed."""
    aliases: int = 10_000
    """Uses of anchors."""
    text: int = 8_000_000
    """Characters of one text."""
    tasks: int | None = None
    """Items of the list ``tasks`` of the whole; None: it means nothing there."""

    @classmethod
    def of(cls, limits: WorkflowLimits) -> Limits:
        """Those of a workflow's file."""
        return cls(
            size=limits.file_bytes,
            depth=limits.depth,
            nodes=limits.values,
            text=limits.text_characters,
            tasks=limits.tasks,
            aliases=limits.aliases,
        )


@dataclass(slots=True)
class Place:
    """Where something stands, and what is in it."""

    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    inner: dict[str | int, Place] = field(default_factory=dict)
    """By key, where the key stands; by index, where the item stands. Those of scalars share an empty one."""


@dataclass(slots=True)
class _Node:
    """A value that has been built, or is being built."""

    value: Json
    place: Place
    size: int = 1
    height: int = 1
    anchor: str | None = None
    key: str | None = None
    """The key that waits for its value."""
    key_place: Place | None = None
    merging: bool = False
    """Whether that key is YAML's ``<<``."""
    merged: list[dict[str, Json]] = field(default_factory=list)
    """Tables that a ``<<`` brings in."""


class _Builder:
    """Builds values from a stream of events, with a stack of open tables and lists."""

    def __init__(self, source: str, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.open: list[_Node] = []
        self.anchors: dict[str, _Node] = {}
        self.total = 0
        self.aliases = 0
        self.root: _Node | None = None
        self.scalars: Any = yaml.SafeLoader("")

    def refuse(self, place: Place, message: str) -> NoReturn:
        raise WorkflowInvalid(f"{self.source}:{place.line}:{place.column}: {message}")

    def start(self, value: Json, place: Place, anchor: str | None = None) -> None:
        if len(self.open) >= self.limits.depth:
            self.refuse(place, too_deep(self.limits.depth))
        if self.awaits_key():
            self.refuse(place, _KEY.format("a list" if isinstance(value, list) else "a table"))
        self.count(1, place)
        self.open.append(_Node(value, place, anchor=anchor))

    def end(self) -> None:
        node = self.open.pop()
        if node.merged:
            for table in node.merged:
                for key, value in table.items():
                    node.value.setdefault(key, value)
        self.add(node)

    def awaits_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].value, dict) and self.open[-1].key is None

    def count(self, nodes: int, place: Place) -> None:
        self.total += nodes
        if self.total > self.limits.nodes:
            self.refuse(place, too_many_values(self.limits.nodes))

    def text(self, text: str, place: Place) -> None:
        if len(text) > self.limits.text:
            self.refuse(place, too_long_text(len(text), self.limits.text))

    def key(self, key: str, place: Place, *, merging: bool = False) -> None:
        table = self.open[-1]
        if key in table.place.inner:
            first = table.place.inner[key]
            self.refuse(
                place, f"the key {_cut(key)!r} is here twice, first in line {first.line}; remove one of them"
            )
        table.key, table.key_place, table.merging = key, place, merging

    def add(self, node: _Node) -> None:
        """Puts a finished value where it belongs."""
        if node.anchor is not None:
            self.anchors[node.anchor] = node
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if isinstance(parent.value, list):
            self.task(parent, node.place)
            parent.place.inner[len(parent.value)] = node.place
            parent.value.append(node.value)
            return
        assert parent.key is not None
        assert parent.key_place is not None
        if parent.merging:
            self.merge(parent, node)
        else:
            parent.value[parent.key] = node.value
        parent.place.inner[parent.key] = Place(
            parent.key_place.line, parent.key_place.column, node.place.inner
        )
        parent.key = parent.key_place = None

    def task(self, parent: _Node, place: Place) -> None:
        """Here, since to read on would take as long as the file is."""
        most = self.limits.tasks
        if most is None or len(parent.value) < most or len(self.open) != 2 or self.open[0].key != "tasks":
            return
        self.refuse(place, f"more than {most} tasks; make several workflows of it")

    def merge(self, parent: _Node, node: _Node) -> None:
        tables = node.value if isinstance(node.value, list) else [node.value]
        if not all(isinstance(table, dict) for table in tables):
            found = "a list of others" if isinstance(node.value, list) else describe(node.value)
            self.refuse(
                node.place, f"'<<' takes a table, or a list of tables, found {found}; put it in quotes"
            )
        parent.merged += tables

    def alias(self, name: str, place: Place) -> None:
        self.aliases += 1
        if self.aliases > self.limits.aliases:
            self.refuse(place, f"more than {self.limits.aliases} aliases; write out what they stand for")
        if self.awaits_key():
            self.refuse(place, _KEY.format(f"the alias *{_cut(name)}"))
        node = self.anchors.get(name)
        if node is None:
            reason = f"stands for nothing, or for what it is in; expected &{_cut(name)} before it"
            self.refuse(place, f"the alias *{_cut(name)} {reason}")
        if len(self.open) + node.height > self.limits.depth:
            self.refuse(place, too_deep(self.limits.depth))
        self.count(node.size, place)
        self.add(_Node(node.value, Place(place.line, place.column, node.place.inner), node.size, node.height))


def parse_yaml(text: str, source: str, limits: Limits) -> tuple[Json, Place]:
    """The one document in ``text``.

    Raises:
        WorkflowInvalid: with file, line and column.
    """
    builder = _Builder(source, limits)
    documents = 0
    if "\0" in text:
        builder.refuse(
            _Lines(text).place(text.index("\0")),
            "a NUL character: this is no text, or UTF-16; save it as UTF-8",
        )
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            mark = event.start_mark
            place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    builder.refuse(place, "a second document begins; give it a file of its own")
            else:
                _yaml_event(builder, event, place)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
        reason = ", ".join(part for part in (problem.context, problem.problem) if part)
        raise WorkflowInvalid(
            f"{source}:{place.line}:{place.column}: no YAML: {reason}{advice(reason)}"
        ) from problem
    except yaml.YAMLError as problem:
        found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        place = _Lines(text).place(found.start() if found else 0)
        number = ord(found.group()) if found else 0
        remedy = f'write it as "\\u{number:04x}" in double quotes, or remove it'
        reason = f"a character that YAML does not allow (U+{number:04X}); {remedy}"
        raise WorkflowInvalid(f"{source}:{place.line}:{place.column}: {reason}") from problem
    if builder.root is None:
        return None, Place(1, 1)
    return builder.root.value, builder.root.place


def _yaml_event(builder: _Builder, event: Any, place: Place) -> None:
    if isinstance(event, yaml.ScalarEvent):
        if builder.awaits_key():
            _yaml_tag(builder, event.tag, place, _TEXT_TAGS)
            builder.text(event.value, place)
            builder.key(event.value, place, merging=event.value == "<<" and event.implicit[0])
        else:
            builder.count(1, place)
            builder.text(event.value, place)
            builder.add(_Node(_yaml_scalar(builder, event, place), place, anchor=event.anchor))
    elif isinstance(event, yaml.MappingStartEvent):
        _yaml_tag(builder, event.tag, place, {_TAG + "map"})
        builder.start({}, place, event.anchor)
    elif isinstance(event, yaml.SequenceStartEvent):
        _yaml_tag(builder, event.tag, place, {_TAG + "seq"})
        builder.start([], place, event.anchor)
    elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
        builder.end()
    elif isinstance(event, yaml.AliasEvent):
        builder.alias(str(event.anchor), place)


def _yaml_tag(builder: _Builder, tag: str | None, place: Place, allowed: frozenset[str] | set[str]) -> None:
    if tag not in (None, "!") and tag not in allowed:
        builder.refuse(
            place, f"the tag {_cut(tag)} cannot be used here; leave it out: only plain values are read"
        )


def _yaml_scalar(builder: _Builder, event: Any, place: Place) -> Json:
    tag = event.tag
    if tag is None or tag == "!":
        tag = builder.scalars.resolve(yaml.ScalarNode, event.value, event.implicit)
        if ":" in event.value:
            return event.value  # YAML 1.1 takes 12:30 for 750
        if tag not in _SCALAR_TAGS:
            return event.value
    _yaml_tag(builder, tag, place, _TEXT_TAGS | _SCALAR_TAGS)
    if tag in _TEXT_TAGS:
        return event.value
    if len(event.value) > _DIGITS_LIMIT:
        builder.refuse(place, f"a number of {len(event.value)} characters; write it as text, in quotes")
    try:
        value = builder.scalars.construct_object(yaml.ScalarNode(tag, event.value))
    except (ValueError, KeyError, OverflowError, yaml.YAMLError):
        wrong = f"{_cut(event.value)!r} is not of the type {tag.removeprefix(_TAG)}"
        builder.refuse(place, f"{wrong}; correct it, or leave the tag out")
    return _number(builder, value, place)


def _number(builder: _Builder, value: Json, place: Place) -> Json:
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        builder.refuse(place, "NaN and Infinity are no JSON; write them as text, in quotes")
    if type(value) is int and abs(value) > INTEGER_LIMIT:
        builder.refuse(place, "a whole number beyond 2^53; write it as text, in quotes")
    return value


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class _Lines:
    """Offsets in a text to lines and columns."""

    def __init__(self, text: str) -> None:
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self.starts, offset)
        return Place(line, offset - self.starts[line - 1] + 1)


def parse_json(text: str, source: str, limits: Limits) -> tuple[Json, Place]:
    """The JSON value in ``text``.

    Raises:
        WorkflowInvalid: with file, line and column.
    """
    builder = _Builder(source, limits)
    lines = _Lines(text)
    _bound_json(builder, text, lines)
    try:
        json.loads(text, parse_int=float, parse_constant=float)  # for its messages; the value is built below
    except json.JSONDecodeError as problem:
        at, reason = _json_problem(text, problem)
        place = lines.place(at)
        raise WorkflowInvalid(f"{source}:{place.line}:{place.column}: no JSON: {reason}") from problem
    for match in _TOKEN.finditer(text):
        symbol, place = match.group(), lines.place(match.start())
        if symbol in ("{", "["):
            builder.start({} if symbol == "{" else [], place)
        elif symbol in ("}", "]"):
            builder.end()
        elif symbol not in (",", ":"):
            _json_scalar(builder, symbol, place)
    assert builder.root is not None
    return builder.root.value, builder.root.place


def _json_problem(text: str, problem: json.JSONDecodeError) -> tuple[int, str]:
    """Where it is, and what it is; the same for all versions of Python, of which some know of such commas."""
    before = text[: problem.pos].rstrip()
    if text[problem.pos : problem.pos + 1] in ("}", "]") and before.endswith(","):
        return len(before) - 1, _COMMA
    if problem.msg.startswith("Illegal trailing comma"):
        return problem.pos, _COMMA
    found = repr(text[problem.pos]) if problem.pos < len(text) else "the end of the file"
    said = problem.msg.removesuffix(" at").removesuffix(" starting")
    return problem.pos, f"{said[:1].lower()}{said[1:]}, found {found}{advice(problem.msg)}"


def _bound_json(builder: _Builder, text: str, lines: _Lines) -> None:
    """Refuses what is nested too deeply before it meets a parser that recurses, and what is far too much."""
    depth = values = 0
    for match in _TOKEN.finditer(text):
        symbol = match.group()
        depth += (symbol in ("{", "[")) - (symbol in ("}", "]"))
        values += (symbol not in ("}", "]", ",", ":")) - (symbol == ":")  # before a colon stands a key
        if values > _FAR_TOO_MANY * builder.limits.nodes:
            builder.refuse(lines.place(match.start()), too_many_values(builder.limits.nodes))
        if depth > builder.limits.depth:
            builder.refuse(lines.place(match.start()), too_deep(builder.limits.depth))


def _json_scalar(builder: _Builder, symbol: str, place: Place) -> None:
    if len(symbol) > _DIGITS_LIMIT and not symbol.startswith('"'):
        builder.refuse(place, f"a number of {len(symbol)} characters; write it as text, in quotes")
    value = json.loads(symbol)
    if isinstance(value, str):
        builder.text(value, place)
    if builder.awaits_key():
        builder.key(value, place)
        return
    builder.count(1, place)
    builder.add(_Node(_number(builder, value, place), place))
