"""References: ``${task.path}`` in a task's parameters, and what they stand for.

The path starts inside the task's result. ``${a}`` is ``${a.result}``. If the result is an object with
the key ``result``, that is what both mean; any other first key is looked up in the object and, if it
is missing there, inside its ``result``. If the result has no key ``result``, a leading ``result.`` means
nothing and is skipped. ``content`` and ``response`` stand for each other where one is missing.
``${inputs.x}`` is a value that was given with the workflow, by its plain path. ``${secret.x}`` is left as it
is, for the provider's host; what only looks like one becomes text: see :mod:`gleitzeitd.model.secret`.

A string that is nothing but a reference becomes the value with its type; inside other text it becomes
the value's ``str()``. ``$${`` is a literal ``${``. Keys of objects are left alone. Inside Python source
the rules are those of :mod:`gleitzeitd.model.python_code`: a value never becomes code, so that to run a
generated program takes ``exec(${generate.response})``. In a script of a shell a reference is a problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import NoneType

from gleitzeitd.errors import ParameterInvalid
from gleitzeitd.model import python_code
from gleitzeitd.model.names import NAME_LIMIT
from gleitzeitd.model.problem import dotted
from gleitzeitd.model.python_code import REFERENCE, UNREADABLE, BytesInFieldError
from gleitzeitd.model.secret import REFERENCE as SECRET_REFERENCE
from gleitzeitd.model.secret import SECRET, as_text, as_text_all
from gleitzeitd.model.workflow import INPUTS
from gleitzeitd.plain import Json, describe
from gleitzeitd.record import positional_record, record

Path = tuple[str | int, ...]
Lookup = Callable[[str], Json]
"""A task's id to its result, ``inputs`` to all inputs by name; KeyError if there is none."""

PYTHON_SOURCE: Mapping[str, frozenset[str]] = {"python/v1": frozenset({"code"})}
"""By protocol, which parameters hold Python source."""
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "fish", "ksh", "zsh"})
_SCRIPT_FOLLOWS = re.compile(r"-[a-z]*c")

_MARK = re.compile(r"\$\$\{|\$\{")
_STEP = re.compile(r"""\.([^.\[\]]+)|\[\s*(?:\\?'([^']*)'|\\?"([^"]*)"|(-?\d{1,15}))\s*\]""")
_BARE = re.compile(r"[A-Za-z0-9_:@-]+")
_INDEX = re.compile(r"0|[1-9][0-9]{0,14}")
_SYNONYMS = {"content": "response", "response": "content"}
_SHOWN_KEYS = 12
_SECRETS = (f"{SECRET}.", f"{SECRET}[")
_SHOWN_CHARACTERS = 100


@record
class Reference:
    """What stands between ``${`` and ``}``, taken apart."""

    task: str
    """A task's id or name, ``inputs``, or ``secret``."""
    path: Path
    text: str
    """As written, with its braces."""


@dataclass(slots=True)
class Found:
    """All references in a value, with their places in it, and what could not be read."""

    references: list[tuple[Path, Reference]] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)


@positional_record
class _Mark:
    """A ``$${`` (no inner), a reference, or a ``${`` that is none (a problem)."""

    start: int
    end: int
    inner: str | None = None
    problem: str = ""


def parse(inner: str, known: Collection[str] = ()) -> Reference:
    """The reference whose inside is ``inner``.

    The task ends at the first dot or bracket, unless a longer text is among ``known``: names may hold
    dots. It can also be quoted: ``['name [1]'].result``.

    Raises:
        ValueError: it is none; the message says why.
    """
    text = "${" + inner + "}"
    inner = inner.strip()
    task, rest = _split(inner, known)
    if not task:
        raise ValueError(f"{cut(text)} names no task; write '$${{' for a literal '${{'")
    steps: list[str | int] = []
    at = 0
    while at < len(rest):
        step = _STEP.match(rest, at)
        if step is None:
            raise ValueError(
                f"{cut(text)} cannot be read from {cut(rest[at:])!r} on; expected .key, [0] or ['key']"
            )
        steps.append(_step(step))
        at = step.end()
    return Reference(task=task, path=tuple(steps), text=text)


