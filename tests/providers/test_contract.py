from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gleitzeitd.providers.echo import EchoProvider, EchoSettings
from gleitzeitd.providers.grpc import GrpcProvider, GrpcSettings
from gleitzeitd.providers.http import HttpProvider, HttpSettings
from gleitzeitd.providers.kit import MethodCall, MethodProvider, MethodProviderSettings
from gleitzeitd.providers.llm import LlmProvider, LlmSettings
from gleitzeitd.providers.mcp import McpProvider
from gleitzeitd.providers.mcp_sdk import find_sdk
from gleitzeitd.providers.mcp_settings import McpSettings, ServerSettings
from gleitzeitd.providers.python import PythonProvider, PythonSettings
from gleitzeitd.providers.shell import ShellProvider, ShellSettings
from tests.fake_grpc import SERVICE, FakeGrpc
from tests.fake_mcp import SCRIPT
from tests.providers.contract import ProviderContract, Subject


class Weather(MethodProvider):
    """What the sky will do."""

    protocol_name = "weather/v1"

    async def forecast(self, city: str, days: int = 3) -> dict:
        """The weather of the next days."""
        return {"city": city, "days": days}

    async def observe(self, call: MethodCall, minutes: int) -> None:
        """Look at the sky."""
        call.on_output("stdout", "looking up")
        await asyncio.sleep(60 * minutes)


def weather(server: TestServer, begun: asyncio.Semaphore) -> Subject:
    return Subject(
        make=lambda: Weather(MethodProviderSettings(capacity=2)),
        quick=("weather/forecast", {"city": "Ulm"}),
        slow=("weather/observe", {"minutes": 2}),
        bad=("weather/forecast", {"city": "Ulm", "days": "two"}),
    )


def echo(server: TestServer, begun: asyncio.Semaphore) -> Subject:
    begun.release()  # nothing is to be seen of a wait, and nothing has to begin
    begun.release()
    return Subject(
        make=lambda: EchoProvider(EchoSettings(capacity=2)),
        quick=("echo/ping", {}),
        slow=("echo/wait", {"seconds": 60}),
        bad=("echo/wait", {"seconds": -1}),
        begun=begun,
    )


def python(server: TestServer, begun: asyncio.Semaphore) -> Subject:
    return Subject(
        make=lambda: PythonProvider(PythonSettings(capacity=2)),
        quick=("python/execute", {"code": "result = 1"}),
        slow=("python/execute", {"code": "print('begun')\nwhile True: pass"}),
        bad=("python/execute", {"code": "result = 1", "timeout": 0}),
    )


def shell(server: TestServer, begun: asyncio.Semaphore) -> Subject:
    return Subject(
        make=lambda: ShellProvider(ShellSettings(capacity=2)),
        quick=("shell/execute", {"argv": ["true"]}),
        slow=("shell/run", {"script": "echo begun; sleep 60 & wait"}),
        bad=("shell/execute", {"argv": "true"}),
    )


def http(server: TestServer, begun: asyncio.Semaphore) -> Subject:
    return Subject(
        make=lambda: HttpProvider(HttpSettings(capacity=2)),
        quick=("http/get", {"url": str(server.make_url("/quick"))}),
        slow=("http/request", {"url": str(server.make_url("/slow"))}),
        bad=("http/get", {"url": "file:///etc/passwd"}),
        begun=begun,
    )


def llm(server: TestServer, begun: asyncio.Semaphore) -> Subject:
    environment = {"OLLAMA_HOST": str(server.make_url("/"))}
    return Subject(
        make=lambda: LlmProvider(LlmSettings(capacity=2), environment),
        quick=("llm/complete", {"prompt": "quick"}),
        slow=("llm/complete", {"prompt": "slow"}),
        bad=("llm/complete", {"prompt": "quick", "temperature": 3}),
        begun=begun,
    )


def grpc(server: FakeGrpc, begun: asyncio.Semaphore) -> Subject:
    def call(method: str) -> tuple[str, dict[str, str]]:
        return "grpc/call", {"target": server.target, "method": f"{SERVICE}/{method}"}

    return Subject(
        make=lambda: GrpcProvider(GrpcSettings(capacity=2), {}),
        quick=call("Greet"),
        slow=call("Wait"),
        bad=("grpc/call", {"target": server.target}),
        begun=begun,
    )


def mcp(server: TestServer, begun: asyncio.Semaphore) -> Subject:
    begun.release()  # nothing is to be seen of a tool at work
    begun.release()
    one = ServerSettings(name="one", command=sys.executable, args=[str(SCRIPT)])
    return Subject(
        make=lambda: McpProvider(McpSettings(capacity=2, servers=[one], tools_file="")),
        quick=("mcp/tool.spell", {"word": "ab"}),
        slow=("mcp/tool.wait", {}),
        bad=("mcp/tool.spell", {"word": 1}),
        begun=begun,
    )


SUBJECTS: dict[str, Callable[[Any, asyncio.Semaphore], Subject]] = {
    "kit": weather,
    "echo": echo,
    "python": python,
    "shell": shell,
    "http": http,
    "llm": llm,
    "grpc": grpc,
    "mcp": mcp,
}


MCP_MARKS = [
    pytest.mark.slow,  # a server is started for each test
    pytest.mark.skipif(not find_sdk(), reason="the SDK of MCP is not installed"),
]


@pytest.fixture(params=[pytest.param(name, marks=MCP_MARKS if name == "mcp" else []) for name in SUBJECTS])
async def subject(request) -> AsyncIterator[Subject]:
    begun = asyncio.Semaphore(0)

    async def quick(_request: web.Request) -> web.Response:
        return web.json_response({"quick": True})

    async def slow(_request: web.Request) -> web.Response:
        begun.release()
        await asyncio.sleep(60)
        raise AssertionError("nobody waits for this")

    async def generate(request: web.Request) -> web.Response:
        if (await request.json())["prompt"] == "slow":
            return await slow(request)
        return web.json_response({"response": "quick", "done": True})

    app = web.Application()
    app.router.add_post("/api/generate", generate)
    app.router.add_get("/quick", quick)
    app.router.add_get("/slow", slow)
    server = TestServer(app)
    if request.param in ("http", "llm"):
        await server.start_server()
    if request.param == "grpc":
        async with FakeGrpc(begun=begun).serve() as other:
            yield grpc(other, begun)
    else:
        yield SUBJECTS[request.param](server, begun)
    await server.close()


class TestProviders(ProviderContract):
    @pytest.fixture
    async def provider(self, subject):
        provider = subject.make()
        await provider.start()
        yield provider
        await provider.stop()
