"""What users are shown, from what the ledger answers."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import ErrorInfo, MalformedData
from gleitzeitd.model.ledger import TaskState
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.report import (
    TaskReport,
    WorkflowReport,
    count_by_status,
    plain_error,
    read_item,
    workflow_result,
)

ERROR = {"code": -29002, "name": "TASK_EXECUTION_FAILED", "message": "no luck", "retryable": True}


def test_what_a_newer_ledger_adds_is_left_out() -> None:
    task = read_item(TaskReport, {"task_id": "a", "error": ERROR, "invented_later": {}})
    assert task == TaskReport(task_id=TaskId("a"), error=ErrorInfo(**ERROR))


def test_a_value_of_the_wrong_type_is_named() -> None:
    with pytest.raises(MalformedData, match=r"task\.attempt"):
        read_item(TaskReport, {"task_id": "a", "attempt": "1"}, "task")


def test_a_task_that_succeeded_after_all_has_no_error() -> None:
    error = ErrorInfo(code=-1, name="X", message="first attempt")
    tasks = [
        TaskReport(task_id=TaskId("a"), status="completed", error=error),
        TaskReport(task_id=TaskId("b"), status="failed", error=error),
    ]
    result = workflow_result(WorkflowReport(workflow_id=WorkflowId("w")), tasks, {"a": [1]})
    assert [task.error for task in result.tasks.values()] == [None, error]
    assert [task.result for task in result.tasks.values()] == [[1], None]


def test_statuses_are_counted_in_the_order_of_a_tasks_way() -> None:
    statuses = ["failed", "running", "completed", "running", "invented"]
    assert list(count_by_status(statuses).items()) == [
        ("running", 2),
        ("completed", 1),
        ("failed", 1),
        ("invented", 1),
    ]
    assert list(count_by_status(reversed([s.value for s in TaskState]))) == [s.value for s in TaskState]


def test_an_error_is_shown_with_code_name_and_message() -> None:
    assert plain_error(ErrorInfo(**ERROR)) == {key: ERROR[key] for key in ("code", "name", "message")}
    assert plain_error(None) is None
