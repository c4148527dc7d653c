"""Loads a workflow file, YAML or JSON, into a document, and knows where everything in it stands.

The file is not trusted: its size, its nesting, and what its aliases would grow to are bounded while it is
read, before anything is built from it; there are only JSON's types, and no key twice. Dates, and what YAML
takes for numbers in base 60, stay text; keys are text as written. A ``batch`` becomes plain tasks here,
because here is where its files are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.model.document import Reading, read
from gleitzeitd.model.limits import WorkflowLimits
from gleitzeitd.model.problem import Problem
from gleitzeitd.plain import Json
from gleitzeitd.workflow_file.batch import Expansion, expand_batch
from gleitzeitd.workflow_file.source import NoTextError, Unreadable, decoded, read_bounded
from gleitzeitd.workflow_file.text import Limits, Place, parse_json, parse_yaml

_SCRIPT_KEYS = ("file", "file_path")
_PROMPT_KEYS = (*_SCRIPT_KEYS, "files", "image_path", "image_paths", "directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFile:
    """A document and the file that it came from."""

    source: str
    """The path, as it was given."""
    document: Json
    """For :func:`gleitzeitd.model.document.read`: batches are tasks, paths of files are absolute."""
    problems: tuple[Problem, ...] = ()
    """Of a batch that could not become tasks."""
    place: Place = field(repr=False)
    expansion: Expansion | None = field(default=None, repr=False)
    limits: WorkflowLimits = field(default_factory=WorkflowLimits, repr=False)

    def locate(self, path: tuple[str | int, ...]) -> tuple[int, int]:
        """Line and column, from 1, of what ``path`` leads to, or of the nearest thing around it."""
        place = self.place
        for step in self.expansion.origin(path) if self.expansion is not None else path:
            inner = place.inner.get(step)
            if inner is None:
                break
            place = inner
        return place.line, place.column

    def read(self) -> Reading:
        """The workflow in the file, or all problems of it."""
        if self.problems:
            return Reading(workflow=None, problems=self.problems)
        return read(self.document, self.limits)


def load(path: str | Path, limits: WorkflowLimits | None = None) -> WorkflowFile:
    """The document in the file at ``path``; JSON if it ends in ``.json``, otherwise YAML.

    Raises:
        WorkflowInvalid: it cannot be read, or breaks a limit; the message begins with file, line, column.
    """
    limits = limits or WorkflowLimits()
    source = str(path)
    try:
        data = read_bounded(path, limits.file_bytes)
    except Unreadable as problem:
        raise WorkflowInvalid(f"{source}:1:1: cannot be read: {problem}") from problem
    return parse(data, source=source, folder=Path(path).parent, limits=limits)


def parse(data: bytes, *, source: str, folder: Path, limits: WorkflowLimits | None = None) -> WorkflowFile:
    """The document in ``data``; relative paths in it start at ``folder``. ``source`` is as in ``load``.

    Raises:
        WorkflowInvalid: as ``load``.
    """
    limits = limits or WorkflowLimits()
    if len(data) > limits.file_bytes:
        reason = "keep data in files that tasks read, or make several workflows of it"
        raise WorkflowInvalid(f"{source}:1:1: larger than {limits.file_bytes} bytes; {reason}")
    try:
        text = decoded(data)
    except NoTextError as problem:
        raise WorkflowInvalid(f"{source}:{problem.line}:{problem.column}: {problem}") from problem
    if source.endswith(".toml"):
        reason = "TOML is for settings; write the workflow as YAML or JSON"
        raise WorkflowInvalid(f"{source}:1:1: no workflow file: {reason}")
    reader = parse_json if source.endswith(".json") else parse_yaml
    document, place = reader(text, source, Limits.of(limits))
    expansion = expand_batch(document, folder.absolute(), limits.tasks)
    if expansion is not None:
        document = expansion.document
    _make_paths_absolute(document, folder.absolute())
    return WorkflowFile(
        source=source,
        document=document,
        problems=expansion.problems if expansion is not None else (),
        place=place,
        expansion=expansion,
        limits=limits,
    )


def render(problems: Iterable[Problem], file: WorkflowFile) -> list[str]:
    """``path:line:column: place: message`` for each, as compilers do, in the order of the file."""
    placed = sorted((*file.locate(problem.path), number, problem) for number, problem in enumerate(problems))
    return [f"{file.source}:{line}:{column}: {problem}" for line, column, _, problem in placed]


def _make_paths_absolute(document: Json, folder: Path) -> None:
    """Whoever reads a script, a text or an image has another working directory: it is named in full."""
    tasks = document.get("tasks") if isinstance(document, dict) else None
    for task in tasks if isinstance(tasks, list) else ():
        keys = _keys_of_paths(task) if isinstance(task, dict) else ()
        for key in ("params", "parameters") if keys else ():
            # A copy, since an alias may share the table with a task of another method.
            table = task.get(key)
            if isinstance(table, dict):
                found = {name: _absolute(table[name], folder) for name in keys if name in table}
                task[key] = {**table, **found}


def _absolute(value: Json, folder: Path) -> Json:
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    if not isinstance(value, str) or not value or "${" in value:
        return value
    path = folder / value
    # In earlier versions paths started at the working directory.
    if not path.exists() and Path(value).exists():
        path = Path(value).absolute()
    return str(path).replace("${", "$${")


def _keys_of_paths(task: dict[str, Json]) -> tuple[str, ...]:
    method, protocol = task.get("method"), task.get("protocol")
    if method == "python/execute":
        return _SCRIPT_KEYS
    if method == "execute" and (protocol is None or str(protocol).startswith("python")):
        return _SCRIPT_KEYS
    llm = str(protocol if protocol is not None and "/" not in str(method) else method).startswith("llm/")
    return _PROMPT_KEYS if llm else ()
