"""A batch in a workflow file: one task for each file that a pattern matches.

    type: batch
    batch: {directory: documents, pattern: "*.txt"}
    template: {method: llm/chat, model: llama3.2, messages: [...]}

Every key of the template but ``method`` and ``priority`` is a parameter. Files come in the order of their
names, so that the same files make the same workflow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gleitzeitd.model.names import NAME_LIMIT
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.table_reader import TableReader
from gleitzeitd.model.workflow_schema import BATCH_KEYS, TEMPLATE_KEYS
from gleitzeitd.plain import Json
from gleitzeitd.workflow_file.matching import ENTRIES_LIMIT, TooManyError, matching

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
_NO_BATCH_KEYS = ("type", "batch", "template", "protocol")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A document whose batch has become tasks, behind those that it had already."""

    document: Json
    problems: tuple[Problem, ...]
    first: int
    """Index of the first task that the batch made."""
    template: frozenset[str]
    """Keys of the template."""

    def origin(self, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """The place in the document as written that ``path`` in the expanded one comes from."""
        if len(path) < 2 or path[0] != "tasks" or not isinstance(path[1], int) or path[1] < self.first:
            return path
        rest = path[3:] if path[2:3] == ("params",) else path[2:]
        if rest and rest[0] in self.template:
            return ("template", *rest)
        return ("protocol",) if rest == ("protocol",) else ("batch",)


def expand_batch(document: Json, folder: Path, most: int) -> Expansion | None:
    """The document with its batch as tasks; None if it has none.

    Directories start at ``folder``. More than ``most`` tasks are a problem.
    """
    if not isinstance(document, dict):
        return None
    if document.get("type") != "batch" and document.get("batch") is None:
        return None
    reader = TableReader()
    batch = reader.table(document.get("batch"), ("batch",))
    template = reader.table(document.get("template"), ("template",))
    reader.known_keys(batch, BATCH_KEYS, ("batch",))
    if document.get("type") not in (None, "batch"):
        reader.problem(("type",), "there is a batch: expected batch")
    directory = reader.text(batch, "directory", ("batch",)) or "."
    pattern = reader.text(batch, "pattern", ("batch",)) or BATCH_KEYS["pattern"]["default"]
    files = [] if reader.problems else _matching(folder / directory, pattern, most, reader)
    before = document.get("tasks") or []
    if not isinstance(before, list):
        reader.problem(("tasks",), "expected a list")
        before = []
    expanded = {key: value for key, value in document.items() if key not in _NO_BATCH_KEYS}
    made = [_task(template, document.get("protocol"), file, index) for index, file in enumerate(files)]
    expanded["tasks"] = [*before, *made]
    return Expansion(
        document=expanded,
        problems=tuple(reader.problems),
        first=len(before),
        template=frozenset(template),
    )


def _matching(directory: Path, pattern: str, most: int, reader: TableReader) -> list[Path]:
    if not directory.is_dir():
        where = ("batch", "directory")
        reader.problem(
            where, f"there is no directory {directory}; it is looked for beside the workflow's file"
        )
        return []
    if Path(pattern).is_absolute():
        message = f"{pattern!r} is no pattern of files in a directory; name the directory in batch.directory"
        reader.problem(("batch", "pattern"), message)
        return []
    try:
        found = matching(directory, pattern, most)
    except ValueError as problem:
        reader.problem(("batch", "pattern"), f"{pattern!r} is no pattern of files in a directory: {problem}")
        return []
    except TooManyError:
        message = f"more than {ENTRIES_LIMIT} files and folders in {directory} would have to be looked at"
        reader.problem(("batch", "directory"), f"{message}; name a smaller one")
        return []
    if len(found) > most:
        remedy = "name fewer, and make several workflows of it"
        reader.problem(("batch", "pattern"), f"more than {most} files match {pattern!r}: {remedy}")
        return []
    if not found:
        reader.problem(
            ("batch", "pattern"), f"no file in {directory} matches {pattern!r}; correct one of them"
        )
    return found


def _task(template: dict[str, Json], protocol: Json, file: Path, index: int) -> dict[str, Json]:
    method = template.get("method") or TEMPLATE_KEYS["method"]["default"]
    parameters = {key: value for key, value in template.items() if key not in TEMPLATE_KEYS}
    # A file may be called ${x}: that is no reference.
    path = str(file).replace("${", "$${")
    family = str(protocol or method).partition("/")[0]
    if family == "python":
        context = parameters.get("context")
        parameters["context"] = {**(context if isinstance(context, dict) else {}), "file_path": path}
    elif method == "llm/vision" and file.suffix.lower() in _IMAGES:
        parameters["image_path"] = path
    else:
        parameters["file_path"] = path
    ending = f"-{index}"
    made: dict[str, Json] = {
        "id": ("process-" + re.sub(r"[^A-Za-z0-9_-]", "-", file.name))[: NAME_LIMIT - len(ending)] + ending,
        "name": _printable(f"Process {file.name}")[:NAME_LIMIT],
        "method": method,
        "params": parameters,
    }
    if protocol is not None:
        made["protocol"] = protocol
    if template.get("priority") is not None:
        made["priority"] = template["priority"]
    return made


def _printable(name: str) -> str:
    """A file's name for people: bytes that are no UTF-8 become question marks."""
    return name.encode(errors="replace").decode()
