"""gleitzeit cancel, resolve and priority."""

from __future__ import annotations

import json

import pytest

from gleitzeitd.model.ledger import Verdict
from gleitzeitd.model.workflow import Priority
from tests.cli.fake_client import FakeClient, a_task, a_workflow, call


def test_a_workflow_is_cancelled_with_a_reason() -> None:
    client = FakeClient([a_workflow(status="running")])
    result = call(client, "cancel", "pipe", "--reason", "the disk is full")
    assert result.output == "pipeline-1f0a is being cancelled\n"
    assert client.done[-1] == ("cancel", "pipeline-1f0a", "the disk is full")
    plain = json.loads(call(client, "cancel", "pipe", "--json").stdout)
    assert plain == {"workflow_id": "pipeline-1f0a", "status": "ok"}


def test_a_priority_is_given_by_name() -> None:
    client = FakeClient([a_workflow(status="running")], [a_task("a"), a_task("b")])
    result = call(client, "priority", "pipe", "urgent", "a", "b")
    assert result.exit_code == 0
    assert client.done[-1] == ("priority", "pipeline-1f0a", Priority.URGENT, ("a", "b"))
    assert call(client, "priority", "pipe", "soon").exit_code == 2
    unknown = call(client, "priority", "pipe", "low", "c")
    assert unknown.exit_code == 1
    assert "no task 'c'" in unknown.stderr


def test_a_task_that_is_unknown_is_resolved_at_the_attempt_that_was_looked_at() -> None:
    client = FakeClient([a_workflow(status="running")], [a_task("a", "unknown", attempt=2)])
    result = call(client, "resolve", "pipe", "a", "done", "--result", '{"n": 1}')
    assert result.output == "a is done\n"
    assert client.done[-1] == ("resolve", "pipeline-1f0a", "a", Verdict.DONE, {"n": 1}, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fail", "--result", "1"], "--result is for a task that is done, not for fail"),
        (["done", "--result", "paid"], "text needs quotes"),
        (["perhaps"], "perhaps"),
    ],
)
def test_a_verdict_that_cannot_be_meant_is_refused(arguments: list[str], message: str) -> None:
    result = call(FakeClient([a_workflow()], [a_task("a")]), "resolve", "pipe", "a", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
