"""``gleitzeit call``: one method, called directly; a workflow of one task, as durable as any other.

What the method returns is all that there is on standard output; what it says on the way is on standard error.
Only on a terminal, a text that grows is shown where it belongs, and not a second time when it is whole.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.board import Board
from gleitzeitd.cli.connection import Session, working
from gleitzeitd.cli.inputs import parse_parameters
from gleitzeitd.cli.options import SecondsRange, command, connection_options
from gleitzeitd.cli.outcome import essence
from gleitzeitd.cli.progress import Lines, Silent, change_line
from gleitzeitd.cli.reporting import FAILED, report
from gleitzeitd.cli.show import as_json, printable
from gleitzeitd.errors import (
    ConfigError,
    GleitzeitError,
    TaskCancelled,
    WorkflowConflict,
    WorkflowInvalid,
)
from gleitzeitd.events import provider as v
from gleitzeitd.model.document import read
from gleitzeitd.model.ledger import PARTIAL, OutputChunk
from gleitzeitd.model.names import TaskId
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.report import WorkflowResult
from gleitzeitd.model.workflow import WORKFLOW_TIMEOUT_RANGE
from gleitzeitd.plain import Json, describe, did_you_mean

if TYPE_CHECKING:
    from gleitzeitd.machines.client import Published
    from gleitzeitd.model.protocol import Method, Protocol

CANCEL_SECONDS = 10.0
"""How long an interrupted call of this process may take to end."""
TASK = "call"
_SHOWN = frozenset({"blocked", "retry_pending", "unknown"})
"""Changes that say why there is no result yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is on the command line."""

    method: str
    protocol: str
    given: dict[str, Json]
    """From ``--params``."""
    params: tuple[str, ...]
    workflow_id: str | None
    timeout: float | None


@command("call")
@click.argument("method", metavar="METHOD")
@click.option(
    "--param",
    "-p",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter: JSON if it fits the method's schema, else text. @FILE is what is in a file, @- what "
    "comes from standard input, @@ an @. Can be repeated.",
)
@click.option(
    "--params",
    "file",
    metavar="FILE",
    help="A file with a table of parameters, YAML, TOML or JSON; - is standard input.",
)
@click.option("--protocol", metavar="PROTOCOL", default="", help="With its version, as llm/v2.")
@click.option(
    "--timeout",
    type=SecondsRange(*WORKFLOW_TIMEOUT_RANGE),
    metavar="SECONDS",
    help="From now to the end; then the call has failed.",
)
@click.option("--id", "workflow_id", metavar="ID", help="An id: with the same one, the call is made once.")
@connection_options
def call(
    method: str,
    params: tuple[str, ...],
    file: str | None,
    protocol: str,
    timeout: float | None,
    workflow_id: str | None,
) -> None:
    """Call a method, and print what it returns.

    A text is printed as it is, everything else as JSON. The call is a workflow of one task: with a hub it
    goes on when this command is interrupted, and gleitzeit result has its result.

    Examples:
      gleitzeit call llm/chat --param model=llama3.2 --param prompt='Why is the sky blue?'
      gleitzeit call python/execute --param code=@report.py --param 'context={"day": 3}'
      gleitzeit call http/get --params request.yaml --timeout 30 --json

    Exit codes:
      0 completed    1 failed or cancelled    2 a parameter is wrong, nothing ran
      3 no hub       4 not authorised         130 interrupted
    """
    wanted = _Wanted(
        method=method,
        protocol=protocol,
        given=_table_in(file) if file is not None else {},
        params=params,
        workflow_id=workflow_id,
        timeout=timeout,
    )
    _call(wanted)


def _table_in(path: str) -> dict[str, Json]:
    from gleitzeitd.protocol_file.loading import parse_plain

    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror or problem}") from problem
    document, _ = parse_plain(data, path)
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a table of parameters, found {describe(document)}")
    return document


@working
async def _call(session: Session, wanted: _Wanted) -> int:
    from gleitzeitd.runtime.submission import id_for

    answer = await session.client.protocols()
    served = {each.protocol for each in answer.providers}
    known = {each.name: each for each in answer.protocols if each.name in served or not session.embedded}
    document = _document(wanted, known)
    reading = read(document)
    if reading.workflow is None:
        raise _refused(wanted, reading.problems)
    identifier = id_for(reading, wanted.workflow_id, session.client.namespace)
    as_json = session.options.as_json
    shown = Shown(live=sys.stdout.isatty() and not as_json, silent=as_json and not sys.stderr.isatty())
    session.options.tell = shown.tell
    try:
        result = await session.client.run(
            document,
            workflow_id=identifier,
            inputs={},
            on_event=shown.show,
            on_submitted=lambda _: None,
        )
    except WorkflowInvalid as problem:
        raise _refused(wanted, problem.problems) if problem.problems else problem from problem
    except WorkflowConflict as problem:
        raise WorkflowConflict(f"{problem}; --id gives it another id") from problem
    except asyncio.CancelledError:
        shown.end()
        await _interrupted(session, identifier)
        raise
    return _finish(session, result, shown)


# --- what is asked for ----------------------------------------------------------------------------


def _document(wanted: _Wanted, known: dict[str, Protocol]) -> dict[str, Json]:
    """The workflow.

    Raises:
        WorkflowInvalid: nobody knows the protocol, and it would wait for ever.
    """
    from gleitzeitd.workflow_file import parse

    task: dict[str, Json] = {"id": TASK, "method": wanted.method}
    if wanted.protocol:
        task["protocol"] = wanted.protocol
    found = read({"tasks": [task]})
    if found.workflow is None:
        raise _refused(wanted, found.problems)
    (one,) = found.workflow.tasks
    if one.protocol not in known:
        raise WorkflowInvalid(f"nobody serves {one.protocol}{_instead(one.method, one.protocol, known)}")
    method: Method | None = known[one.protocol].methods.get(one.method)
    schema = method.parameters if method is not None else {}
    parameters = {**wanted.given, **parse_parameters(wanted.params, schema)}
    task |= {"method": one.method, "protocol": one.protocol, "params": _literal(parameters)}
    document: dict[str, Json] = {"name": one.method, "tasks": [task]}
    if wanted.timeout is not None:
        document["timeout"] = wanted.timeout
    # Paths of files start here, as those in a workflow file do where it lies.
    text = json.dumps(document).encode()
    return dict(parse(text, source="call.json", folder=Path()).document)


def _instead(method: str, protocol: str, known: dict[str, Protocol]) -> str:
    methods = [name for each in known.values() for name in each.methods]
    versions = sorted(name for name in known if name.partition("/")[0] == protocol.partition("/")[0])
    if versions:
        return f"; there is {', '.join(versions)}: say --protocol"
    return did_you_mean(method, methods) or did_you_mean(protocol, known)


def _literal(value: Json) -> Json:
    """The same where references are looked for: there are no other tasks here."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, list):
        return [_literal(each) for each in value]
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    return value