def cut(text: str) -> str:
    """``text`` for a message, its beginning if it is long."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _split(inner: str, known: Collection[str]) -> tuple[str, str]:
    if inner.startswith("["):
        quoted = _STEP.match(inner)
        if quoted is None or quoted.group(4) is not None:
            return "", inner
        return str(_step(quoted)), inner[quoted.end() :]
    if inner.startswith(_SECRETS):
        return SECRET, inner[len(SECRET) :]
    if inner in known:
        return inner, ""
    # No name is longer: else a path of a million steps would be looked at a million times.
    ends = [m.start() for m in re.finditer(r"[.\[]", inner[: NAME_LIMIT + 1])]
    for end in reversed(ends):
        if inner[:end] in known:
            return inner[:end], inner[end:]
    first = re.search(r"[.\[]", inner) if not ends else None
    end = ends[0] if ends else first.start() if first is not None else len(inner)
    return inner[:end], inner[end:]


def _step(match: re.Match[str]) -> str | int:
    plain, single, double, index = match.groups()
    if index is not None:
        return int(index)
    if plain is not None:
        return int(plain) if _INDEX.fullmatch(plain) else plain
    key = single if single is not None else double
    # Inside Python source the quotes may have been escaped for the literal around them.
    return key[:-1] if match.group().startswith("[\\") and key.endswith("\\") else key


def find(
    parameters: Mapping[str, Json],
    python_keys: Collection[str],
    known: Collection[str] = (),
    most: int | None = None,
) -> Found:
    """Every reference in ``parameters``, in their order; never raises.

    With ``most`` it ends when there are more than so many references and problems.
    """
    found = Found()
    for path, text in _texts(parameters):
        for mark in _marks(text, python=_is_python(path, python_keys)):
            if mark.problem:
                found.problems.append((path, mark.problem))
            elif mark.inner is not None:
                try:
                    found.references.append((path, parse(mark.inner, known)))
                except ValueError as problem:
                    found.problems.append((path, str(problem)))
            if most is not None and len(found.references) + len(found.problems) > most:
                return found
    return found


def references(
    parameters: Mapping[str, Json], *, python_keys: Collection[str]
) -> list[tuple[Path, Reference]]:
    """Every readable reference in ``parameters`` with its place, in their order."""
    return find(parameters, python_keys).references


def in_shell_script(protocol: str, parameters: Mapping[str, Json], path: Path) -> bool:
    """Whether ``path`` is in a script of a shell, where no value is sure to stay one: the parameter
    ``script`` of ``shell/v1``, or what stands behind ``-c`` in its ``argv``.
    """
    if protocol != "shell/v1" or path[0] != "argv":
        return protocol == "shell/v1" and path[0] == "script"
    argv, at = parameters.get("argv"), path[-1]
    if not isinstance(argv, (list, tuple)) or not isinstance(at, int) or at < 2:
        return False
    shell, option = (str(word) for word in (argv[0], argv[at - 1]))
    return shell.rpartition("/")[2] in _SHELLS and _SCRIPT_FOLLOWS.fullmatch(option) is not None


def has_reference(value: Json) -> bool:
    """Whether something in ``value`` is not known before other tasks have run."""
    return any(_MARK.search(text) for _, text in _texts(value))


def with_ids(
    parameters: Mapping[str, Json], python_keys: Collection[str], ids: Mapping[str, str]
) -> dict[str, Json]:
    """``parameters`` with each reference's task replaced by ``ids[task]``; others stay as they are."""

    def rewritten(text: str, path: Path) -> str:
        parts, last = [], 0
        for mark in _marks(text, python=_is_python(path, python_keys)):
            task, rest = _split((mark.inner or "").strip(), ids)
            if task not in ids:
                continue
            name = ids[task]
            written = name if _BARE.fullmatch(name) else f"['{name}']"
            parts += [text[last : mark.start], "${", written, rest, "}"]
            last = mark.end
        return "".join([*parts, text[last:]])

    return {key: _mapped(value, (key,), rewritten) for key, value in parameters.items()}


