"""What is seen while a workflow runs: a live table on a terminal, plain lines anywhere else.

Up to some 30 tasks each has its line; beyond that there is a bar with counts, and lines only for what runs
and what has failed. The output of tasks scrolls by above.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import click

from gleitzeitd.cli.board import Board, Change, Line
from gleitzeitd.cli.show import cell_width, clipped, clock, count_text, duration, printable, status_text
from gleitzeitd.events import provider as v
from gleitzeitd.events.execution_engine import TaskCompleted, TaskFailed
from gleitzeitd.machines.client import Published
from gleitzeitd.model.ledger import PARTIAL, OutputChunk

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

DETAILED = 30
"""So many tasks have a line each."""
SHOWN = 8
"""So many running, and so many failed tasks, are listed in a summary."""
FRAMES = 8
"""Refreshes a second."""
STATUS_WIDTH = 13
NAME_WIDTH = 32
FIXED_WIDTH = 2 + STATUS_WIDTH + len("59 min 59 s") + 3 * 2
"""Of a line in a live table: all but the task's name and the detail."""
LINES_KEPT = 16_384
"""Characters of an unfinished line of output that are kept."""
PARTIAL_WIDTH = 100
"""Characters after which a text that is still growing is shown: models write paragraphs, not lines."""

SYMBOLS = {
    "pending": "·",
    "queued": "○",
    "assigned": "○",
    "running": "●",
    "retry_pending": "↻",
    "unknown": "?",
    "completed": "✓",
    "failed": "✗",
    "cancelled": "-",
    "skipped": "-",
}
COLOURS = {
    "completed": "green",
    "running": "cyan",
    "assigned": "cyan",
    "retry_pending": "yellow",
    "unknown": "yellow",
    "failed": "red",
    "pending": "dim",
    "cancelled": "dim",
    "skipped": "dim",
}


class Progress(Protocol):
    """Shows what happens to one workflow."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, text: str) -> None:
        """The workflow is accepted; until then nothing is shown."""
        ...

    def tell(self, text: str) -> None:
        """Say something beside what happens."""
        ...

    def show(self, published: Published, at: float | None = None) -> None:
        """Something has happened, at that time if the event does not know better; else now."""
        ...


class Lines:
    """Cuts what tasks write into lines; a line may come in several pieces."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], str] = {}

    def feed(self, task_id: str, chunks: list[OutputChunk]) -> list[str]:
        """The lines that are complete now, as ``task | text``."""
        out = []
        for chunk in chunks:
            key = (task_id, chunk.stream)
            *whole, rest = (self._open.pop(key, "") + chunk.text).split("\n")
            if chunk.stream == PARTIAL:
                *wrapped, rest = _wrapped(rest)
                whole += wrapped
            out += [output_line(task_id, line) for line in whole]
            if len(rest) > LINES_KEPT:
                out.append(output_line(task_id, rest))
            elif rest:
                self._open[key] = rest
        return out

    def growing(self, task_id: str) -> str:
        """What is there of the line that a task's model is saying."""
        return printable(self._open.get((task_id, PARTIAL), ""))

    def ended(self, task_id: str) -> list[str]:
        """What the task has written without a final end of line."""
        keys = [key for key in self._open if key[0] == task_id]
        return [output_line(task_id, self._open.pop(key)) for key in keys]

    def rest(self) -> list[str]:
        """What was written without a final end of line."""
        left, self._open = self._open, {}
        return [output_line(task_id, text) for (task_id, _), text in left.items()]


def _wrapped(text: str) -> list[str]:
    """Cut at blanks; the last part may go on."""
    parts = []
    while len(text) > PARTIAL_WIDTH and (end := text.rfind(" ", 1, PARTIAL_WIDTH + 1)) > 0:
        parts.append(text[:end])
        text = text[end + 1 :]
    return [*parts, text]


def output_line(task_id: str, text: str) -> str:
    """``task | text``; of a line that overwrites itself, what would be seen in the end."""
    return f"{task_id} | {printable(text.rstrip(chr(13)).rpartition(chr(13))[2])}"


def change_line(change: Change, width: int, name: str = "") -> str:
    """``HH:MM:SS  task  state  detail``."""
    name = (name or change.task_id or "workflow").ljust(width)
    status = status_text(change.status) + " " * (STATUS_WIDTH - len(change.status))
    return f"{clock(change.at)}  {name}  {status}  {printable(change.detail)}".rstrip()


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, text: str) -> None:
        """Nothing to say."""

    def tell(self, text: str) -> None:
        """On standard error."""
        click.echo(text, err=True)

    def show(self, published: Published, at: float | None = None) -> None:
        """Nothing to see."""


