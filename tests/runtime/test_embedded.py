"""The whole system in one process, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.errors import HubUnreachable, NotAuthenticated, StoreLocked
from gleitzeitd.machines.hub_settings import Settings as HubSettings
from gleitzeitd.runtime import embedded
from gleitzeitd.runtime.embedded import Embedded, default_parts


def workflow(method: str, **parameters: object) -> dict[str, object]:
    return {"name": "w", "tasks": [{"id": "a", "method": method, "parameters": parameters}]}


async def test_inside_it_workflows_run_and_afterwards_nothing_is_left(tmp_path: Path) -> None:
    async with Embedded(database=tmp_path / "db") as system:
        assert "0 shards" not in system.status_line()
        async with Client(system.hub_url, system.token) as client:
            result = await client.run(workflow("echo/echo", text="hello"))
            assert result.tasks["a"].result == {"text": "hello"}
    left = [str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    # Pings of the hub's library end with their next turn.
    assert [coroutine for coroutine in left if "send_ping" not in coroutine] == []


async def test_large_values_pass(tmp_path: Path) -> None:
    async with Embedded(database=tmp_path / "db") as system, Client(system.hub_url, system.token) as client:
        result = await client.run(workflow("echo/echo", text="x" * 6_000_000))
    assert len(result.tasks["a"].result["text"]) == 6_000_000


async def test_only_who_knows_the_token_gets_in(tmp_path: Path) -> None:
    async with Embedded(database=tmp_path / "db", works=False) as system:
        with pytest.raises(NotAuthenticated):
            async with Client(system.hub_url, "guessed"):
                pass


async def test_what_was_not_finished_goes_on_the_next_time(tmp_path: Path) -> None:
    async with Embedded(database=tmp_path / "db", works=False) as system:
        async with Client(system.hub_url, system.token) as client:
            submitted = await client.submit(workflow("echo/echo", text="later"))
    async with Embedded(database=tmp_path / "db") as system:
        async with Client(system.hub_url, system.token) as client:
            async for _ in client.watch(submitted.workflow_id):
                pass
            result = await client.result(submitted.workflow_id)
    assert result.tasks["a"].result == {"text": "later"}


async def test_a_database_in_use_is_said_without_a_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Embedded(database=tmp_path / "db", works=False):
        with pytest.raises(StoreLocked):
            async with Embedded(database=tmp_path / "db", works=False):
                pass
    assert "Traceback" not in caplog.text


async def test_a_part_that_never_comes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "READY_SECONDS", 0.7)
    parts = [part for part in default_parts(tmp_path / "db", works=False) if part.label != "persistence"]
    system = Embedded(parts=parts)
    with pytest.raises(
        HubUnreachable, match="waiting for 16 shards of dependency-resolver, 16 shards of queue"
    ):
        async with system:
            pass


async def test_a_hub_that_cannot_listen_is_an_error_of_the_operator(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    settings = HubSettings(port=unused_tcp_port)
    async with Embedded(database=tmp_path / "one", works=False, hub=settings) as system:
        assert system.hub_url == f"http://127.0.0.1:{unused_tcp_port}"
        problem = await Embedded(database=tmp_path / "two", works=False, hub=settings).start()
        assert isinstance(problem, OSError)