def substitute(
    parameters: Mapping[str, Json],
    lookup: Lookup,
    *,
    python_keys: Collection[str] = (),
    room: int | None = None,
) -> dict[str, Json]:
    """``parameters`` with every reference replaced by its value; values are not looked into again.

    ``room`` is how many characters all values together may take: a large one that is referred to a
    thousand times is not built a thousand times to find out that it is too much. The first is always put in.

    Raises:
        ParameterInvalid: a reference has nothing to refer to; the message says what there is.
    """
    valued = _Values(lookup, room).of

    def replaced(text: str, path: Path) -> Json:
        if "${" not in text:
            return text
        try:
            if _is_python(path, python_keys):
                return _in_python(text, valued)
            return _in_text(text, valued)
        except (ValueError, LookupError) as problem:
            raise ParameterInvalid(f"parameters.{dotted(path)}: {problem.args[0]}") from problem

    return {key: _mapped(value, (key,), replaced) for key, value in parameters.items()}


class _Values:
    """What references stand for, as long as there is room."""

    def __init__(self, lookup: Lookup, room: int | None) -> None:
        self.lookup = lookup
        self.room = room
        self.left = room
        self.sizes: dict[int, int] = {}
        self.first = True

    def of(self, inner: str) -> Json:
        """Raises ValueError, LookupError."""
        reference = parse(inner)
        value = value_of(reference, self.lookup)
        if self.left is None or isinstance(value, (int, float, NoneType)):
            return value
        if self.first and not isinstance(value, str):
            self.first = False  # its size matters only if there are more; results are limited themselves
            return value
        self.left -= self.size(value)
        if self.left < 0:
            more = f"what is referred to takes more than {self.room} characters in all"
            raise ValueError(
                f"{cut(reference.text)}: too large: {more}; refer to parts of the results, or have tasks "
                "write files and refer to their names"
            )
        return value

    def size(self, value: Json) -> int:
        if isinstance(value, str):
            return len(value)
        found = self.sizes.get(id(value))  # whoever looks results up keeps them
        if found is None:
            found = self.sizes[id(value)] = len(json.dumps(value, separators=(",", ":")))
        return found


def _in_text(text: str, valued: Callable[[str], Json]) -> Json:
    done: list[str] = []
    parts: list[str] = []
    last = 0
    for mark in _marks(text, python=False):
        if mark.problem:
            raise ValueError(mark.problem)
        parts.append(text[last : mark.start])
        last = mark.end
        if mark.inner is None:
            parts.append("${")
            continue
        if SECRET_REFERENCE.fullmatch(text, mark.start, mark.end):
            # What is text is made so as a whole: two values beside each other can look like a reference, too.
            done += [as_text("".join(parts)), text[mark.start : mark.end]]
            parts = []
            continue
        value = valued(mark.inner)
        if mark.start == 0 and mark.end == len(text):
            return as_text_all(value)
        parts.append(value if isinstance(value, str) else str(value))
    return "".join([*done, as_text("".join([*parts, text[last:]]))])


def _in_python(source: str, valued: Callable[[str], Json]) -> str:
    found = python_code.scan(source)
    if found.problems:
        raise ValueError(found.problems[0])
    secrets = [span for span in found.spans if SECRET_REFERENCE.fullmatch(source, span.start, span.end)]
    try:
        return python_code.put_in(source, found, lambda span: valued(span.inner), kept=secrets, rest=as_text)
    except BytesInFieldError:
        raise ValueError(
            "a reference in a bytes literal inside an f-string's field; assign it to a variable first"
        ) from None


