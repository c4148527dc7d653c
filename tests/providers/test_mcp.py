"""``mcp/v1`` without and with the server for trying out, in one process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import pytest

from gleitzeitd.errors import (
    ConfigError,
    ExecutionFailed,
    MethodNotSupported,
    ParameterInvalid,
    ProviderOverloaded,
    TaskTimeout,
)
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.mcp import McpProvider
from gleitzeitd.providers.mcp_sdk import find_sdk
from gleitzeitd.providers.mcp_settings import McpSettings, ServerSettings
from tests.daemons import free_port
from tests.fake_mcp import SCRIPT, ended, listening

needs_sdk = pytest.mark.skipif(not find_sdk(), reason="the SDK of MCP is not installed")


def scripted(name: str = "one", **more) -> ServerSettings:
    return ServerSettings(name=name, command=sys.executable, args=[str(SCRIPT)], **more)


class Calls:
    """A provider, and calls of it."""

    def __init__(self, provider: McpProvider) -> None:
        self.provider = provider
        self.told = 0
        provider.watch_protocol(self._changed)

    def _changed(self) -> None:
        self.told += 1

    @property
    def methods(self) -> set[str]:
        return set(self.provider.protocol().methods)

    async def __call__(self, method: str, limit: float | None = None, **parameters):
        return await self.provider.call(
            MethodCall(method=f"mcp/{method}", parameters=parameters, timeout=limit)
        )

    async def until(self, wanted) -> None:
        async with asyncio.timeout(20):
            while not wanted():
                await asyncio.sleep(0.01)

    async def pid(self, name: str) -> int:
        found = await self("servers")
        return next(each["pid"] for each in found["servers"] if each["name"] == name)


@pytest.fixture
async def made():
    providers = []

    async def make(*servers: ServerSettings, environment=None, **more) -> Calls:
        given = {"PATH": os.environ["PATH"], **(environment or {})}
        settings = McpSettings(servers=list(servers), **{"restart_seconds": 0.05, **more})
        provider = McpProvider(settings, environment=given)
        providers.append(provider)
        calls = Calls(provider)
        await provider.start()
        return calls

    yield make
    for provider in providers:
        await provider.stop()


# --- the server for trying out --------------------------------------------------------------------


@needs_sdk
async def test_without_settings_the_tools_of_the_small_server_are_there(made) -> None:
    mcp = await made()
    assert {"mcp/tool.echo", "mcp/tool.add", "mcp/tool.multiply", "mcp/tool.concat"} < mcp.methods
    assert (await mcp("servers"))["servers"][0]["state"] == "not used yet"
    echo = await mcp("tool.echo", message="hello")
    assert (echo["response"], echo["echoed"], echo["length"]) == ("hello", "hello", 5)
    added = await mcp("tool.add", a=1, b=2)
    assert (added["response"], added["result"], added["calculation"]) == ("3", 3, "1 + 2 = 3")
    multiplied = await mcp("tool.demo.multiply", a=1.5, b=2)
    assert (multiplied["response"], multiplied["result"]) == ("3.0", 3.0)
    joined = await mcp("tool.concat", strings=["a", "b"], separator="-")
    assert (joined["response"], joined["joined"], joined["count"]) == ("a-b", "a-b", 2)


@needs_sdk
async def test_arguments_may_all_be_in_one_parameter(made) -> None:
    mcp = await made()
    assert (await mcp("tool.add", arguments={"a": 1, "b": 2}))["result"] == 3
    with pytest.raises(ParameterInvalid, match=r"arguments\.b: missing"):
        await mcp("tool.add", arguments={"a": 1})


@needs_sdk
async def test_a_wrong_argument_is_refused_before_the_server_is_asked(made) -> None:
    mcp = await made()
    with pytest.raises(ParameterInvalid, match="a: expected a number.*b: missing"):
        await mcp("tool.add", a="one")
    assert (await mcp("servers"))["servers"][0]["starts"] == 0
    with pytest.raises(MethodNotSupported):
        await mcp("tool.divide", a=1, b=2)


@needs_sdk
async def test_resources_and_prompts_of_a_server_can_be_used(made) -> None:
    mcp = await made()
    listed = await mcp("resources/list")
    assert [each["uri"] for each in listed["resources"]] == ["demo://about"]
    assert "gleitzeit" in (await mcp("resources/read", uri="demo://about"))["response"]
    with pytest.raises(ParameterInvalid, match="demo://nothing"):
        await mcp("resources/read", uri="demo://nothing")
    assert [each["name"] for each in (await mcp("prompts/list"))["prompts"]] == ["greeting"]
    prompt = await mcp("prompts/get", name="greeting", arguments={"name": "Ann"})
    assert prompt["messages"] == [{"role": "user", "content": "Write a friendly greeting to Ann."}]
    assert (await mcp("ping"))["pong"] is True
    assert (await mcp("server_info"))["name"] == "demo"
    assert (await mcp("tools/list"))["count"] == 4


async def test_without_the_sdk_nothing_is_offered_and_settings_say_what_to_install(
    monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr("gleitzeitd.providers.mcp_sdk._is_there", lambda: False)
    bare = McpProvider(McpSettings(sdk_directory=str(tmp_path)))
    await bare.start()
    assert not any(name.startswith("mcp/tool.") for name in bare.protocol().methods)
    wanting = McpProvider(McpSettings(servers=[scripted()], sdk_directory=str(tmp_path)))
    with pytest.raises(ConfigError, match="gleitzeit-provider-mcp"):
        await wanting.start()
    assert ConfigError.code == -31002


# --- servers over stdio ---------------------------------------------------------------------------


@needs_sdk
@pytest.mark.slow
async def test_with_several_servers_tools_have_the_servers_names_in_front(made) -> None:
    mcp = await made(scripted("one"), scripted("two", tool_prefix="zwei_", tools=["sp*"]))
    assert {"mcp/tool.one.spell", "mcp/tool.one.pid", "mcp/tool.zwei_spell"} < mcp.methods
    assert "mcp/tool.zwei_pid" not in mcp.methods
    assert "mcp/tool.spell" not in mcp.methods
    with pytest.raises(ParameterInvalid, match="which one"):
        await mcp("server_info")
    with pytest.raises(ParameterInvalid, match="tow.*two"):
        await mcp("server_info", server="tow")
    assert (await mcp("server_info", server="two"))["name"] == "scripted"


@needs_sdk
@pytest.mark.slow
async def test_images_and_several_texts_are_in_the_result(made) -> None:
    mcp = await made(scripted())
    result = await mcp("tool.picture")
    assert result["response"] == "a\nb"
    assert result["images"] == ["aGVsbG8="]
    assert result["content"][2] == {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}
    assert result["structured"] is None


@needs_sdk
@pytest.mark.slow
async def test_what_a_tool_calls_an_error_is_one(made) -> None:
    mcp = await made(scripted())
    with pytest.raises(ExecutionFailed, match="no luck today") as caught:
        await mcp("tool.fail")
    assert caught.value.code == -29002


@needs_sdk
@pytest.mark.slow
async def test_progress_is_passed_on(made) -> None:
    mcp = await made(scripted())
    heard = []
    call = MethodCall(
        method="mcp/tool.steps", parameters={}, on_progress=lambda ratio, text: heard.append((ratio, text))
    )
    assert (await mcp.provider.call(call))["response"] == "done"
    assert (0.5, "half") in heard


@needs_sdk
@pytest.mark.slow
async def test_a_call_that_takes_too_long_is_ended_and_the_server_stays(made) -> None:
    mcp = await made(scripted())
    pid = await mcp.pid("one")
    with pytest.raises(TaskTimeout):
        await mcp("tool.wait", limit=0.2)
    assert (await mcp("tool.pid"))["response"] == str(pid)


@needs_sdk
@pytest.mark.slow
async def test_a_killed_server_is_started_again_and_a_harmless_call_is_repeated(made) -> None:
    mcp = await made(scripted())
    pid = await mcp.pid("one")
    os.kill(pid, signal.SIGKILL)
    assert int((await mcp("tool.pid"))["response"]) != pid


@needs_sdk
@pytest.mark.slow
async def test_a_call_during_which_its_server_dies_fails_and_may_be_tried_again(made) -> None:
    mcp = await made(scripted())
    with pytest.raises(ExecutionFailed, match="went away during the call") as caught:
        await mcp("tool.die")
    assert caught.value.retryable
    assert (await mcp("tool.spell", word="ab"))["response"] == "a b"


@needs_sdk
@pytest.mark.slow
async def test_a_server_that_does_not_start_hands_calls_back_and_keeps_its_tools(made, tmp_path) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path)}
    first = await made(scripted(), environment=state)
    assert (await first("tool.spell", word="ab"))["response"] == "a b"
    await first.provider.stop()
    broken = ServerSettings(name="one", command="/bin/false")
    mcp = await made(broken, environment=state, wait_seconds=0.1)
    assert "mcp/tool.spell" in mcp.methods
    with pytest.raises(ProviderOverloaded, match="one .*/bin/false.* is not there: it ended with 1"):
        await mcp("tool.spell", word="ab")
    assert "no server can be used" in await mcp.provider.health()
    gone = await made(broken, environment=state, wait_seconds=0.1, give_up_seconds=0)
    with pytest.raises(ExecutionFailed, match="is not there"):
        await gone("tool.spell", word="ab")


@needs_sdk
@pytest.mark.slow
async def test_a_program_that_does_not_exist_is_a_mistake_in_the_settings(made) -> None:
    with pytest.raises(ConfigError, match="server one: nothing-of-this-name: there is no such program"):
        await made(ServerSettings(name="one", command="nothing-of-this-name"))


@needs_sdk
@pytest.mark.slow
async def test_tools_that_come_and_go_change_the_protocol(made, monkeypatch) -> None:
    monkeypatch.setattr("gleitzeitd.providers.mcp.RETIRE_SECONDS", 0.05)
    mcp = await made(scripted())
    told = mcp.told
    assert "mcp/tool.new" not in mcp.methods
    await mcp("tool.learn", name="new")
    await mcp.until(lambda: "mcp/tool.new" in mcp.methods)
    assert mcp.told > told
    assert (await mcp("tool.new"))["response"] == "new"
    await mcp("tool.forget", name="new")
    await mcp.until(lambda: "mcp/tool.new" not in mcp.methods)


@needs_sdk
@pytest.mark.slow
async def test_a_server_has_limits_and_little_of_the_environment(made) -> None:
    given = {"OPENAI_API_KEY": "sk-nobody-else", "LC_ALL": "C.UTF-8"}
    server = scripted(max_open_files=99, max_memory_bytes=2**30, env={"OWN": "1"})
    mcp = await made(server, environment=given)
    state = json.loads((await mcp("tool.state"))["response"])
    assert state["files"] == 99
    assert state["data"] == 2**30
    assert state["environment"]["OWN"] == "1"
    assert state["environment"]["LC_ALL"] == "C.UTF-8"
    assert "OPENAI_API_KEY" not in state["environment"]


@needs_sdk
@pytest.mark.slow
async def test_a_message_that_is_too_large_ends_the_server_and_only_that(made) -> None:
    mcp = await made(scripted(), max_message_bytes=100_000)
    pid = await mcp.pid("one")
    with pytest.raises(ExecutionFailed, match="went away"):
        await mcp("tool.flood", size=200_000)
    await mcp.until(lambda: ended(pid))
    assert (await mcp("tool.spell", word="ab"))["response"] == "a b"


@needs_sdk
@pytest.mark.slow
async def test_nothing_that_a_server_has_started_outlives_the_provider(made) -> None:
    mcp = await made(scripted())
    server = await mcp.pid("one")
    child = int((await mcp("tool.spawn"))["response"])
    await mcp.provider.stop()
    assert ended(server)
    assert ended(child)


# --- secrets, and servers over HTTP ---------------------------------------------------------------


@needs_sdk
@pytest.mark.slow
async def test_a_secret_reaches_the_server_and_no_result(made, tmp_path, caplog) -> None:
    (tmp_path / "key").write_text("very-secret-key-17\n")
    server = scripted(env={"KEY": "Bearer {credential:key}"})
    mcp = await made(server, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    said = (await mcp("tool.state"))["response"]
    assert "Bearer" not in said
    assert "very-secret-key-17" not in said
    with pytest.raises(ExecutionFailed) as caught:
        await mcp("tool.fail", message="very-secret-key-17")
    assert "very-secret" not in str(caught.value)
    assert "very-secret" not in caplog.text
    with pytest.raises(ConfigError, match="server one: env.KEY: there is no systemd credential key"):
        await made(server)


@needs_sdk
@pytest.mark.slow
async def test_a_server_over_http_gets_its_headers_and_is_found_again(made, tmp_path) -> None:
    (tmp_path / "key").write_text("very-secret-key-17\n")
    port = free_port()
    settings = ServerSettings(
        name="web",
        url=f"http://127.0.0.1:{port}/mcp",
        headers={"Authorization": f"Bearer {{file:{tmp_path}/key}}"},
    )
    async with listening(port) as server:
        mcp = await made(settings, check_seconds=0.2, wait_seconds=0.3)
        headers = json.loads((await mcp("tool.headers"))["response"])
        assert headers["authorization"] == "(key)"
        pid = int((await mcp("tool.pid"))["response"])
        assert pid == server.pid
    with pytest.raises((ProviderOverloaded, ExecutionFailed)):
        await mcp("tool.spell", word="ab")
    async with listening(port):
        await mcp.until(lambda: mcp.provider._servers["web"].state == "connected")
        assert int((await mcp("tool.pid"))["response"]) != pid
