"""What is seen while a workflow runs."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gleitzeitd.cli.board import Board
from gleitzeitd.cli.progress import Lines, Live, Plain, output_line
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import provider as v
from gleitzeitd.machines.client import Published
from gleitzeitd.model.ledger import OutputChunk
from gleitzeitd.model.names import TaskId, WorkflowId

W = WorkflowId("w")
ERROR = ErrorInfo(code=-1, name="X", message="no luck")


def chunk(text: str, stream: str = "stdout") -> OutputChunk:
    return OutputChunk(stream=stream, text=text)


def failed(task_id: str) -> Event:
    return e.TaskFailed(workflow_id=W, task_id=TaskId(task_id), attempt=2, error=ERROR)


def started(task_id: str) -> Event:
    return e.TaskStarted(workflow_id=W, task_id=TaskId(task_id), attempt=1)


def last_frame(board: Board, *events: Event, width: int = 80, height: int = 24) -> list[str]:
    screen = io.StringIO()
    console = Console(file=screen, width=width, height=height, highlight=False, force_terminal=False)
    with Live(board, console) as live:
        live.begin("w: some tasks")
        for each in events:
            live.show(Published(each, "c"))
    return [line.rstrip() for line in screen.getvalue().splitlines()]


def test_lines_that_come_in_pieces_are_put_together_by_task_and_stream() -> None:
    lines = Lines()
    assert lines.feed("a", [chunk("on"), chunk("oh", "stderr")]) == []
    assert lines.feed("b", [chunk("x\n")]) == ["b | x"]
    assert lines.feed("a", [chunk("e\ntwo")]) == ["a | one"]
    assert lines.rest() == ["a | oh", "a | two"]
    assert lines.rest() == []


def test_a_line_without_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gleitzeitd.cli.progress.LINES_KEPT", 3)
    lines = Lines()
    assert lines.feed("a", [chunk("abcd")]) == ["a | abcd"]
    assert lines.rest() == []


def test_a_growing_text_is_cut_at_blanks_before_its_end_of_line() -> None:
    lines, text = Lines(), "word " * 50
    shown = [line for word in text.split() for line in lines.feed("a", [chunk(f"{word} ", "partial")])]
    assert len(shown) == 2
    assert all(len(line) <= len("a | ") + 100 for line in shown)
    joined = " ".join(line.removeprefix("a | ") for line in [*shown, *lines.rest()])
    assert joined.strip() == text.strip()


@pytest.mark.parametrize(("text", "shown"), [("one two", "one two"), ("x" * 90 + " new", "x new")])
def test_a_text_that_a_model_is_saying_stands_beside_its_task(text: str, shown: str) -> None:
    screen = io.StringIO()
    growing = v.TaskOutput(workflow_id=W, task_id=TaskId("a"), attempt=1, chunks=[chunk(text, "partial")])
    with Live(Board.of(["a"]), Console(file=screen, width=80, force_terminal=True, no_color=True)) as live:
        live.show(Published(started("a"), "c"))
        live.show(Published(growing, "c"))
        live.begin("w: 1 task")
        frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()[-1]
        assert frame.rstrip().endswith(shown)
        assert len(frame.rstrip()) <= 80


def test_the_unfinished_line_of_a_task_is_shown_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(Board.of(["a"])) as progress:
        output = v.TaskOutput(workflow_id=W, task_id=TaskId("a"), attempt=1, chunks=[chunk("no end")])
        progress.show(Published(output, "c"))
        progress.show(Published(failed("a"), "c"))
        first, second = capsys.readouterr().out.splitlines()
        assert first == "a | no end"
        assert "failed" in second or "retry" in second


def test_a_line_that_overwrites_itself_shows_what_is_seen_in_the_end() -> None:
    assert output_line("a", "10 %\r20 %\r") == "a | 20 %"


def test_few_tasks_have_a_line_each() -> None:
    assert last_frame(Board.of(["load", "x"]), failed("load")) == [
        "w: some tasks",
        "✗ load  failed     attempt 2: no luck",
        "· x     pending",
    ]


def test_many_tasks_have_counts_and_lines_for_what_runs_or_failed() -> None:
    board = Board.of(f"t{n}" for n in range(100))
    lines = last_frame(board, failed("t3"), *(started(f"t{n}") for n in range(10, 25)))
    assert "1 of 100" in lines[1]
    assert lines[2] == "84 pending, 15 running, 1 failed"
    assert lines[3].startswith("● t10  running")
    assert "  and 9 more running" in lines
    assert any(line.startswith("✗ t3   failed") or line.startswith("✗ t3  failed") for line in lines)


def test_a_small_terminal_gets_the_summary_earlier() -> None:
    lines = last_frame(Board.of(f"t{n}" for n in range(12)), height=10)
    assert "0 of 12" in lines[1]


def test_long_details_give_way_to_names() -> None:
    board = Board.of(["a-task-with-a-long-name"])
    (_, line) = last_frame(board, failed("a-task-with-a-long-name"), width=66)
    assert line.startswith("✗ a-task-with-a-long-name  failed")
    assert line.endswith("…")
    assert len(line) <= 66


def test_what_blocks_stands_below_the_table() -> None:
    blocked = d.ExecutionBlocked(
        workflow_id=W, task_ids=[TaskId("a")], count=1, reason="nobody serves x", unblocked_by="start one"
    )
    assert last_frame(Board.of(["a"]), blocked)[-1] == "1 task blocked: nobody serves x; start one"


def test_what_is_said_beside_stands_above_the_table() -> None:
    screen = io.StringIO()
    with Live(Board.of(["a"]), Console(file=screen, width=80, force_terminal=False)) as live:
        live.begin("w: 1 task")
        live.tell("waiting: the hub is away")
    assert screen.getvalue().splitlines()[:2] == ["w: 1 task", "waiting: the hub is away"]


def test_nothing_is_shown_of_a_workflow_that_was_not_accepted() -> None:
    screen = io.StringIO()
    with Live(Board.of(["a"]), Console(file=screen)):
        pass
    assert screen.getvalue() == ""


def test_plain_output_ends_with_the_unfinished_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(Board.of(["a"])) as progress:
        progress.begin("w: 1 task")
        output = v.TaskOutput(workflow_id=W, task_id=TaskId("a"), attempt=1, chunks=[chunk("no end")])
        progress.show(Published(output, "c"))
    assert capsys.readouterr().out == "w: 1 task\na | no end\n"