def value_of(reference: Reference, lookup: Lookup) -> Json:
    """What ``reference`` stands for.

    Raises:
        LookupError: there is nothing; the message says what there is instead.
    """
    is_inputs = reference.task == INPUTS
    try:
        result = lookup(reference.task)
    except KeyError:
        what = "no inputs were given" if is_inputs else f"task {reference.task!r} has no result"
        raise LookupError(f"{cut(reference.text)}: {what}") from None
    starts = [(result, reference.path)] if is_inputs else list(_starts(result, reference.path))
    for start, path in starts:
        reached, left = _walk(start, path)
        if not left:
            return reached
    reached, left = min((_walk(start, path) for start, path in starts), key=lambda end: len(end[1]))
    whose = "the inputs" if is_inputs else f"the result of task {reference.task!r}"
    step = cut(left[0]) if isinstance(left[0], str) else left[0]
    raise LookupError(f"{cut(reference.text)}: no {step!r} in {whose}; there is {_contents(reached)}")


def _starts(result: Json, path: Path) -> Iterator[tuple[Json, Path]]:
    """Where a path may begin and what is left of it, the likeliest first."""
    has_result = isinstance(result, dict) and "result" in result
    inner = result["result"] if has_result else result
    if not path or path == ("result",):
        yield inner, ()
        return
    named = path[0] == "result"
    rest = path[1:] if named else path
    # After an explicit `result.` its inside goes first, otherwise the object does.
    objects = [inner, result] if named else [result, inner]
    if not has_result:
        objects = [result]
    for candidate in objects:
        yield candidate, rest
    if named and has_result and rest == ("result",):
        yield inner, ()  # the spelling of versions that put every result under `result`
    synonym = _SYNONYMS.get(rest[0]) if isinstance(rest[0], str) else None
    if synonym is not None:
        for candidate in objects:
            if isinstance(candidate, dict) and rest[0] not in candidate:
                yield candidate, (synonym, *rest[1:])


def _walk(value: Json, path: Path) -> tuple[Json, Path]:
    """The value at the end of the path and nothing; or how far one gets, and what is left."""
    for at, step in enumerate(path):
        if isinstance(value, dict):
            if str(step) not in value:
                return value, path[at:]
            value = value[str(step)]
        elif isinstance(value, (list, tuple)) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return value, path[at:]
    return value, ()


def _contents(value: Json) -> str:
    if isinstance(value, dict):
        keys = ", ".join(cut(str(key)) for key in islice(value, _SHOWN_KEYS))
        return (keys + (", ..." if len(value) > _SHOWN_KEYS else "")) or "an empty table"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return describe(value)


def _is_python(path: Path, python_keys: Collection[str]) -> bool:
    return len(path) == 1 and path[0] in python_keys


def _marks(text: str, *, python: bool) -> Iterator[_Mark]:
    if "${" not in text:
        return
    if python:
        found = python_code.scan(text)
        yield from (_Mark(span.start, span.end, span.inner) for span in found.spans)
        yield from (_Mark(0, 0, problem=problem) for problem in found.problems)
        return
    at = 0
    while (mark := _MARK.search(text, at)) is not None:
        whole = REFERENCE.match(text, mark.start())
        if mark.group() == "$${":
            yield _Mark(mark.start(), mark.end())
            at = mark.end()
        elif whole is not None:
            yield _Mark(whole.start(), whole.end(), whole.group(1))
            at = whole.end()
        else:
            yield _Mark(mark.start(), mark.end(), problem=UNREADABLE)
            at = mark.end()


def _texts(value: Json) -> Iterator[tuple[Path, str]]:
    """Every string in ``value`` that is no key, with its place, in order; at any depth."""
    pending: list[tuple[Path, Json]] = [((), value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, str):
            yield path, item
        elif isinstance(item, Mapping):
            pending.extend(((*path, key), item[key]) for key in reversed(list(item)))
        elif isinstance(item, (list, tuple)):
            pending.extend(((*path, index), item[index]) for index in reversed(range(len(item))))


def _mapped(value: Json, path: Path, change: Callable[[str, Path], Json]) -> Json:
    if isinstance(value, str):
        return change(value, path)
    if isinstance(value, dict):
        return {key: _mapped(item, (*path, key), change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(item, (*path, index), change) for index, item in enumerate(value)]
    return value
