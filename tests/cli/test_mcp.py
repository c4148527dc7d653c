"""``gleitzeit mcp serve`` as its hosts start it, in front of real daemons and by itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gleitzeitd.cli import cli, connection
from tests.daemons import Daemons, free_port

pytest.importorskip("mcp.server.lowlevel")

import httpx2
from mcp import Client as Host
from mcp import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ["-c", "from gleitzeitd.cli import main; main()", "mcp", "serve"]
PAUSE = {
    "name": "Pause",
    "inputs": {"seconds": "number"},
    "tasks": [
        {"id": "wait", "method": "echo/wait", "parameters": {"seconds": "${inputs.seconds}"}},
        {"id": "said", "method": "echo/echo", "dependencies": ["wait"], "parameters": {"text": "done"}},
    ],
}


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "pause.json"
    path.write_text(json.dumps(PAUSE))
    return path


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Without what the shell of whoever runs the tests says about hubs."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GLEITZEIT_")}
    return {**clean, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state"), **more}


def by_stdio(folder: Path, *arguments: str, **variables: str) -> Host:
    """A host that starts the command."""
    return Host(
        StdioServerParameters(
            command=sys.executable, args=[*PROGRAM, *arguments], env=environment(folder, **variables)
        )
    )


@asynccontextmanager
async def started(
    folder: Path, *arguments: str, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *PROGRAM,
        *arguments,
        env=environment(folder, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, what: str) -> str:
    """The line on standard error in which this stands."""
    assert process.stderr is not None
    while what not in (line := (await asyncio.wait_for(process.stderr.readline(), 30)).decode()):
        assert line, f"it ended without saying {what!r}"
    return line


@pytest.mark.slow
async def test_a_host_starts_it_and_calls_what_runs_in_its_process(tmp_path: Path, workflow: Path) -> None:
    async with by_stdio(tmp_path, "-w", str(workflow), "--allow", "python/execute") as host:
        tools = {each.name: each for each in (await host.list_tools()).tools}
        assert set(tools) == {
            "pause",
            "python_execute",
            "gleitzeit_result",
            "gleitzeit_status",
            "gleitzeit_cancel",
        }
        done = await host.call_tool("pause", {"seconds": 0})
        assert done.structured_content["results"] == {"said": {"text": "done"}}
        # What work prints, or reads, is not what the host says and hears.
        code = "import sys; print('{}'); result = sys.stdin.read()"
        printed = await host.call_tool("python_execute", {"code": code})
        assert printed.structured_content["result"]["result"] == ""
        wrong = await host.call_tool("pause", {"seconds": "x"})
        assert wrong.structured_content["problems"][0]["path"] == "seconds"
        refused = await host.call_tool("shell_execute", {"script": "true"})
        assert refused.structured_content["error"]["code"] == -25006


@pytest.mark.slow
async def test_the_configuration_of_a_host_in_the_readme_starts_it(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```json\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (configured,) = json.loads(text)["mcpServers"].values()
    assert configured["command"] == "gleitzeit"
    words = [str(ROOT / "examples") if each == "/srv/workflows" else each for each in configured["args"]]
    assert words[:2] == PROGRAM[-2:]
    async with by_stdio(tmp_path, *words[2:]) as host:
        names = {each.name for each in (await host.list_tools()).tools}
        assert {"inputs", "pipeline", "echo_ping"} <= names
        done = await host.call_tool("inputs", {"name": "Ada", "numbers": [2, 3]})
        assert done.structured_content["results"] == {"both": {"text": "Hello, Ada, the sum is 5"}}


@pytest.mark.slow
async def test_calls_outlive_the_hub_and_the_server_that_they_came_by(tmp_path: Path, workflow: Path) -> None:
    async with Daemons(tmp_path) as daemons:
        variables = {
            key: value for key, value in daemons.environment().items() if key.startswith("GLEITZEIT_")
        }
        async with by_stdio(tmp_path, "-w", str(workflow), **variables) as host:
            submitted: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            async def progress(done: float, total: float | None, what: str | None) -> None:
                if not submitted.done():
                    submitted.set_result(str(what).rpartition(" ")[2])

            call = asyncio.create_task(host.call_tool("pause", {"seconds": 1}, progress_callback=progress))
            handle = {"workflow_id": await submitted}
            daemons.kill("hub")
            daemons.start("hub")
            done = await call
            assert done.structured_content["results"] == {"said": {"text": "done"}}
        # Another one, as of a host that was started again, and over HTTP.
        (tmp_path / "token").write_text("let-me-in\n")
        http = ("--http", "127.0.0.1:0", "--http-token-file", str(tmp_path / "token"), "--patience", "0.3")
        async with started(tmp_path, "-w", str(workflow), *http, **variables) as process:
            url = (await said(process, "listening on")).split()[-1]
            async with (
                httpx2.AsyncClient(headers={"Authorization": "Bearer let-me-in"}, timeout=60) as client,
                Host(streamable_http_client(url, http_client=client)) as host,
                daemons.client() as watcher,
            ):
                again = await host.call_tool("gleitzeit_result", handle)
                assert again.structured_content == done.structured_content
                waiting = await host.call_tool("pause", {"seconds": 1})
                assert waiting.structured_content["status"] == "running"
                handle = {"workflow_id": waiting.structured_content["workflow_id"]}
                async for _ in watcher.watch(handle["workflow_id"]):
                    pass
                done = await host.call_tool("gleitzeit_result", handle)
                assert done.structured_content["results"] == {"said": {"text": "done"}}
                metadata = (await watcher.status(handle["workflow_id"])).document["metadata"]
                assert metadata["submitted_by"] == "mcp"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 130


@pytest.mark.slow
async def test_a_signal_ends_it_while_its_host_is_silent(tmp_path: Path, workflow: Path) -> None:
    async with started(tmp_path, "-w", str(workflow)) as process:
        assert "serving 1 tool (pause) in this process" in await said(process, "serving")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 130
        assert process.stdout is not None and await process.stdout.read() == b""


def serve(folder: Path, *arguments: str) -> Result:
    """With nothing set; not until it would serve."""
    runner = CliRunner(env=dict.fromkeys((k for k in os.environ if k.startswith("GLEITZEIT_")), None))
    return runner.invoke(cli, ["mcp", "serve", *arguments], env={"XDG_STATE_HOME": str(folder)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing would be served"),
        (["--allow", "workflow:x"], "nothing would be served"),
        (["--allow", "echo"], "--allow echo: expected a method"),
        (["--allow", "echo/*", "--patience", "0"], "--patience"),
        (["--allow", "echo/*", "--http", "8080"], "expected HOST:PORT"),
        (["--allow", "echo/*", "--http", "0.0.0.0:0"], "--http-token-file FILE"),
        (["--allow", "echo/*", "--http-token-file", "TOKEN"], "is for --http"),
        (["--allow", "echo/*", "--http", "0.0.0.0:0", "--http-token-file", "NONE"], "cannot be read"),
    ],
)
def test_a_wrong_command_line_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "TOKEN").write_text("x")
    placed = [str(tmp_path / each) if each in ("TOKEN", "NONE") else each for each in arguments]
    result = serve(tmp_path, *placed)
    assert result.exit_code == 2
    assert message in result.stderr and not result.stdout


def test_a_hub_that_cannot_be_reached_is_said_and_nothing_is_on_standard_output(
    tmp_path: Path, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    hub = f"http://127.0.0.1:{free_port()}"
    result = serve(tmp_path, "-w", str(workflow), "--hub", hub, "--token", "t", "--json")
    assert result.exit_code == 3
    assert hub in result.stderr and not result.stdout


def test_without_the_sdk_it_says_what_to_install(
    tmp_path: Path, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find: Any = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "mcp" else find(name, *rest))
    result = serve(tmp_path, "-w", str(workflow))
    assert result.exit_code == 2
    assert "gleitzeit-provider-mcp" in result.stderr


def test_it_ends_when_its_host_closes_its_input(tmp_path: Path, workflow: Path) -> None:
    result = serve(tmp_path, "-w", str(workflow))
    assert result.exit_code == 0
    assert "serving 1 tool (pause) in this process" in result.stderr and not result.stdout
