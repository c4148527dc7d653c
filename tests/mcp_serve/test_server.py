"""The tools in the hands of the official SDK's client, with the whole system in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp.server.lowlevel")

from mcp import Client as Host

from gleitzeitd.client import Client
from gleitzeitd.mcp_serve.allow import AllowList
from gleitzeitd.mcp_serve.calls import OWN, Calls, Settings
from gleitzeitd.mcp_serve.catalogue import Catalogue
from gleitzeitd.mcp_serve.server import make_server
from gleitzeitd.runtime.embedded import Embedded

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
GREET = {
    "name": "Greet",
    "description": "Says hello.",
    "inputs": {"name": {"type": "string", "description": "Who"}, "wait": {"type": "number", "default": 0}},
    "tasks": [
        {"id": "pause", "method": "echo/wait", "parameters": {"seconds": "${inputs.wait}"}},
        {
            "id": "say",
            "method": "echo/echo",
            "dependencies": ["pause"],
            "parameters": {"text": "Hello, ${inputs.name}"},
        },
    ],
}


@asynccontextmanager
async def serving(
    folder: Path, *, allow: tuple[str, ...] = ("echo/*",), patience: float = 20.0, at_once: int = 10
) -> AsyncIterator[tuple[Any, Client]]:
    """A server, and a client of the system that it is in front of."""
    (folder / "greet.json").write_text(json.dumps(GREET))
    async with (
        Embedded(database=folder / "g.db", works=True) as system,
        Client(system.hub_url, system.token) as client,
    ):
        catalogue = Catalogue(
            [folder / "greet.json"], AllowList.of(allow), client, lambda _: None, reserved=OWN
        )
        await catalogue.check()
        calls = Calls(client, catalogue, Settings(patience=patience, at_once=at_once), lambda _: None)
        yield make_server(catalogue, calls), client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_host_lists_tools_with_schemas_and_calls_them(tmp_path: Path, mode: str) -> None:
    async with serving(tmp_path) as (server, client), Host(server, mode=mode) as host:
        tools = {each.name: each for each in (await host.list_tools()).tools}
        assert {"greet", "echo_echo", "gleitzeit_result", "gleitzeit_status", "gleitzeit_cancel"} <= set(
            tools
        )
        assert "shell_execute" not in tools
        assert (tools["greet"].title, tools["greet"].description) == ("Greet", "Says hello.")
        assert tools["greet"].input_schema["properties"]["name"] == {"type": "string", "description": "Who"}
        assert tools["greet"].input_schema["required"] == ["name"]

        heard: list[tuple[float, float | None, str | None]] = []

        async def progress(done: float, total: float | None, said: str | None) -> None:
            heard.append((done, total, said))

        done = await host.call_tool("greet", {"name": "${inputs.wait}"}, progress_callback=progress)
        assert not done.is_error
        assert done.structured_content["results"] == {"say": {"text": "Hello, ${inputs.wait}"}}
        assert json.loads(done.content[0].text) == done.structured_content
        workflow_id = done.structured_content["workflow_id"]
        assert heard[0] == (0, 2, f"submitted as {workflow_id}")
        assert heard[-1] == (2, 2, "say: completed")
        assert [each[0] for each in heard] == sorted({each[0] for each in heard})
        metadata = (await client.status(workflow_id)).document["metadata"]
        assert metadata["submitted_by"] == "mcp" and metadata["mcp"]["tool"] == "greet"
        assert metadata["mcp"]["host"].startswith("mcp ")

        echoed = await host.call_tool("echo_echo", {"n": [1, "${say}"]})
        assert echoed.structured_content["result"] == {"n": [1, "${say}"]}


async def test_errors_are_answers_with_a_number_and_nothing_runs(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client), Host(server) as host:

        async def refused(tool: str, **arguments: Any) -> dict[str, Any]:
            answer = await host.call_tool(tool, arguments)
            assert answer.is_error
            error: dict[str, Any] = answer.structured_content["error"]
            assert f"[{error['name']} {error['code']}]" in answer.content[0].text
            return {
                "code": error["code"],
                "paths": [p["path"] for p in answer.structured_content.get("problems", [])],
            }

        assert await refused("greet", name=7, weit=1) == {"code": -28001, "paths": ["weit", "name"]}
        assert await refused("echo_wait", seconds="x") == {"code": -29006, "paths": ["seconds"]}
        assert (await refused("shell_execute", script="true"))["code"] == -25006
        assert (await refused("grete", name="x"))["code"] == -30008
        assert await refused("gleitzeit_result") == {"code": -29006, "paths": ["workflow_id"]}
        assert (await refused("gleitzeit_status", workflow_id="none"))["code"] == -28002
        assert list(await client.list()) == []
        assert (await refused("echo_fail", message="it broke"))["code"] == -29002


async def test_what_takes_long_answers_with_a_handle_that_can_be_asked(tmp_path: Path) -> None:
    async with serving(tmp_path, patience=0.3) as (server, client), Host(server) as host:
        waiting = await host.call_tool("greet", {"name": "Ada", "wait": 600})
        assert not waiting.is_error
        handle = {"workflow_id": waiting.structured_content["workflow_id"]}
        assert waiting.structured_content["status"] == "running"
        assert "gleitzeit_result" in waiting.content[0].text
        again = await host.call_tool("gleitzeit_result", {**handle, "wait_seconds": 0})
        assert again.structured_content["status"] == "running"
        stands = await host.call_tool("gleitzeit_status", handle)
        assert sum(stands.structured_content["tasks"].values()) == 2
        ending = await host.call_tool("gleitzeit_cancel", handle)
        assert ending.structured_content["status"] in ("cancelling", "cancelled")
        async for _ in client.watch(handle["workflow_id"]):
            pass
        over = await host.call_tool("gleitzeit_result", handle)
        assert over.is_error and over.structured_content["status"] == "cancelled"
        assert (await host.call_tool("gleitzeit_cancel", handle)).structured_content["status"] == "cancelled"

        short = await host.call_tool("greet", {"name": "Ada", "wait": 0.5})
        handle = {"workflow_id": short.structured_content["workflow_id"]}
        async for _ in client.watch(handle["workflow_id"]):
            pass
        done = await host.call_tool("gleitzeit_result", handle)
        assert done.structured_content["results"] == {"say": {"text": "Hello, Ada"}}
        assert (await host.call_tool("gleitzeit_cancel", handle)).structured_content["error"][
            "code"
        ] == -28007
        pause = await host.call_tool("gleitzeit_result", {**handle, "task": "pause"})
        assert list(pause.structured_content["results"]) == ["pause"]
        assert (await host.call_tool("gleitzeit_result", {**handle, "task": "x"})).is_error


async def test_workflows_that_came_otherwise_are_none_of_a_hosts_business(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client), Host(server) as host:
        await client.run(GREET, inputs={"name": "secret"}, workflow_id="private")
        for tool in ("gleitzeit_result", "gleitzeit_status", "gleitzeit_cancel"):
            answer = await host.call_tool(tool, {"workflow_id": "private"})
            assert answer.structured_content["error"]["code"] == -25006
            assert "secret" not in answer.content[0].text


async def test_a_request_that_the_host_cancels_ends_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client), Host(server, mode="legacy") as host:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def progress(done: float, total: float | None, said: str | None) -> None:
            if not told.done():
                told.set_result(str(said).rpartition(" ")[2])

        call = asyncio.create_task(
            host.call_tool("greet", {"name": "x", "wait": 0.5}, progress_callback=progress)
        )
        workflow_id = await told
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        done = await host.call_tool("gleitzeit_result", {"workflow_id": workflow_id})
        assert done.structured_content["status"] == "completed"


async def test_more_calls_than_allowed_at_once_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, patience=1.0, at_once=2) as (server, _), Host(server) as host:
        calls = [host.call_tool("echo_wait", {"seconds": 600}) for _ in range(3)]
        found = await asyncio.gather(*calls)
        assert sorted(each.is_error for each in found) == [False, False, True]
        (refused,) = (each for each in found if each.is_error)
        assert refused.structured_content["error"]["code"] == -30006
