"""gleitzeit delete."""

from __future__ import annotations

import json

from tests.cli.fake_client import FakeClient, a_workflow, call


def deleted(client: FakeClient) -> list[str]:
    return [what[1] for what in client.done if what[0] == "delete"]


def test_several_are_deleted_each_once() -> None:
    client = FakeClient([a_workflow("b-2"), a_workflow("a-1")])
    result = call(client, "delete", "b", "a-1", "b-2")
    assert result.output == "b-2 is deleted\na-1 is deleted\n"
    assert deleted(client) == ["b-2", "a-1"]
    assert json.loads(call(client, "delete", "a-1", "--json").stdout) == {"deleted": ["a-1"]}


def test_a_name_that_is_wrong_costs_nothing() -> None:
    client = FakeClient([a_workflow("a-1")])
    result = call(client, "delete", "a-1", "other")
    assert result.exit_code == 1
    assert "other: no such workflow (any more)" in result.stderr
    assert deleted(client) == []


def test_what_runs_is_refused_with_its_number_and_what_to_do() -> None:
    client = FakeClient([a_workflow("a-1", status="running")])
    result = call(client, "delete", "a-1")
    assert result.exit_code == 1
    assert "cancel it first" in result.stderr
    plain = json.loads(call(client, "delete", "a-1", "--json").stdout)
    assert plain["error"]["code"] == -28007


def test_nothing_named_is_nothing_deleted() -> None:
    client = FakeClient([a_workflow("a-1")])
    assert call(client, "delete").exit_code == 2
    assert deleted(client) == []
