"""A client in plain python-socketio, one flat object per event: submit, watch, ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import socketio

from gleitzeitd.errors import WorkflowConflict
from gleitzeitd.runtime.embedded import Embedded
from tests.interop.plain import Plain


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Embedded]:
    async with Embedded(database=tmp_path / "db") as running:
        yield running


@pytest.fixture
async def client(system: Embedded) -> AsyncIterator[Plain]:
    async with Plain(system.hub_url, system.token, "client", "stranger") as plain:
        yield plain


def workflow(**parameters: Any) -> dict[str, Any]:
    return {"name": "w", "tasks": [{"id": "a", "method": "echo/echo", "parameters": parameters}]}


async def test_a_workflow_is_submitted_watched_and_asked_about(client: Plain) -> None:
    await client.ask("subscribe", "subscribed", topics=["w1"])
    accepted = await client.ask(
        "submit_workflow", "workflow_submitted", workflow_id="w1", workflow=workflow(text="hello")
    )
    assert accepted["workflow_id"] == "w1"
    completed = await client.get("workflow_completed", workflow_id="w1")
    assert completed["_correlation_id"] == accepted["_correlation_id"]
    seen = [name for name, data in client.came if data.get("workflow_id") == "w1" and "feed" in data]
    assert seen == ["workflow_analyzed", "task_started", "task_completed", "workflow_completed"]
    assert (await client.get("task_completed"))["result"] == {"text": "hello"}
    status = await client.ask("query_status", "status_response", workflow_id="w1")
    assert status["status"] == "completed"
    results = await client.ask("query_data", "data_retrieved", kind_of_data="results", workflow_id="w1")
    assert results["items"] == [["a", {"text": "hello"}]]


async def test_an_envelope_may_be_left_out(client: Plain) -> None:
    await client.sio.emit("submit_workflow", {"workflow_id": "w2", "workflow": workflow()})
    accepted = await client.get("workflow_submitted", workflow_id="w2")
    keys = {key for key in accepted if key.startswith("_")}
    assert keys == {
        "_message_id", "_correlation_id", "_causation_id", "_source_component", "_timestamp", "_reply_to",
        "_topic",
    } | (keys & {"_shard"})  # fmt: skip
    assert accepted["_reply_to"] == "stranger"


async def test_a_correlation_id_of_its_own_goes_all_the_way(client: Plain) -> None:
    mine = "0123456789abcdef" * 2
    await client.sio.emit("subscribe", {"topics": ["w3"]})
    await client.sio.emit(
        "submit_workflow", {"workflow_id": "w3", "workflow": workflow(), "_correlation_id": mine}
    )
    assert (await client.get("workflow_completed", workflow_id="w3"))["_correlation_id"] == mine


async def test_the_same_submission_twice_runs_once(client: Plain) -> None:
    await client.ask("submit_workflow", "workflow_submitted", workflow_id="w4", workflow=workflow())
    again = await client.ask("submit_workflow", "workflow_submitted", workflow_id="w4", workflow=workflow())
    assert again["duplicate"] is True
    refused = await client.ask(
        "submit_workflow", "workflow_refused", workflow_id="w4", workflow=workflow(x=1)
    )
    assert refused["error"]["code"] == WorkflowConflict.code


async def test_all_that_is_wrong_is_said_at_once(client: Plain) -> None:
    tasks = [{"id": "a", "method": "echo/nothing"}, {"id": "b", "dependencies": ["c"]}]
    refused = await client.ask(
        "submit_workflow", "workflow_refused", workflow_id="w5", workflow={"name": "w", "tasks": tasks}
    )
    assert len(refused["problems"]) >= 2


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("task_completed", {"workflow_id": "w", "task_id": "a", "attempt": 1}),
        ("save_task", {}),
        ("no_such_event", {}),
        ("query_status", {}),
        ("query_status", {"workflow_id": 1}),
        ("submit_workflow", {"workflow_id": "w", "workflow": {}, "surprise": 1}),
    ],
)
async def test_what_it_may_not_send_or_sends_wrongly_is_refused(
    client: Plain, event: str, fields: dict[str, Any]
) -> None:
    refused = await client.ask(event, "event_refused", **fields)
    assert refused["event"] == event
    assert refused["error"]["code"] < 0
    assert (await client.ask("list_components", "component_list"))["components"]


async def test_it_sees_who_is_connected_and_which_protocols_there_are(client: Plain) -> None:
    components = (await client.ask("list_components", "component_list"))["components"]
    assert components[0]["component_type"] == "hub"
    assert "stranger" in [each["component_id"] for each in components]
    protocols = (await client.ask("list_protocols", "protocol_list"))["protocols"]
    assert "echo/v1" in [each["name"] for each in protocols]


async def test_a_running_workflow_can_be_cancelled(client: Plain) -> None:
    await client.ask("subscribe", "subscribed", topics=["w6"])
    slow = {"name": "w", "tasks": [{"id": "a", "method": "echo/wait", "parameters": {"seconds": 60}}]}
    await client.ask("submit_workflow", "workflow_submitted", workflow_id="w6", workflow=slow)
    await client.get("task_started", workflow_id="w6")
    saved = await client.ask("cancel_workflow", "data_saved", workflow_id="w6", reason="enough")
    assert saved["status"] == "ok"
    await client.get("workflow_cancelled", workflow_id="w6")


async def test_nobody_gets_in_without_the_token(system: Embedded) -> None:
    for token in (None, "", "guessed", 5):
        with pytest.raises(socketio.exceptions.ConnectionError):
            await Plain(system.hub_url, token, "client", "nobody").connect()  # type: ignore[arg-type]
