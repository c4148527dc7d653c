"""What is shown of results."""

from __future__ import annotations

from typing import Any

import click
import pytest

from gleitzeitd.cli.outcome import essence, outcome_lines
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.report import TaskResult, WorkflowResult
from gleitzeitd.plain import Json


def script(value: Json, printed: str = "") -> Json:
    return {"result": value, "output": printed, "success": True, "error": None, "execution_time": 0.1}


def answer(text: str, data: Json) -> Json:
    return {"response": text, "content": text, "provider_id": "ollama", "json": data, "model": "m"}


def command(stdout: str, code: int = 0, stderr: str = "") -> Json:
    return {"exit_code": code, "stdout": stdout, "stderr": stderr, "execution_time": 0.1}


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (script([1, 2]), [1, 2]),
        (script({"a": 1}, "printed\n"), {"a": 1}),
        (script(None, "printed\n"), "printed"),
        (script(None), None),
        (script(0, "printed"), 0),
        (command("one\ntwo\n", stderr="a warning"), "one\ntwo"),
        (command("one\n", 3, "broken\n"), "exit code 3\none\nbroken"),
        (command("", -9), "exit code -9"),
        ({"result": 1}, {"result": 1}),
        ({"exit_code": 0}, {"exit_code": 0}),
        ("text", "text"),
        (None, None),
        (answer("hello", None), "hello"),
        (answer('{"a": 1}', {"a": 1}), {"a": 1}),
    ],
)
def test_of_a_result_the_essence_is_shown(result: Json, shown: Json) -> None:
    assert essence(result) == shown


def outcome(**results: Any) -> list[str]:
    tasks = {
        TaskId(name): TaskResult(task_id=TaskId(name), name=name, status="completed", result=result)
        for name, result in results.items()
    }
    made = WorkflowResult(workflow_id=WorkflowId("w"), name="W", status="completed", inputs={}, tasks=tasks)
    return [click.unstyle(line) for line in outcome_lines(made, short=True)[2:]]


def test_what_fits_has_one_line_and_what_does_not_stands_below_its_name() -> None:
    assert outcome(a=script({"n": 1})) == ['  a: {"n": 1}']
    assert outcome(a=command("one\ntwo\n")) == ["  a:", "    one", "    two"]
    first, *rest = outcome(a=script(list(range(1000, 1020))))
    assert (first, rest[0], len(rest)) == ("  a:", "    [", 6)


def test_a_command_without_output_is_said_to_have_none() -> None:
    assert outcome(a=command("")) == ["  a: no output"]
