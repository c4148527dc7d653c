"""gleitzeit run and submit: exit codes, and what stands on which stream."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gleitzeitd import errors
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.machines.client import Published
from gleitzeitd.model.ledger import OutputChunk, ReadyTask
from gleitzeitd.model.names import ComponentId, TaskId, WorkflowId
from gleitzeitd.model.problem import Problem
from tests.cli.fake_client import AT, FakeClient, a_task, a_workflow, call

W, A = WorkflowId("w"), TaskId("a")
FILE = """\
name: Pipeline
inputs:
  day: {type: string, default: monday}
  limit: {type: integer, default: 1}
tasks:
  - id: a
    method: echo/echo
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE)
    return str(path)


def events() -> list[Published]:
    times = {"started_at": AT.format(0), "finished_at": AT.format(1)}
    found = [
        d.WorkflowAnalyzed(workflow_id=W, tasks=[ReadyTask(task_id=A)]),
        e.TaskStarted(workflow_id=W, task_id=A, attempt=1, started_at=AT.format(0)),
        v.TaskOutput(
            workflow_id=W, task_id=A, attempt=1, chunks=[OutputChunk(stream="stdout", text="one\ntw")]
        ),
        v.TaskOutput(workflow_id=W, task_id=A, attempt=1, chunks=[OutputChunk(stream="stdout", text="o\n")]),
        e.TaskCompleted(workflow_id=W, task_id=A, attempt=1, result=5, **times),
        d.WorkflowCompleted(workflow_id=W),
    ]
    return [Published(each, "c") for each in found]


def test_a_run_prints_a_line_for_each_change_then_results_then_one_that_sums_up(file: str) -> None:
    client = FakeClient([a_workflow("w")], [a_task("a")], results={"a": {"n": 5}}, events=events())
    result = call(client, "run", file, "--id", "w")
    assert result.exit_code == 0
    lines = [re.sub(r"^\d\d:\d\d:\d\d", "HH:MM:SS", line) for line in result.output.splitlines()]
    assert lines == [
        "w: 1 task",
        "HH:MM:SS  a         queued",
        "HH:MM:SS  a         running",
        "a | one",
        "a | two",
        "HH:MM:SS  a         completed      1.0 s",
        "HH:MM:SS  workflow  completed",
        "",
        "results",
        '  a: {"n": 5}',
        "",
        "completed in 2.0 s: 1 completed",
    ]


def test_a_failed_workflow_ends_with_1_and_names_the_error(file: str) -> None:
    error = ErrorInfo(code=-29002, name="TASK_EXECUTION_FAILED", message="no disk\nat all")
    client = FakeClient([a_workflow("w", "failed")], [a_task("a", "failed", error=error)])
    result = call(client, "run", file, "--id", "w")
    assert result.exit_code == 1
    assert "  a:\n    [TASK_EXECUTION_FAILED] no disk\n    at all\n" in result.output
    assert "failed after 2.0 s: 1 failed" in result.output


def test_json_is_one_object_and_nothing_else(file: str) -> None:
    client = FakeClient([a_workflow("w")], [a_task("a", attempt=1)], results={"a": 5}, events=events())
    result = call(client, "run", file, "--id", "w", "--json")
    assert json.loads(result.stdout) == {
        "workflow_id": "w",
        "name": "Pipeline",
        "status": "completed",
        "inputs": {},
        "tasks": {
            "a": {
                "name": "a",
                "status": "completed",
                "attempt": 1,
                "result": 5,
                "error": None,
                "started_at": "",
                "finished_at": "",
            }
        },
    }


def test_inputs_have_their_declared_types(file: str) -> None:
    client = FakeClient([a_workflow("w")])
    call(client, "run", file, "--id", "w", "--input", "limit=10", "-i", "day=7", "-i", "more=a=b")
    assert client.done == [("run", {"limit": 10, "day": "7", "more": "a=b"})]


