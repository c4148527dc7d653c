"""What a host is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gleitzeitd.errors import ErrorInfo, HubUnreachable, TaskNotFound, WorkflowInvalid
from gleitzeitd.mcp_serve import answers
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.report import Blocking, TaskResult, WorkflowReport, WorkflowResult

W = WorkflowId("sum-1")
DOCUMENT: dict[str, Any] = {
    "tasks": [{"id": "add"}, {"id": "say", "dependencies": ["add"]}, {"id": "log", "dependencies": ["add"]}],
    "metadata": {"submitted_by": "mcp", "mcp": {"workflow": "Sum", "tool": "sum"}},
}
BROKEN = ErrorInfo(code=-29002, name="TASK_EXECUTION_FAILED", message="it broke")


def report(status: str = "completed", document: Any = DOCUMENT, **more: Any) -> WorkflowReport:
    return WorkflowReport(workflow_id=W, status=status, document=document, **more)


def result(status: str = "completed", document: Any = DOCUMENT, **tasks: Any) -> WorkflowResult:
    made = {
        TaskId(each["id"]): TaskResult(
            task_id=TaskId(each["id"]), name="", status="completed", result=tasks.get(each["id"])
        )
        for each in document["tasks"]
    }
    for name, value in tasks.items():
        if isinstance(value, ErrorInfo):
            made[TaskId(name)] = TaskResult(task_id=TaskId(name), name="", status="failed", error=value)
    return WorkflowResult(workflow_id=W, name="", status=status, inputs={}, tasks=made)


def test_a_workflow_answers_with_the_results_that_nobody_needed_and_any_other_if_asked() -> None:
    whole = result(add=3, say="three", log=None)
    answer = answers.ended(report(), whole)
    assert answer.content == {
        "workflow_id": W,
        "status": "completed",
        "results": {"say": "three", "log": None},
    }
    assert json.loads(answer.text) == answer.content and not answer.failed
    assert answers.ended(report(), whole, "add").content["results"] == {"add": 3}
    with pytest.raises(TaskNotFound, match="did you mean say"):
        answers.ended(report(), whole, "sya")


def test_a_method_answers_with_its_result() -> None:
    called = {"tasks": [{"id": "call"}], "metadata": {"submitted_by": "mcp", "mcp": {"method": "a/b"}}}
    answer = answers.ended(report(document=called), result(document=called, call=[1]))
    assert answer.content["result"] == [1]


def test_a_failure_is_an_error_with_its_number_and_with_what_was_done() -> None:
    answer = answers.ended(report("failed"), result("failed", add=3, say="three", log=BROKEN))
    assert answer.failed
    assert answer.content["error"] == {"code": -29002, "name": "TASK_EXECUTION_FAILED", "message": "it broke"}
    assert answer.content["results"] == {"say": "three"}
    assert answer.text.startswith("[TASK_EXECUTION_FAILED -29002] it broke\n")


def test_a_cancelled_workflow_is_an_error_too() -> None:
    answer = answers.ended(report("cancelled"), result("cancelled"))
    assert answer.failed and "was cancelled" in answer.text


def test_results_that_are_too_long_give_way_to_where_they_are() -> None:
    answer = answers.ended(report(), result(say="x" * answers.BYTES_LIMIT))
    assert len(answer.text) < 1000
    assert "gleitzeit result sum-1 --json" in answer.content["left_out"]


def test_who_waits_is_told_why_and_how_to_ask() -> None:
    waits = Blocking(reason="no provider of llm/v1", unblocked_by="start one")
    answer = answers.going(report("running", blocked=[waits]), {"ready": 1, "done": 0}, 30)
    assert not answer.failed
    assert answer.content["status"] == "running" and answer.content["workflow_id"] == W
    for part in (
        "after 30 s",
        "no provider of llm/v1 (start one)",
        'gleitzeit_result {"workflow_id": "sum-1"}',
    ):
        assert part in answer.text


def test_a_workflow_that_nobody_can_be_asked_about_is_still_a_handle() -> None:
    answer = answers.unseen(W, HubUnreachable("the hub is away"))
    assert answer.content["workflow_id"] == W and not answer.failed
    assert "the hub is away" in answer.text and "gleitzeit_status" in answer.text


def test_a_refusal_names_every_place() -> None:
    problems = [Problem(path=("numbers", 1), message="expected a number")]
    answer = answers.refused(WorkflowInvalid("sum: no", problems), problems)
    assert answer.content["problems"] == [{"path": "numbers[1]", "message": "expected a number"}]
    assert answer.content["error"]["code"] == -28001 and answer.failed


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"metadata": None},
        {"metadata": {"mcp": {"workflow": "Sum"}}},
        {"metadata": {"submitted_by": "cron"}},
    ],
)
def test_a_workflow_that_did_not_come_from_a_host_has_no_origin(document: Any) -> None:
    assert answers.origin(report(document=document)) is None
    assert answers.origin(report()) == {"workflow": "Sum", "tool": "sum"}
