"""gleitzeit cancel and priority."""

from __future__ import annotations

import json

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
