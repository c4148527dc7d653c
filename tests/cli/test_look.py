"""gleitzeit status, list, result and logs."""

from __future__ import annotations

import json

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import hub as h
from gleitzeitd.model.ledger import OutputChunk
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.model.report import Blocking
from tests.cli.fake_client import AT, FakeClient, a_task, a_workflow, call


def test_a_workflow_is_shown_with_its_tasks_and_what_blocks_it() -> None:
    blocked = [Blocking(reason="no provider of llm/v1", unblocked_by="start one", task_ids=["b"], count=1)]
    error = ErrorInfo(code=-1, name="X", message="first\nlast")
    tasks = [
        a_task("a", attempt=1, method="echo/echo", started_at=AT.format(0), finished_at=AT.format(1)),
        a_task("b", "queued", method="llm/chat"),
        a_task("c", "failed", attempt=3, method="echo/fail", error=error),
    ]
    result = call(FakeClient([a_workflow(status="running", blocked=blocked)], tasks), "status", "pipe")
    lines = result.output.splitlines()
    assert [line for line in lines if not line.startswith("submitted")] == [
        "workflow   pipeline-1f0a",
        "name       Pipeline",
        "status     running",
        "tasks      1 queued, 1 completed, 1 failed",
        "1 task blocked: no provider of llm/v1; start one",
        "",
        "TASK  STATUS     TRIES   TIME  METHOD     DETAIL",
        "a     completed      1  1.0 s  echo/echo",
        "b     queued                   llm/chat",
        "c     failed         3         echo/fail  last",
    ]


def test_the_overall_status_counts_components_and_workflows() -> None:
    client = FakeClient([a_workflow(), a_workflow("b", "failed")])
    client.component_list = [
        h.ComponentInfo(component_id=ComponentId("hub"), component_type=Role.HUB, status="healthy"),
        h.ComponentInfo(component_id=ComponentId("me"), component_type=Role.CLIENT, status="healthy"),
    ]
    output = call(client, "status").output
    assert "hub                      1  1 healthy" in output
    assert "execution_engine         0  none is connected" in output
    assert "client" not in output
    assert "workflows: 1 completed, 1 failed" in output
    plain = json.loads(call(client, "status", "--json").stdout)
    assert plain["components"]["hub"] == {"connected": 1, "status": ["healthy"]}
    assert plain["workflows"] == {"completed": 1, "failed": 1}


def test_a_list_has_a_line_for_each_workflow() -> None:
    client = FakeClient([a_workflow(), a_workflow("b-2", "running", name="Other")])
    result = call(client, "list", "--name", "x", "--status", "running", "-n", "5")
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["WORKFLOW", "STATUS", "TASKS", "SUBMITTED", "TIME", "NAME"]
    assert [line[0] for line in lines[1:]] == ["pipeline-1f0a", "b-2"]
    assert client.done == [("list", {"status": "running", "name_contains": "x"})]


def test_an_empty_list_says_so() -> None:
    assert call(FakeClient(), "list").output == "no workflow yet\n"
    assert json.loads(call(FakeClient(), "list", "--json").stdout) == {"workflows": []}


def test_the_result_of_one_task_is_printed_bare() -> None:
    client = FakeClient([a_workflow()], [a_task("a")], results={"a": "two\nlines"})
    assert call(client, "result", "last", "a").output == "two\nlines\n"


def test_a_task_without_a_result_says_why() -> None:
    error = ErrorInfo(code=-1, name="X", message="no luck")
    client = FakeClient([a_workflow()], [a_task("a", "failed", error=error)])
    result = call(client, "result", "last", "a")
    assert result.exit_code == 1
    assert result.stderr == "gleitzeit: a has no result: it is failed: no luck\n"


def test_an_unknown_task_has_a_suggestion() -> None:
    result = call(FakeClient([a_workflow()], [a_task("report")]), "result", "last", "reprot")
    assert result.exit_code == 1
    assert "no task 'reprot', did you mean report?" in result.stderr


def test_a_workflow_is_found_by_the_beginning_of_its_id() -> None:
    client = FakeClient([a_workflow("aa-1"), a_workflow("aa-2"), a_workflow("b-1")])
    assert "workflow   b-1" in call(client, "status", "b").output
    several = call(client, "status", "aa")
    assert several.exit_code == 1
    assert "2 workflows begin so: aa-1, aa-2" in several.stderr
    assert "no such workflow" in call(client, "status", "c").stderr
    assert call(FakeClient(), "status", "last").exit_code == 1


def test_logs_of_what_has_written_nothing_say_so() -> None:
    client = FakeClient([a_workflow("w")], [a_task("a")])
    result = call(client, "logs", "w")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "w has written nothing" in result.stderr
    assert "a has written nothing" in call(client, "logs", "w", "a").stderr


def test_logs_are_lines_with_the_name_of_their_task() -> None:
    client = FakeClient([a_workflow()], [a_task("a"), a_task("b")])
    client.chunks = {
        "b": [OutputChunk(stream="stdout", text="x\ny"), OutputChunk(stream="stderr", text="z\n")],
        "a": [OutputChunk(stream="stdout", text="\x1b[31mred\x1b[0m\n")],
    }
    assert call(client, "logs", "last").output == "a | red\nb | x\nb | yz\n"
    assert call(client, "logs", "last", "a").output == "a | red\n"
    plain = json.loads(call(client, "logs", "last", "b", "--json").stdout)
    assert plain["output"] == {
        "b": [{"stream": "stdout", "text": "x\ny"}, {"stream": "stderr", "text": "z\n"}]
    }


def test_a_task_whose_engine_is_gone_is_shown_so_with_what_happens_next() -> None:
    client = FakeClient(
        [a_workflow(status="running")], [a_task("a", "running", engine="e-1", attempt=1, method="echo/echo")]
    )
    client.component_list = [
        h.ComponentInfo(
            component_id=ComponentId("ledger"),
            component_type=Role.PERSISTENCE,
            status="healthy",
            metrics={"grace_seconds": 2.0},
        ),
        h.ComponentInfo(
            component_id=ComponentId("e-2"), component_type=Role.EXECUTION_ENGINE, status="healthy"
        ),
    ]
    output = call(client, "status", "pipe").output
    assert "e-1 is not connected; unless it comes back, another engine gets the task within 3 s" in output
    assert "on e-1, which is not connected" in output
