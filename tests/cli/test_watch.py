"""gleitzeit watch."""

from __future__ import annotations

import json
import re

from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.machines.client import Published
from gleitzeitd.model.ledger import FeedStamp, ReadyTask
from gleitzeitd.model.names import TaskId, WorkflowId
from tests.cli.fake_client import AT, FakeClient, a_task, a_workflow, call

W, A = WorkflowId("pipeline-1f0a"), TaskId("a")


def events(status: str = "completed") -> list[Published]:
    end = d.WorkflowCompleted if status == "completed" else d.WorkflowCancelled
    found = [
        d.WorkflowAnalyzed(workflow_id=W, tasks=[ReadyTask(task_id=A)], feed=FeedStamp(number=1)),
        e.TaskStarted(workflow_id=W, task_id=A, attempt=1, started_at=AT.format(1), feed=FeedStamp(number=2)),
        end(workflow_id=W, feed=FeedStamp(number=3)),
    ]
    return [Published(each, "c" * 32) for each in found]


def test_what_has_happened_is_shown_with_the_times_it_had() -> None:
    client = FakeClient([a_workflow()], [a_task("a")], events=events())
    result = call(client, "watch", "last")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [re.sub(r"^\d\d:\d\d:", "", line) for line in lines] == [
        "pipeline-1f0a: 1 task",
        "00  a         queued",
        "01  a         running",
        "01  workflow  completed",
        "",
        "completed in 2.0 s: 1 completed",
    ]


def test_the_exit_code_is_that_of_a_run() -> None:
    client = FakeClient([a_workflow(status="cancelled")], [a_task("a")], events=events("cancelled"))
    assert call(client, "watch", "last").exit_code == 1
    assert call(client, "watch", "last", "--json").exit_code == 1


def test_json_is_one_event_in_each_line() -> None:
    client = FakeClient([a_workflow()], [a_task("a")], events=events())
    lines = [json.loads(line) for line in call(client, "watch", "last", "--json").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["workflow_analyzed", "task_started", "workflow_completed"]
    assert lines[1]["task_id"] == "a"


def test_either_a_workflow_or_everything() -> None:
    assert call(FakeClient(), "watch").exit_code == 2
    assert call(FakeClient(), "watch", "w", "--all").exit_code == 2
