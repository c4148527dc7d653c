"""How a command ends: its exit code, and what is said about an error.

0 done    1 failed, cancelled, not found    2 refused: the file or the command line is wrong
3 no hub, or nobody answers    4 not authorised    130 interrupted
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gleitzeitd import errors
from gleitzeitd.cli.show import as_json, style
from gleitzeitd.errors import GleitzeitError, WorkflowInvalid
from gleitzeitd.model.problem import Problem, dotted
from gleitzeitd.plain import Json

if TYPE_CHECKING:
    from gleitzeitd.workflow_file import WorkflowFile

FAILED = 1
REFUSED = 2
UNREACHABLE = 3
UNAUTHORISED = 4

_CODES: tuple[tuple[type[GleitzeitError], int], ...] = (
    (errors.WorkflowInvalid, REFUSED),
    (errors.ConfigError, REFUSED),
    (errors.StoreError, REFUSED),
    (errors.HubUnreachable, UNREACHABLE),
    (errors.AnswerTimeout, UNREACHABLE),
    (errors.NotAuthenticated, UNAUTHORISED),
    (errors.NotPermitted, UNAUTHORISED),
)
_PLACE = re.compile(r"(?P<file>.*?):(?P<line>\d+):(?P<column>\d+): (?P<message>.*)", re.DOTALL)


class FileRefused(WorkflowInvalid):
    """A workflow file has problems; each is known by line and column."""

    def __init__(self, file: WorkflowFile, problems: Sequence[Problem]) -> None:
        places = [located(problem, file) for problem in problems]
        self.places = sorted(places, key=lambda place: (place["line"], place["column"]))
        """In the order of the file; of one place, in the order in which they were found."""
        super().__init__("\n".join(line_of(place) for place in self.places), problems)


def located(problem: Problem, file: WorkflowFile) -> dict[str, Json]:
    """``file``, ``line``, ``column``, ``path`` and ``message`` of a problem."""
    line, column = file.locate(problem.path)
    return {
        "file": file.source,
        "line": line,
        "column": column,
        "path": dotted(problem.path),
        "message": problem.message,
    }


def line_of(place: dict[str, Json]) -> str:
    """``file:line:column: path: message``."""
    path = f"{place['path']}: " if place["path"] else ""
    return f"{place['file']}:{place['line']}:{place['column']}: {path}{place['message']}"


def exit_code(problem: GleitzeitError) -> int:
    """What the process ends with."""
    return next((code for kind, code in _CODES if isinstance(problem, kind)), FAILED)


def report(problem: GleitzeitError, *, json: bool) -> None:
    """Say what went wrong: on standard output as one object, or on standard error as text."""
    if json:
        click.echo(as_json(plain(problem)))
        return
    text = str(problem) or problem.name
    if isinstance(problem, WorkflowInvalid) and _PLACE.match(text):
        click.echo(text, err=True)  # as compilers write it, so that editors find the place
        return
    click.echo(f"{style('gleitzeit:', fg='red')} {text}", err=True)


def plain(problem: GleitzeitError) -> Json:
    """``{"error": {"code", "name", "message"}, "problems": [...]}``."""
    error = {"code": problem.code, "name": problem.name, "message": str(problem)}
    return {"error": error, "problems": _problems(problem)}


def _problems(problem: GleitzeitError) -> list[Json]:
    if isinstance(problem, FileRefused):
        return list(problem.places)
    if not isinstance(problem, WorkflowInvalid):
        return []
    if problem.problems:
        return [{"path": dotted(each.path), "message": each.message} for each in problem.problems]
    found = _PLACE.match(str(problem))
    if found is None:
        return [{"path": "", "message": str(problem)}]
    return [
        {
            "file": found["file"],
            "line": int(found["line"]),
            "column": int(found["column"]),
            "path": "",
            "message": found["message"],
        }
    ]
