"""The Python client against a hub that answers from a table, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from gleitzeitd import errors
from gleitzeitd.client import Client, new_workflow_id
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import provider as v
from gleitzeitd.machines.feed import entry_of
from gleitzeitd.model.ledger import Audience, Fact, FeedStamp, OutputChunk
from gleitzeitd.model.names import Role, Shard, TaskId, WorkflowId, is_identifier
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.workflow import Priority
from gleitzeitd.plain import Json
from tests.scripted_hub import ScriptedHub, query, scripted_hub

W = WorkflowId("pipeline-1")
DOCUMENT = {"name": "Pipeline", "tasks": [{"id": "a", "method": "echo/echo"}]}


def stamp(number: int) -> FeedStamp:
    return FeedStamp(number=number, after_workflow=number - 1)


def fact(name: str, number: int, **body: Json) -> Json:
    return entry_of(
        Fact(
            name=name,
            workflow_id=W,
            shard=Shard(0),
            correlation_id="c" * 32,
            audience=Audience.NONE,
            stamp=stamp(number),
            body={"workflow_id": W, **body},
        )
    )


def client_of(hub: ScriptedHub, **options: Any) -> Client:
    return Client(hub.url, "secret", "test", **{"timeout": 5.0, "connect_timeout": 5.0, **options})


def submitted(asked: d.SubmitWorkflow) -> list[Event]:
    return [d.WorkflowSubmitted(workflow_id=asked.workflow_id)]


def summary(status: str = "completed", **more: Json) -> dict[str, Json]:
    return {
        "workflow_id": W,
        "name": "Pipeline",
        "status": status,
        "inputs": {},
        "tasks": 1,
        "invented_later": True,
        **more,
    }


async def test_the_token_and_the_role_go_with_the_connection() -> None:
    async with scripted_hub() as hub, client_of(hub):
        assert hub.auths[0]["token"] == "secret"
        assert hub.events("register_component")[0][1]["component_type"] == "client"


async def test_a_hub_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(errors.HubUnreachable, match="127.0.0.1:9"):
        async with Client("http://127.0.0.1:9", connect_timeout=0.3):
            pass


async def test_a_refused_token_is_told_at_once() -> None:
    async with scripted_hub(refusal="[-25005 AUTHENTICATION_FAILED] the token is wrong") as hub:
        with pytest.raises(errors.NotAuthenticated, match="the token is wrong"):
            async with client_of(hub, connect_timeout=30.0):
                pass


async def test_an_id_is_made_from_the_name() -> None:
    made = new_workflow_id("Größe & Co: nightly!")
    assert made.startswith("gr-e-co-nightly-")
    assert is_identifier(made)
    assert new_workflow_id("***").startswith("workflow-")


async def test_a_submitted_workflow_travels_as_it_was_written() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["submit_workflow"] = submitted
        made = await client.submit(DOCUMENT, inputs={"n": 1})
        (body,) = hub.bodies("submit_workflow")
        assert body == {"workflow_id": made.workflow_id, "workflow": DOCUMENT, "inputs": {"n": 1}}
        assert made.workflow_id.startswith("pipeline-")
        assert not made.duplicate


async def test_a_document_with_problems_does_not_leave_the_client() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        with pytest.raises(errors.WorkflowInvalid) as raised:
            await client.submit({"tasks": [{"id": "a", "method": "echo/echo", "dependencies": ["b"]}]})
        assert [problem.path for problem in raised.value.problems] == [("tasks", 0, "dependencies", 0)]
        assert not hub.bodies("submit_workflow")


async def test_problems_in_a_file_have_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("tasks:\n  - id: a\n    method: echo/echo\n    depends_on: [b]\n")
    async with scripted_hub() as hub, client_of(hub) as client:
        with pytest.raises(errors.WorkflowInvalid, match=r"w\.yaml:4:\d+: "):
            await client.submit(file)


async def test_a_refusal_brings_all_problems() -> None:
    def refuse(asked: d.SubmitWorkflow) -> list[Event]:
        problems = [Problem(path=("inputs", "n"), message="required, and not given")]
        error = ErrorInfo(code=-28001, name="WORKFLOW_VALIDATION_FAILED", message="1 problem")
        return [d.WorkflowRefused(workflow_id=asked.workflow_id, error=error, problems=problems)]

    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["submit_workflow"] = refuse
        with pytest.raises(errors.WorkflowInvalid, match="1 problem") as raised:
            await client.run(DOCUMENT)
        assert raised.value.problems[0].message == "required, and not given"


async def test_results_are_read_page_by_page() -> None:
    def pages(asked: p.QueryData) -> list[Event]:
        if asked.kind_of_data == "workflow":
            return [p.DataRetrieved(items=[summary(tasks=3)])]
        first = asked.after is None
        numbers = (0, 1) if first else (2,)
        if asked.kind_of_data == "tasks":
            items: list[Json] = [{"task_id": f"t{n}", "status": "completed", "extra": 1} for n in numbers]
        else:
            items = [[f"t{n}", n] for n in numbers]
        return [p.DataRetrieved(items=items, next="more" if first else None)]

    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = pages
        result = await client.result(W)
        assert [task.result for task in result.tasks.values()] == [0, 1, 2]
        assert result.completed
        assert list(result.plain()) == ["workflow_id", "name", "status", "inputs", "tasks"]


async def test_an_unknown_workflow_is_not_found() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = query()
        with pytest.raises(errors.WorkflowNotFound, match=W):
            await client.result(W)


async def test_a_run_sees_every_fact_in_order_and_the_result() -> None:
    entries: list[Json] = []

    def submit(asked: d.SubmitWorkflow) -> list[Event]:
        done = e.TaskCompleted(workflow_id=W, task_id=TaskId("a"), attempt=1, result=5, feed=stamp(2))
        end = d.WorkflowCompleted(workflow_id=W, feed=stamp(3))
        entries.extend(
            [fact("workflow_analyzed", 1, tasks=[]), fact("task_completed", 2, task_id="a", attempt=1)]
        )
        entries.append(fact("workflow_completed", 3))
        # The last one arrives first: the two before it have to be fetched.
        return [*submitted(asked), end, done]

    def answer(asked: p.QueryData) -> list[Event]:
        pages: dict[str, list[Json]] = {
            "history": [item for item in entries if item["stamp"]["number"] > (asked.after or 0)],
            "workflow": [summary()],
            "tasks": [{"task_id": "a", "status": "completed", "attempt": 1}],
            "results": [["a", 5]],
        }
        return [p.DataRetrieved(items=pages[asked.kind_of_data])]

    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers |= {"submit_workflow": submit, "query_data": answer}
        seen: list[str] = []
        result = await client.run(DOCUMENT, workflow_id=W, on_event=lambda each: seen.append(each.event.name))
        assert seen == ["workflow_analyzed", "task_completed", "workflow_completed"]
        assert result.tasks[TaskId("a")].result == 5
        await hub.until(lambda: hub.bodies("unsubscribe"))


async def test_watching_goes_on_after_a_number_and_ends_with_the_workflow() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = query(workflow=[summary("running")])
        seen: list[str] = []

        async def watch() -> None:
            async for published in client.watch(W, after=4):
                seen.append(published.event.name)

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await hub.until(lambda: len(hub.bodies("query_data")) >= 2)
            chunk = OutputChunk(stream="stdout", text="hello\n")
            await hub.publish(v.TaskOutput(workflow_id=W, task_id=TaskId("a"), attempt=1, chunks=[chunk]))
            await hub.publish(d.WorkflowCompleted(workflow_id=W, feed=stamp(4)))
            await hub.publish(e.TaskStarted(workflow_id=W, task_id=TaskId("a"), attempt=1, feed=stamp(5)))
            await hub.publish(d.WorkflowCompleted(workflow_id=W, feed=stamp(6)))
        assert seen == ["task_output", "task_started", "workflow_completed"]


async def test_what_has_ended_is_watched_from_its_history() -> None:
    history = [fact("workflow_analyzed", 1, tasks=[]), fact("workflow_completed", 2)]
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = query(workflow=[summary()], history=history)
        seen = [published.event.name async for published in client.watch(W)]
        assert seen == ["workflow_analyzed", "workflow_completed"]
        assert not hub.bodies("subscribe")


async def test_a_reader_who_is_too_slow_gets_everything_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gleitzeitd.runtime.conversation.STREAM_LIMIT", 3)
    entries = [fact("task_completed", n, task_id="a", attempt=1) for n in range(1, 9)]
    entries.append(fact("workflow_completed", 9))

    def answer(asked: p.QueryData) -> list[Event]:
        if asked.kind_of_data == "workflow":
            return [p.DataRetrieved(items=[summary("running")])]
        return [
            p.DataRetrieved(items=[item for item in entries if item["stamp"]["number"] > (asked.after or 0)])
        ]

    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = answer
        async with aclosing(client.watch(W)) as events:
            numbers = [published.event.feed.number async for published in events]  # type: ignore[attr-defined]
        assert numbers == list(range(1, 10))


async def test_a_timeout_says_what_was_awaited_and_who_is_missing() -> None:
    missing = h.NoComponentsAvailable(event="query_data", component_type=Role.PERSISTENCE)
    said: list[str] = []
    async with scripted_hub() as hub, client_of(hub, timeout=0.5, on_waiting=said.append) as client:
        hub.answers["query_data"] = lambda _: [missing]
        with pytest.raises(errors.AnswerTimeout) as raised:
            await client.status(W)
        assert str(raised.value) == "no answer to query_data within 0.5 s: no persistence is connected"
        assert said == ["no persistence is connected"]


async def test_a_shard_without_owner_is_named() -> None:
    missing = h.NoComponentsAvailable(
        event="check_dependencies", component_type=Role.DEPENDENCY_RESOLVER, shard_without_owner=3
    )
    async with scripted_hub() as hub, client_of(hub, timeout=0.3) as client:
        hub.answers["check_dependencies"] = lambda _: [missing]
        with pytest.raises(errors.AnswerTimeout, match="no dependency_resolver takes part in shard 3 yet"):
            await client.check(W)


async def test_what_the_hub_refuses_is_raised() -> None:
    error = ErrorInfo(code=-25006, name="AUTHORIZATION_FAILED", message="clients may not")
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["list_components"] = lambda _: [h.EventRefused(event="list_components", error=error)]
        with pytest.raises(errors.NotPermitted, match="clients may not"):
            await client.components()


async def test_an_error_of_the_ledger_is_raised() -> None:
    error = ErrorInfo(code=-26001, name="PERSISTENCE_CONNECTION_FAILED", message="disk full", retryable=True)
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = lambda _: [p.PersistenceError(error=error)]
        with pytest.raises(errors.StoreError, match="disk full"):
            await client.list()


@pytest.mark.parametrize(
    ("status", "raised"),
    [("missing", errors.WorkflowNotFound), ("stale", errors.WorkflowConflict)],
)
async def test_what_cannot_be_cancelled_says_why(status: str, raised: type[Exception]) -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["cancel_workflow"] = lambda _: [p.DataSaved(status=status, message="it is completed")]
        with pytest.raises(raised, match="it is completed"):
            await client.cancel(W, "enough")
        assert hub.bodies("cancel_workflow") == [{"workflow_id": W, "reason": "enough"}]


async def test_what_is_deleted_is_deleted_once_and_what_runs_is_refused_with_what_to_do() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["delete_workflow"] = lambda _: [p.DataSaved(status="duplicate", message="no workflow")]
        assert (await client.delete(W)).status == "duplicate"
        refusal = errors.WorkflowConflict("it is running: cancel it first").info()
        hub.answers["delete_workflow"] = lambda _: [p.PersistenceError(error=refusal)]
        with pytest.raises(errors.WorkflowConflict, match="cancel it first"):
            await client.delete(W)
        assert hub.bodies("delete_workflow") == [{"workflow_id": W}] * 2


async def test_whoever_watches_a_workflow_that_is_deleted_meanwhile_is_told_so() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = known_no_more
        with pytest.raises(errors.WorkflowNotFound, match="was deleted while it was watched"):
            async for _ in client.watch(W):
                pass


def known_no_more(asked: p.QueryData) -> list[Event]:
    """It was there when it was looked at, and is gone when its history is read."""
    there = asked.kind_of_data == "workflow"
    return [p.DataRetrieved(items=[summary("running")] if there else [], known=there)]


async def test_a_priority_is_a_number_on_the_wire() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["task_priority_changed"] = lambda _: [p.DataSaved(status="ok")]
        await client.set_priority(W, Priority.URGENT, ["a"])
        assert hub.bodies("task_priority_changed") == [{"workflow_id": W, "priority": 4, "task_ids": ["a"]}]


async def test_output_is_read_as_chunks() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = query(output=[["a", [{"stream": "stderr", "text": "oh"}]]])
        assert await client.output(W) == {"a": [OutputChunk(stream="stderr", text="oh")]}


async def test_a_list_ends_at_its_limit() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        hub.answers["query_data"] = lambda asked: [p.DataRetrieved(items=[summary()] * asked.limit, next="x")]
        assert len(await client.list(limit=3)) == 3
        assert len(hub.bodies("query_data")) == 1


async def test_who_waits_when_the_client_closes_is_told() -> None:
    async with scripted_hub() as hub:
        client = client_of(hub)
        async with asyncio.TaskGroup() as group:
            await client.__aenter__()
            waiting = group.create_task(_caught(client))
            await hub.until(lambda: hub.bodies("list_components"))
            await client.close()
        assert isinstance(waiting.result(), errors.HubUnreachable)


async def _caught(client: Client) -> Exception | None:
    try:
        await client.components()
    except errors.GleitzeitError as problem:
        return problem
    return None


async def test_a_request_outlives_the_connection() -> None:
    async with scripted_hub() as hub, client_of(hub) as client:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(client.components())
            await hub.until(lambda: hub.bodies("list_components"))
            hub.answers["list_components"] = lambda _: [h.ComponentList(components=[])]
            await hub.disconnect()
        assert waiting.result() == []


async def test_three_megabytes_of_workflow_are_submitted() -> None:
    tasks = [{"id": f"t{n}", "method": "echo/echo", "parameters": {"text": "x" * 250}} for n in range(10_000)]
    async with scripted_hub() as hub, client_of(hub, timeout=30.0) as client:
        hub.answers["submit_workflow"] = submitted
        await client.submit({"name": "Large", "tasks": tasks})
        assert len(hub.bodies("submit_workflow")[0]["workflow"]["tasks"]) == 10_000
