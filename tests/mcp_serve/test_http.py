"""Who is let in by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("mcp.server.lowlevel")

import aiohttp
import httpx2
import mcp_types as types
from mcp import Client as Host
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server

from gleitzeitd.errors import ConfigError
from gleitzeitd.mcp_serve.http import Address, check_address, serve_http
from tests.daemons import free_port

TOKEN = "a-token-for-hosts"


async def one_tool(_: Any, __: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name="only", input_schema={"type": "object"})])


@asynccontextmanager
async def listening(token: str | None = None) -> AsyncIterator[str]:
    """The address of a server with one tool."""
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server: Server[Any] = Server("test", on_list_tools=one_tool)
    work = serve_http(server, Address(host="127.0.0.1", port=0), token, url.set_result)
    serving = asyncio.create_task(work)
    await asyncio.wait({serving, url}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield await url
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def status(url: str, **headers: str) -> int:
    sent = {"Accept": "application/json, text/event-stream", **headers}
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    limit = aiohttp.ClientTimeout(10)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.post(url, json=message, headers=sent) as answer,
    ):
        return answer.status


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_with_the_token_a_host_gets_in_and_without_it_none(mode: str) -> None:
    async with listening(TOKEN) as url:
        for header in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": TOKEN},
            {"Authorization": f"Basic {TOKEN}"},
        ):
            assert await status(url, **header) == 401
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
            Host(streamable_http_client(url, http_client=http), mode=mode) as host,
        ):
            assert [each.name for each in (await host.list_tools()).tools] == ["only"]


async def test_a_web_page_gets_in_under_no_name() -> None:
    async with listening() as url:
        assert await status(url, Origin="http://localhost:3000") == 403
        assert await status(url, Host="evil.example") == 421
        async with Host(url) as host:
            assert [each.name for each in (await host.list_tools()).tools] == ["only"]
    async with listening(TOKEN) as url:
        assert await status(url, Origin="http://127.0.0.1", Authorization=f"Bearer {TOKEN}") == 403


@pytest.mark.parametrize(
    ("text", "host", "port", "local"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.8.0.1:1", "127.8.0.1", 1, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:80", "::1", 80, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("hub.example:80", "hub.example", 80, False),
        ("127.0.0.1.example:80", "127.0.0.1.example", 80, False),
    ],
)
def test_an_address_is_known_to_be_of_this_host_only(text: str, host: str, port: int, local: bool) -> None:
    address = Address.of(text)
    assert (address.host, address.port, address.is_local()) == (host, port, local)
    check_address(address, TOKEN)
    if local:
        check_address(address, None)
    else:
        with pytest.raises(ConfigError, match="--http-token-file"):
            check_address(address, None)


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "::1:80", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Address.of(text)


def test_an_address_that_is_taken_is_named() -> None:
    address = Address(host="127.0.0.1", port=free_port())
    with address.listen(), pytest.raises(ConfigError, match=f"--http 127.0.0.1:{address.port}: "):
        address.listen()
