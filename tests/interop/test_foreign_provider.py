"""A provider that has nothing of ours: in Python, ten lines and what a test adds; in JavaScript, all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gleitzeitd.client import Client
from gleitzeitd.runtime.embedded import Embedded
from tests.interop.node import needs_node
from tests.interop.plain import Plain

PROTOCOL = {"name": "weather/v1", "methods": {"weather/forecast": {"parameters": {"type": "object"}}}}
CALL = ("workflow_id", "task_id", "attempt")
JAVASCRIPT = Path(__file__).with_name("provider.js")


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Embedded]:
    async with Embedded(database=tmp_path / "db") as running:
        yield running


@pytest.fixture
async def client(system: Embedded) -> AsyncIterator[Client]:
    async with Client(system.hub_url, system.token) as ours:
        yield ours


@asynccontextmanager
async def provider(system: Embedded, answer: str, **fields: Any) -> AsyncIterator[Plain]:
    """It answers every call with this event and these fields."""
    plain = Plain(system.hub_url, system.token, "provider", "weather")

    async def execute(call: dict[str, Any]) -> None:
        plain.came.append(("execute_method", call))
        await plain.sio.emit(answer, {**{key: call[key] for key in CALL}, **fields})

    plain.sio.on("execute_method", execute)
    async with plain:
        await plain.sio.emit("register_protocol", {"protocol": PROTOCOL})
        await plain.sio.emit("register_provider", {"protocol": "weather/v1", "capacity": 2})
        await plain.get("provider_registered")
        yield plain


def workflow(**more: Any) -> dict[str, Any]:
    task = {"id": "sky", "method": "weather/forecast", "parameters": {"city": "Ulm"}, **more}
    return {"name": "w", "tasks": [task]}


async def test_its_result_is_the_tasks(system: Embedded, client: Client) -> None:
    async with provider(system, "method_result", result={"sky": "blue"}) as plain:
        result = await client.run(workflow())
        assert result.tasks["sky"].result == {"sky": "blue"}
        call = await plain.get("execute_method")
        assert call["parameters"] == {"city": "Ulm"}
        assert call["_reply_to"] == "weather"


async def test_its_error_is_the_tasks(system: Embedded, client: Client) -> None:
    error = {"code": -28001, "name": "CLOUDY", "message": "no view of the sky", "retryable": False}
    async with provider(system, "provider_error", error=error):
        result = await client.run(workflow(retry={"max_attempts": 3}))
        assert result.status == "failed"
        assert "no view of the sky" in str(result.tasks["sky"].error)


async def test_a_call_that_dies_with_it_is_made_again(system: Embedded, client: Client) -> None:
    async with provider(system, "task_progress", progress=0.5) as plain:  # and never a result
        submitted = await client.submit(workflow(retry={"max_attempts": 3, "base_delay": 0.1}))
        await plain.get("execute_method")
    async with provider(system, "method_result", result="blue"):
        async for _ in client.watch(submitted.workflow_id):
            pass
    result = await client.result(submitted.workflow_id)
    assert result.tasks["sky"].result == "blue"


async def test_a_cancelled_call_is_cancelled_there(system: Embedded, client: Client) -> None:
    async with provider(system, "task_progress", progress=0.5) as plain:
        submitted = await client.submit(workflow())
        await plain.get("execute_method")
        await client.cancel(submitted.workflow_id)
        order = await plain.get("cancel_method")
        error = {"code": -1, "name": "STOPPED", "message": "stopped"}
        await plain.sio.emit("provider_error", {**{key: order[key] for key in CALL}, "error": error})
        async for _ in client.watch(submitted.workflow_id):
            pass
    assert (await client.status(submitted.workflow_id)).status == "cancelled"


async def test_it_is_asked_how_it_is_and_may_keep_silent(system: Embedded, client: Client) -> None:
    async with provider(system, "method_result", result=1) as plain:
        await plain.sio.emit("health_status", {"health": "ok"})
        assert (await client.run(workflow())).status == "completed"
        assert [p for p in (await client.protocols()).providers if p.component_id == "weather"]


async def test_one_in_javascript_does_its_work(system: Embedded, client: Client) -> None:
    environment = needs_node()
    process = await asyncio.create_subprocess_exec(
        "node", str(JAVASCRIPT), system.hub_url, str(system.token), env=environment
    )
    try:
        # Accepted only when the protocol is known; what is ready waits for the provider.
        task = {"id": "a", "method": "greet/hello", "parameters": {"name": "Ada"}}
        async with asyncio.timeout(20):
            while "greet/v1" not in [each.name for each in (await client.protocols()).protocols]:
                assert process.returncode is None, "node has ended"
            result = await client.run({"name": "w", "tasks": [task]})
        assert result.tasks["a"].result == "Hello, Ada!"
    finally:
        process.terminate()
        await process.wait()