def test_a_file_with_problems_ends_with_2_and_nothing_runs(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("tasks:\n  - id: a\n    method: echo/echo\n    depends_on: [b]\n  - id: a\n")
    client = FakeClient()
    result = call(client, "run", str(path))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{path}:4:18: tasks[0].depends_on[0]: unknown dependency 'b'; expected a task's id",
        f"{path}:5:5: tasks[1].id: duplicate task id 'a', first used by tasks[0]; give it another",
        f"{path}:5:5: tasks[1]: method is missing; expected one as python/execute",
    ]
    assert not client.done


def test_what_the_system_refuses_is_shown_at_its_place_in_the_file(file: str) -> None:
    problems = [Problem(path=("inputs", "limit"), message="expected a whole number, found text")]
    client = FakeClient(problem=errors.WorkflowInvalid("refused", problems))
    result = call(client, "run", file)
    assert result.exit_code == 2
    assert result.stderr == f"{file}:4:3: inputs.limit: expected a whole number, found text\n"
    assert not result.stdout
    as_json = json.loads(call(client, "run", file, "--json").stdout)
    assert as_json["error"]["name"] == "WORKFLOW_VALIDATION_FAILED"
    assert as_json["problems"] == [
        {"file": file, "line": 4, "column": 3, "path": "inputs.limit", "message": problems[0].message}
    ]


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (errors.HubUnreachable("no hub answers"), 3),
        (errors.AnswerTimeout("no answer"), 3),
        (errors.NotAuthenticated("the token is wrong"), 4),
        (errors.NotPermitted("clients may not"), 4),
        (errors.WorkflowConflict("another one has this id"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_kind_of_error_has_its_exit_code(file: str, problem: Exception, code: int) -> None:
    result = call(FakeClient(problem=problem), "run", file)
    assert result.exit_code == code
    assert str(problem) in result.stderr


def test_an_error_as_json_has_the_same_exit_code(file: str) -> None:
    result = call(FakeClient(problem=errors.NotAuthenticated("the token is wrong")), "--json", "run", file)
    assert result.exit_code == 4
    assert json.loads(result.stdout) == {
        "error": {"code": -25005, "name": "AUTHENTICATION_FAILED", "message": "the token is wrong"},
        "problems": [],
    }


def test_a_timeout_leaves_the_workflow_to_the_hub(file: str) -> None:
    result = call(FakeClient(problem=TimeoutError()), "run", file, "--id", "w", "--timeout", "3")
    assert result.exit_code == 1
    assert "not finished after 3.0 s; the workflow goes on" in result.stderr
    assert "gleitzeit cancel w" in result.stderr


def test_a_timeout_without_a_hub_cancels(file: str) -> None:
    client = FakeClient([a_workflow("w", "cancelled")], problem=TimeoutError(), embedded=True)
    result = call(client, "run", file, "--id", "w", "--timeout", "3")
    assert result.exit_code == 1
    assert ("cancel", "w", "not finished after 3.0 s") in client.done


def test_a_method_that_nobody_serves_is_refused_where_nobody_can_come(file: str) -> None:
    provider = r.ProviderInfo(component_id=ComponentId("p"), protocol="ecko/v1", capacity=1, health="ok")
    client = FakeClient([a_workflow("w")], [a_task("a")], embedded=True)
    client.protocol_list = r.ProtocolList(protocols=[], providers=[provider])
    result = call(client, "run", file)
    assert result.exit_code == 2
    assert f"{file}:7:5: tasks[0].method: nobody serves echo/v1 here, did you mean ecko/v1?" in result.stderr
    assert not client.done
    client.embedded = False
    assert call(client, "run", file).exit_code == 0


def test_submit_prints_the_id(file: str) -> None:
    assert call(FakeClient(), "submit", file, "--id", "w").stdout == "w\n"
    as_json = call(FakeClient(), "submit", file, "--id", "w", "--json").stdout
    assert json.loads(as_json) == {"workflow_id": "w", "duplicate": False}


def test_an_id_that_is_none_is_refused_before_anything_runs(file: str) -> None:
    client = FakeClient()
    assert call(client, "run", file, "--id", "a b").exit_code == 2
    assert not client.done
