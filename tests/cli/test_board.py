"""How a workflow stands, event by event."""

from __future__ import annotations

from gleitzeitd.cli.board import Board, Change
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import provider as v
from gleitzeitd.model.ledger import ReadyTask, SkippedTask
from gleitzeitd.model.names import TaskId, WorkflowId

W, A, B = WorkflowId("w"), TaskId("a"), TaskId("b")
ERROR = ErrorInfo(code=-1, name="X", message="trace\nno luck")
NOW = 1000.0


def changes(board: Board, *events: Event) -> list[tuple[str, str, str]]:
    return [(c.task_id, c.status, c.detail) for each in events for c in board.apply(each, NOW)]


def test_a_task_that_is_tried_again_shows_when_and_why() -> None:
    board = Board.of(["a"])
    seen = changes(
        board,
        e.TaskStarted(workflow_id=W, task_id=A, attempt=1),
        e.TaskFailed(workflow_id=W, task_id=A, attempt=1, error=ERROR, retry_in=2.0),
        e.TaskStarted(workflow_id=W, task_id=A, attempt=2),
        e.TaskFailed(workflow_id=W, task_id=A, attempt=2, error=ERROR),
    )
    assert seen == [
        ("a", "running", ""),
        ("a", "retry_pending", "0 ms: no luck; again in 2.0 s"),
        ("a", "running", "attempt 2"),
        ("a", "failed", "0 ms: no luck"),
    ]
    assert board.counts() == {"failed": 1}
    assert board.ended() == 1


def test_a_skipped_task_says_why_and_one_without_parameters_has_failed() -> None:
    board = Board.of(["a", "b"])
    skipped = [SkippedTask(task_id=A, error=ERROR), SkippedTask(task_id=B, error=ERROR, failed=True)]
    assert changes(board, d.TaskSkipped(workflow_id=W, tasks=skipped)) == [
        ("a", "skipped", "no luck"),
        ("b", "failed", "no luck"),
    ]


def test_a_lost_task_is_queued_again() -> None:
    board = Board.of(["a"])
    lost = e.TaskLost(workflow_id=W, tasks=[ReadyTask(task_id=A)], reason="the engine is gone")
    changes(board, e.TaskStarted(workflow_id=W, task_id=A, attempt=1))
    assert changes(board, lost) == [("a", "queued", "the engine is gone")]
    assert board.lines["a"].seconds(NOW) is None


def test_a_task_of_which_nobody_knows_what_became_says_so() -> None:
    board = Board.of(["a"])
    doubt = e.TaskUnknown(workflow_id=W, task_id=A, attempt=1, reason="the engine is gone")
    changes(board, e.TaskStarted(workflow_id=W, task_id=A, attempt=1))
    assert changes(board, doubt) == [("a", "unknown", "the engine is gone")]
    assert board.ended() == 0


def test_what_blocks_is_said_once_and_forgotten_when_it_is_over() -> None:
    board = Board.of(["a", "b"])
    blocked = d.ExecutionBlocked(
        workflow_id=W, task_ids=[A, B], count=2, reason="nobody serves x/v1", unblocked_by="start one"
    )
    said = [("", "blocked", "2 tasks: nobody serves x/v1; start one")]
    assert changes(board, blocked, blocked) == said
    over = d.ExecutionBlocked(workflow_id=W, task_ids=[], count=0, reason="")
    assert changes(board, over, blocked) == said


def test_progress_is_a_detail_and_no_change() -> None:
    board = Board.of(["a"])
    progress = v.TaskProgress(workflow_id=W, task_id=A, attempt=1, progress=0.25, message="reading")
    assert changes(board, e.TaskStarted(workflow_id=W, task_id=A, attempt=1), progress) == [
        ("a", "running", "")
    ]
    assert board.lines["a"].detail == "25% reading"


def test_the_time_of_a_change_is_that_of_its_event() -> None:
    board = Board.of(["a"])
    started = e.TaskStarted(workflow_id=W, task_id=A, attempt=1, started_at="1970-01-01T00:30:00Z")
    assert board.apply(started, NOW) == [Change(1800.0, "a", "running", "")]
    assert board.last == 1800.0


def test_the_end_of_the_workflow_is_its_status() -> None:
    board = Board.of([])
    assert changes(
        board,
        d.WorkflowCancelling(workflow_id=W, reason="enough"),
        d.WorkflowCancelled(workflow_id=W),
    ) == [("", "cancelling", "enough"), ("", "cancelled", "")]
    assert board.status == "cancelled"
