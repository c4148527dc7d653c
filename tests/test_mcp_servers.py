"""MCP servers that nobody here has written, from PyPI and npm, in a workflow through real daemons."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.providers.mcp_sdk import find_sdk
from tests.daemons import Daemons, free_port
from tests.fake_mcp import SCRIPT, ended
from tests.real_mcp import everything_on, everything_server, time_server, toml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_sdk(), reason="the SDK of MCP is not installed"),
]

WORKFLOW = {
    "id": "tools",
    "name": "tools",
    "tasks": [
        {"id": "list", "method": "mcp/tools/list"},
        {"id": "echo", "method": "mcp/tool.every.echo", "parameters": {"message": "once"}},
        {"id": "clock", "method": "mcp/tool.time.get_current_time", "parameters": {"timezone": "UTC"}},
        {"id": "sum", "method": "mcp/tool.web.get-sum", "parameters": {"a": 1, "b": 2}},
        {
            "id": "gate",
            "method": "echo/wait",
            "parameters": {"seconds": 1},
            "dependencies": ["list", "echo", "clock", "sum"],
        },
        {
            "id": "echo-again",
            "method": "mcp/tool.every.echo",
            "parameters": {"message": "${echo.response}, ${clock.json.timezone}"},
            "dependencies": ["gate"],
        },
        {
            "id": "sum-again",
            "method": "mcp/tool.web.get-sum",
            "parameters": {"arguments": {"a": 20, "b": 22}},
            "dependencies": ["gate"],
        },
        {"id": "image", "method": "mcp/tool.every.get-tiny-image", "dependencies": ["gate"]},
        {
            "id": "clock-again",
            "method": "mcp/tool.time.get_current_time",
            "parameters": {"timezone": "${clock.json.timezone}"},
            "dependencies": ["gate"],
        },
    ],
}
"""``every`` and ``time`` are programs, ``web`` is reached over HTTP; all three die at the gate."""


async def how_they_are(client: Client) -> dict[str, dict]:
    done = await client.run({"name": "look", "tasks": [{"id": "look", "method": "mcp/servers"}]})
    return {each["name"]: each for each in done.tasks["look"].result["servers"]}


async def test_a_workflow_calls_tools_of_real_servers_which_are_killed_on_the_way(tmp_path: Path) -> None:
    port = free_port()
    node, program = everything_server()
    servers = [
        {"name": "every", "command": node, "args": [program, "stdio"]},
        {"name": "time", "command": time_server()[0]},
        {"name": "web", "url": f"http://127.0.0.1:{port}/mcp"},
    ]
    environment = {
        "GLEITZEIT_PROVIDER_SERVERS": toml(servers),
        "GLEITZEIT_PROVIDER_START_SECONDS": "25",
    }
    daemons = Daemons(
        tmp_path,
        providers=("echo", "mcp"),
        environment_of=lambda name: environment if name == "provider-mcp" else {},
    )
    async with everything_on(port, tmp_path) as first, daemons, daemons.client() as client:
        before = await how_they_are(client)
        assert {each["state"] for each in before.values()} == {"connected"}, before
        with pytest.raises(WorkflowInvalid) as refused:
            wrong = {"id": "sum", "method": "mcp/tool.web.get-sum", "parameters": {"a": 1, "b": "two"}}
            await client.submit({"name": "wrong", "tasks": [wrong]})
        assert "expected a number" in str(refused.value.problems)
        await client.submit(WORKFLOW)
        async for seen in client.watch("tools"):
            if seen.event.name == "task_started" and seen.event.task_id == "gate":
                break
        for name in ("every", "time"):
            os.kill(before[name]["pid"], signal.SIGKILL)
        first.kill()
        await first.wait()
        async with everything_on(port, tmp_path):
            async for _ in client.watch("tools"):
                pass
            result = await client.result("tools")
            after = await how_they_are(client)
    results = {name: task.result for name, task in result.tasks.items()}
    assert result.status == "completed", result.plain()
    assert results["list"]["count"] == sum(each["tools"] for each in before.values())
    assert results["echo-again"]["response"] == "Echo: Echo: once, UTC"
    assert "42" in results["sum-again"]["response"]
    assert results["image"]["images"][0].startswith("iVBOR")
    assert results["clock-again"]["json"]["timezone"] == "UTC"
    assert {name: each["starts"] for name, each in after.items()} == {"every": 2, "time": 2, "web": 2}
    assert all(ended(each["pid"]) for each in (*before.values(), *after.values()) if each["pid"])


async def test_a_tool_that_a_server_has_learned_is_a_method_at_once(tmp_path: Path) -> None:
    servers = [{"name": "one", "command": sys.executable, "args": [str(SCRIPT)]}]
    daemons = Daemons(
        tmp_path,
        providers=("echo", "mcp"),
        environment_of=lambda name: (
            {"GLEITZEIT_PROVIDER_SERVERS": toml(servers)} if name == "provider-mcp" else {}
        ),
    )
    use = {"name": "use", "tasks": [{"id": "use", "method": "mcp/tool.new"}]}
    learn = {"id": "learn", "method": "mcp/tool.learn", "parameters": {"name": "new"}}
    async with daemons, daemons.client() as client:
        assert (await how_they_are(client))["one"]["state"] == "connected"
        with pytest.raises(WorkflowInvalid) as refused:
            await client.submit(use)
        assert "has no method 'mcp/tool.new'" in str(refused.value.problems)
        await client.run({"name": "learn", "tasks": [learn]})
        async with asyncio.timeout(10):
            while True:
                try:
                    result = await client.run(use)
                    break
                except WorkflowInvalid:
                    await asyncio.sleep(0.05)
    assert result.tasks["use"].result["response"] == "new"
    assert "replaced by a different one" not in daemons.log("protocol-registry")