def _refused(wanted: _Wanted, problems: tuple[Problem, ...]) -> WorkflowInvalid:
    """With the places on the command line, of which a task has none."""
    placed = []
    for each in problems:
        path = each.path[2:] if each.path[:1] == ("tasks",) else each.path
        if path[:1] in (("parameters",), ("params",)):
            path = path[1:]
        placed.append(Problem(path=path, message=each.message))
    lines = [f"{wanted.method}: {each}" for each in placed]
    return WorkflowInvalid("\n".join(lines), placed)


# --- what is seen ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Shown(Silent):
    """What the method says while it works."""

    live: bool
    """Standard output is a terminal: a text that grows is shown there."""
    silent: bool = False
    text: str = ""
    """The text that has grown so far, in this attempt."""
    _attempt: int = 0
    _board: Board = field(default_factory=lambda: Board.of([TASK]))
    _lines: Lines = field(default_factory=Lines)

    def show(self, published: Published, at: float | None = None) -> None:
        """As it comes."""
        event = published.event
        if self.silent:
            return
        if isinstance(event, v.TaskOutput):
            if event.attempt != self._attempt:
                self.end()
                self._attempt = event.attempt
            grown = "".join(chunk.text for chunk in event.chunks if chunk.stream == PARTIAL)
            self._grow(grown)
            self._say([chunk for chunk in event.chunks if chunk.stream != PARTIAL], event.task_id)
            return
        for change in self._board.apply(event, time.time() if at is None else at):
            if change.status in _SHOWN:
                self.end()
                click.echo(change_line(change, len("workflow")), err=True)

    def _grow(self, text: str) -> None:
        if text:
            self.text += text
            shown = text.replace("\r", "")
            safe = "\n".join(printable(line) for line in shown.split("\n"))
            click.echo(safe, nl=False, err=not self.live)

    def _say(self, chunks: list[OutputChunk], task_id: str) -> None:
        for line in self._lines.feed(task_id, chunks):
            click.echo(line.partition(" | ")[2], err=True)

    def end(self) -> None:
        """What comes now stands in a line of its own."""
        if self.text and not self.text.endswith("\n"):
            click.echo(err=not self.live)
        self.text = ""
        for line in self._lines.rest():
            click.echo(line.partition(" | ")[2], err=True)

    def has(self, text: str) -> bool:
        """Whether the text has been seen already where results are."""
        return self.live and bool(text) and self.text.strip() == text.strip()


async def _interrupted(session: Session, workflow_id: str) -> None:
    if not session.embedded:
        click.echo(
            f"interrupted; the call goes on\n"
            f"  to see it:    gleitzeit watch {workflow_id}\n"
            f"  to cancel it: gleitzeit cancel {workflow_id}",
            err=True,
        )
        return
    with suppress(GleitzeitError, TimeoutError):
        async with asyncio.timeout(CANCEL_SECONDS):
            await session.client.cancel(workflow_id, "interrupted")
            async with aclosing(session.client.watch(workflow_id)) as events:
                async for _ in events:
                    pass


def _finish(session: Session, result: WorkflowResult, shown: Shown) -> int:
    task = result.tasks.get(TaskId(TASK))
    error = task.error if task is not None else None
    if session.options.as_json:
        shown.end()
        plain = {
            "workflow_id": result.workflow_id,
            "status": result.status,
            "result": task.result if task is not None else None,
            "error": None,
        }
        if error is not None:
            plain["error"] = {"code": error.code, "name": error.name, "message": error.message}
        click.echo(as_json(plain))
    elif not result.completed:
        shown.end()
        # Why it was cancelled says more than that it was.
        own = error is not None and (error.code != TaskCancelled.code or not result.reason)
        why = str(error) if own else result.reason or result.status
        report(GleitzeitError(why), json=False)
        click.echo(f"more: gleitzeit why {result.workflow_id}", err=True)
    else:
        _print(essence(task.result) if task is not None else None, shown)
    return 0 if result.completed else FAILED


def _print(value: Json, shown: Shown) -> None:
    if not isinstance(value, str):
        shown.end()
        click.echo(as_json(value))
        return
    seen = shown.has(value)
    shown.end()
    if seen:
        return
    if sys.stdout.isatty():
        value = "\n".join(printable(line) for line in value.split("\n"))
    click.echo(value.removesuffix("\n"))
