"""gleitzeit call: parameters, what is on which stream, exit codes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import click
import pytest

from gleitzeitd.cli.call import Shown
from gleitzeitd.cli.inputs import parse_parameters
from gleitzeitd.errors import ErrorInfo, WorkflowInvalid
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.machines.client import Published
from gleitzeitd.model.ledger import PARTIAL, OutputChunk
from gleitzeitd.model.names import ComponentId, TaskId, WorkflowId
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.model.report import TaskReport
from gleitzeitd.plain import Json
from tests.cli.fake_client import FakeClient, a_task, a_workflow, call

W, CALL = WorkflowId("w"), TaskId("call")
CHAT = {
    "type": "object",
    "properties": {
        "model": {"type": ["string", "null"]},
        "messages": {"type": "array"},
        "images": {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}},
    },
}


def client(result: Json = "hello", status: str = "completed", **more: object) -> FakeClient:
    task: TaskReport = a_task("call", status, **more)
    fake = FakeClient([a_workflow("w", status)], [task], results={"call": result})
    provider = r.ProviderInfo(component_id=ComponentId("p"), protocol="llm/v1", capacity=4, health="ok")
    protocols = [
        Protocol(name=name, methods={"llm/chat": Method(parameters=CHAT)}) for name in ("llm/v1", "llm/v2")
    ]
    fake.protocol_list = r.ProtocolList(protocols=protocols, providers=[provider])
    return fake


def task_of(fake: FakeClient) -> dict[str, Json]:
    (task,) = fake.document["tasks"]
    return dict(task)


def output(stream: str, text: str, attempt: int = 1) -> Published:
    chunks = [OutputChunk(stream=stream, text=text)]
    return Published(v.TaskOutput(workflow_id=W, task_id=CALL, attempt=attempt, chunks=chunks), "c")


# --- what is asked for ----------------------------------------------------------------------------


def test_values_are_json_where_they_fit_the_schema_and_text_elsewhere() -> None:
    fake = client()
    words = ["-p", "model=3", "-p", 'messages=[{"role": "user"}]', "--param", "seed=7", "-p", "stop=a=b"]
    assert call(fake, "call", "llm/chat", *words).exit_code == 0
    task = task_of(fake)
    assert (task["method"], task["protocol"]) == ("llm/chat", "llm/v1")
    assert task["params"] == {"model": "3", "messages": [{"role": "user"}], "seed": 7, "stop": "a=b"}


def test_what_looks_like_a_reference_is_text() -> None:
    fake = client()
    call(fake, "call", "llm/chat", "-p", "prompt=${a.b}", "-p", 'messages=[{"content": "${inputs.x}"}]')
    assert task_of(fake)["params"] == {"prompt": "$${a.b}", "messages": [{"content": "$${inputs.x}"}]}


def test_a_file_is_a_value_and_a_table_of_them(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Why?\n")
    (tmp_path / "more.yaml").write_text("model: mistral\nprompt: How?\n")
    (tmp_path / "sign.png").write_bytes(b"\x89PNG")
    fake = client()
    files = ["--params", str(tmp_path / "more.yaml"), "-p", f"prompt=@{tmp_path / 'prompt.txt'}"]
    call(fake, "call", "llm/chat", *files, "-p", f"images=@{tmp_path / 'sign.png'}", "-p", "system=@@x")
    assert task_of(fake)["params"] == {
        "model": "mistral",
        "prompt": "Why?\n",
        "images": [base64.b64encode(b"\x89PNG").decode()],
        "system": "@x",
    }


def test_a_path_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fake = client()
    call(fake, "call", "llm/chat", "-p", "file_path=notes.txt")
    assert task_of(fake)["params"] == {"file_path": str(tmp_path / "notes.txt")}


def test_version_time_and_id_are_passed_on() -> None:
    fake = client()
    result = call(
        fake, "call", "llm/chat", "--protocol", "llm/v2", "--timeout", "9", "--id", "once", "--json"
    )
    assert task_of(fake)["protocol"] == "llm/v2"
    assert fake.document["timeout"] == 9.0
    assert json.loads(result.stdout)["workflow_id"] == "once"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["llm/chat", "-p", "x"], "expected name=value, found 'x'"),
        (["llm/chat", "-p", "x=@/none"], "/none: No such file"),
        (["llm/chat", "--params", "/none"], "/none: No such file"),
        (["lml/chat"], "nobody serves lml/v1, did you mean llm/chat?"),
        (
            ["llm/chat", "--protocol", "llm/v3"],
            "nobody serves llm/v3; there is llm/v1, llm/v2: say --protocol",
        ),
        (["llm chat"], "llm chat: method: 'llm chat' is no method"),
        (["llm/chat", "--id", "a b"], "'a b' cannot be a workflow's id"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_runs(words: list[str], says: str) -> None:
    fake = client()
    result = call(fake, "call", *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not fake.done


def test_a_parameter_that_the_system_refuses_is_named() -> None:
    fake = client()
    found = [Problem(path=("tasks", 0, "parameters", "model"), message="expected text, found a list")]
    fake.problem = WorkflowInvalid("", found)
    result = call(fake, "call", "llm/chat", "-p", "model=x")
    assert result.exit_code == 2
    assert result.stderr == "gleitzeit: llm/chat: model: expected text, found a list\n"
    plain = json.loads(call(fake, "call", "llm/chat", "--json").stdout)
    assert plain["problems"] == [{"path": "model", "message": "expected text, found a list"}]


def test_here_only_what_is_served_here_can_be_called() -> None:
    fake = client()
    fake.embedded = True
    assert call(fake, "call", "llm/chat").exit_code == 0
    assert call(fake, "call", "llm/chat", "--protocol", "llm/v2").exit_code == 2


def test_bytes_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(click.BadParameter, match="no UTF-8 text"):
        parse_parameters([f"prompt=@{tmp_path / 'x'}"], CHAT)


# --- what is answered -----------------------------------------------------------------------------

ANSWER = {"response": "Hi\nthere", "content": "Hi\nthere", "provider_id": "x", "json": None}


@pytest.mark.parametrize(
    ("result", "printed"),
    [
        ("text\n", "text\n"),
        (ANSWER, "Hi\nthere\n"),
        ({**ANSWER, "json": {"a": 1}}, '{\n  "a": 1\n}\n'),
        ({"a": [1]}, '{\n  "a": [\n    1\n  ]\n}\n'),
        (None, "null\n"),
    ],
)
def test_a_text_is_printed_as_it_is_and_all_else_as_json(result: Json, printed: str) -> None:
    assert call(client(result), "call", "llm/chat").stdout == printed


def test_a_program_gets_the_whole_result() -> None:
    plain = json.loads(call(client(ANSWER), "call", "llm/chat", "--id", "w", "--json").stdout)
    assert plain == {"workflow_id": "w", "status": "completed", "result": ANSWER, "error": None}


def test_a_failure_ends_with_1_and_its_reason() -> None:
    error = ErrorInfo(code=-29002, name="TASK_EXECUTION_FAILED", message="no disk")
    result = call(client(None, "failed", error=error), "call", "llm/chat", "--id", "w")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "gleitzeit: [TASK_EXECUTION_FAILED] no disk",
        "more: gleitzeit why w",
    ]
    plain = json.loads(call(client(None, "failed", error=error), "call", "llm/chat", "--json").stdout)
    assert plain["error"] == {"code": -29002, "name": "TASK_EXECUTION_FAILED", "message": "no disk"}


def test_what_grows_is_beside_the_result() -> None:
    fake = client("Hello you")
    fake.events = [
        output(PARTIAL, "Hello"),
        output(PARTIAL, " you"),
        output("stderr", "a warning\n"),
    ]
    result = call(fake, "call", "llm/chat")
    assert result.stdout == "Hello you\n"
    assert "Hello you" in result.stderr
    assert "a warning\n" in result.stderr
    assert call(fake, "call", "llm/chat", "--json").stderr == ""


def test_on_a_terminal_a_text_that_has_grown_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(live=True)
    for each in (output(PARTIAL, "Hel"), output(PARTIAL, "lo\x1b[2J\n")):
        shown.show(each)
    assert shown.has("Hello\x1b[2J")
    assert not shown.has("Hello you")
    shown.end()
    assert capsys.readouterr().out == "Hello\n"


def test_what_an_earlier_attempt_has_said_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(live=True)
    for each in (output(PARTIAL, "Hel"), output(PARTIAL, "lo", 2)):
        shown.show(each)
    assert shown.has("lo")
    shown.end()
    assert capsys.readouterr().out == "Hel\nlo\n"