class Plain(Silent):
    """One line for each change."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lines = Lines()
        self._width = min(30, max([len("workflow"), *map(len, board.lines)]))

    def begin(self, text: str) -> None:
        """Print it."""
        click.echo(text)

    def show(self, published: Published, at: float | None = None) -> None:
        """Print it."""
        event = published.event
        if isinstance(event, v.TaskOutput):
            for line in self._lines.feed(event.task_id, event.chunks):
                click.echo(line)
            return
        if isinstance(event, (TaskCompleted, TaskFailed)):
            for line in self._lines.ended(event.task_id):
                click.echo(line)
        for change in self._board.apply(event, time.time() if at is None else at):
            click.echo(change_line(change, self._width))

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines.rest():
            click.echo(line)


class Live:
    """A table that changes in place."""

    def __init__(self, board: Board, console: Console) -> None:
        from rich.live import Live as RichLive

        self._board = board
        self._lines = Lines()
        self._console = console
        self._begun = time.time()
        self._live = RichLive(
            console=console, refresh_per_second=FRAMES, get_renderable=self._render, transient=False
        )

    def __enter__(self) -> Live:
        return self

    def begin(self, text: str) -> None:
        """Print it, and show the table from now on."""
        self._print([text])
        self._live.start(refresh=True)

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._print(self._lines.rest())
        self._live.stop()

    def tell(self, text: str) -> None:
        """Above the table, which would otherwise write over it."""
        self._print([text])

    def show(self, published: Published, at: float | None = None) -> None:
        """Take it in; the next frame shows it."""
        event = published.event
        if isinstance(event, v.TaskOutput):
            self._print(self._lines.feed(event.task_id, event.chunks))
        else:
            if isinstance(event, (TaskCompleted, TaskFailed)):
                self._print(self._lines.ended(event.task_id))
            self._board.apply(event, time.time() if at is None else at)

    def _print(self, lines: list[str]) -> None:
        from rich.text import Text

        if lines:
            self._console.print(Text("\n".join(lines)), soft_wrap=True)

    def _render(self) -> RenderableType:
        room = max(3, self._console.height - 6)
        if len(self._board.lines) <= min(DETAILED, room):
            from rich.console import Group

            return Group(self._rows(list(self._board.lines.values())), *self._blocked())
        return self._summary(min(SHOWN, room // 3))

    def _rows(self, lines: list[Line]) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2), expand=False)
        for right in (False, False, True, False):
            table.add_column(no_wrap=True, justify="right" if right else "left")
        names = [clipped(line.task_id, NAME_WIDTH) for line in lines]
        # Only the details give way: a name that is cut says nothing.
        room = max(10, self._console.width - max(map(cell_width, names), default=0) - FIXED_WIDTH)
        now = time.time()
        for name, line in zip(names, lines, strict=True):
            colour = COLOURS.get(line.status, "")
            again = f"attempt {line.attempt}" if line.attempt > 1 else ""
            said = self._lines.growing(line.task_id) if line.status == "running" else ""
            said = said if len(said) <= room else f"…{said[1 - room :]}"  # its end is what is new
            detail = ": ".join(part for part in (again, printable(line.detail), said) if part)
            table.add_row(
                Text(f"{SYMBOLS.get(line.status, ' ')} {name}", style=colour),
                Text(line.status, style=colour),
                duration(line.seconds(now)),
                Text(clipped(detail, room)),
            )
        return table

    def _blocked(self) -> list[RenderableType]:
        from rich.text import Text

        return [
            Text(f"{who} blocked: {reason}{'; ' + remedy if remedy else ''}", style="yellow")
            for reason, (remedy, who) in list(self._board.blocked.items())[:3]
            if self._board.status == "running"
        ]

    def _summary(self, most: int) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        total, ended = len(self._board.lines), self._board.ended()
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=total, completed=ended, width=30),
            f"{ended} of {total}",
            duration(time.time() - self._begun),
        )
        parts: list[RenderableType] = [bar, Text(count_text(self._board.counts()))]
        for status in ("running", "failed"):
            lines = [line for line in self._board.lines.values() if line.status == status]
            if lines:
                # The newest failures, the oldest that run.
                parts.append(self._rows(lines[:most] if status == "running" else lines[-most:]))
            if len(lines) > most:
                parts.append(Text(f"  and {len(lines) - most} more {status}", style="dim"))
        return Group(*parts, *self._blocked())
