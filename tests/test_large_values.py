"""Values that are large together, or by themselves, cost nobody a connection: they go in parts, or are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.client import Client
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.events.codec import dumps
from gleitzeitd.machines.parcels import (
    PARCEL_SIZE,
    VALUE_NESTING,
    VALUE_SIZE,
    frame_size,
    parcels,
    value_problem,
)
from gleitzeitd.model.report import WorkflowResult
from gleitzeitd.runtime.embedded import Embedded


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with Embedded(database=tmp_path / "db") as system, Client(system.hub_url, system.token) as ours:
        yield ours


async def run(client: Client, workflow: dict[str, Any]) -> WorkflowResult:
    async with asyncio.timeout(60):
        return await client.run(workflow)


def letters(task_id: str, number: int) -> dict[str, Any]:
    return {"id": task_id, "method": "python/execute", "parameters": {"code": f"result = 'x' * {number}"}}


async def test_results_that_are_too_large_together_fail_the_task_that_wants_them(client: Client) -> None:
    tasks = [letters(f"a{n}", 5_000_000) for n in range(4)]
    wants = {f"p{n}": f"${{a{n}}}" for n in range(4)}
    tasks.append({"id": "join", "method": "echo/echo", "parameters": wants})
    result = await run(client, {"name": "join", "tasks": tasks})
    assert result.status == "failed"
    assert "too large" in str(result.tasks["join"].error)
    again = await run(client, {"name": "w", "tasks": [letters("a", 10)]})
    assert again.status == "completed"


async def test_many_tasks_with_large_parameters_are_made_ready_and_leased_in_parts(client: Client) -> None:
    tasks = [letters("a", 500_000)]
    tasks += [{"id": f"b{n}", "method": "echo/echo", "parameters": {"p": "${a}"}} for n in range(50)]
    result = await run(client, {"name": "fan-out", "tasks": tasks})
    assert result.status == "completed"


async def test_what_is_nested_ever_deeper_fails_one_day(client: Client) -> None:
    tasks: list[dict[str, Any]] = [{"id": "d0", "method": "echo/echo", "parameters": {"p": 1}}]
    tasks += [
        {"id": f"d{n}", "method": "echo/echo", "parameters": {"p": f"${{d{n - 1}}}"}}
        for n in range(1, VALUE_NESTING + 20)
    ]
    result = await run(client, {"name": "deep", "tasks": tasks})
    assert result.status == "failed"
    assert "nested too deep" in str(result.tasks[f"d{VALUE_NESTING}"].error)


async def test_a_request_that_no_hub_would_take_is_refused_at_once(client: Client) -> None:
    task = {"id": "a", "method": "echo/echo", "parameters": dict.fromkeys("abc", "x" * 6000000)}
    with pytest.raises(GleitzeitError, match="too large"):
        await client.submit({"name": "w", "tasks": [task]})
    assert await client.components()


@given(st.lists(st.integers(0, 2 * PARCEL_SIZE), max_size=20), st.integers(1, 5))
def test_parcels_hold_all_in_order_and_none_is_heavy_unless_it_holds_one_thing(
    weights: list[int], most: int
) -> None:
    found = list(parcels(weights, lambda item: item, most=most))
    assert [item for parcel in found for item in parcel] == weights
    assert all(0 < len(parcel) <= most for parcel in found)
    assert all(sum(parcel) <= PARCEL_SIZE or len(parcel) == 1 for parcel in found)


@given(st.text(max_size=50), st.integers(0, 400))
def test_a_size_is_never_told_too_small_where_it_matters(text: str, limit: int) -> None:
    true = len(json.dumps(text))
    assert (frame_size(text, limit) > limit) == (true > limit)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * 100, ""),
        ("x" * VALUE_SIZE, "too large"),
        ("é" * (VALUE_SIZE // 6), "too large"),
        ([[]] * 1000, ""),
    ],
)
def test_a_value_is_measured_as_it_is_sent(value: Any, said: str) -> None:
    problem = value_problem(value, dumps(value), "calls.result_bytes")
    assert said in problem
    assert bool(said) == bool(problem)


def test_what_is_too_large_is_told_with_the_setting_and_both_sizes() -> None:
    value = "x" * 2000
    said = value_problem(value, dumps(value), "calls.result_bytes", 1000)
    assert said == "too large: 2006 bytes as they are sent, and calls.result_bytes is 1000"
