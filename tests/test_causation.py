"""Every event that a workflow brings about says which one it follows from, back to its submission."""

from __future__ import annotations

from pathlib import Path

from gleitzeitd.client import Client
from gleitzeitd.events.hub import Subscribe, TraceRecord
from gleitzeitd.machines.base import Ask, Note, Tell, caused
from gleitzeitd.runtime.embedded import Embedded

WORKFLOW = {
    "name": "two after another, and one that is tried twice",
    "tasks": [
        {"id": "a", "method": "echo/echo", "parameters": {"text": "x"}},
        {"id": "b", "method": "echo/echo", "parameters": {"text": "${a.text}"}, "dependencies": ["a"]},
        {
            "id": "c",
            "method": "python/execute",
            "parameters": {"code": "1 / 0"},
            "retry": {"max_attempts": 2},
        },
    ],
}


async def traced(directory: Path) -> list[TraceRecord]:
    """What went through the hub for the workflow."""
    async with Embedded(database=directory / "db") as system:
        async with Client(system.hub_url, system.token) as client:
            submitted = await client.submit(WORKFLOW)
            async for _ in client.watch(submitted.workflow_id):
                pass
            report = await client.status(submitted.workflow_id)
            return list((await client.trace(report.correlation_id)).records)


async def test_only_the_submission_of_a_workflow_has_no_cause_within_its_trace(tmp_path: Path) -> None:
    records = await traced(tmp_path)
    known = {record.message_id for record in records}
    roots = [record.event for record in records if record.causation_id not in known]
    assert roots == ["submit_workflow"]
    events = {record.event for record in records}
    assert events >= {
        "task_available", "execute_task", "execute_method", "task_started", "task_completed", "task_failed",
        "workflow_analyzed", "dependencies_satisfied", "enqueue_task", "task_enqueued", "workflow_failed",
    }  # fmt: skip


def test_a_cause_is_given_to_events_that_name_none() -> None:
    event = Subscribe(topics=[])
    effects = [Tell(event), Ask("a", event, cause="own"), Note("info", "text", {})]
    assert caused(list(effects), "m") == [Tell(event, cause="m"), *effects[1:]]
