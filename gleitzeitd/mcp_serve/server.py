"""The SDK's server with our tools, over standard input and output. Import it after ``require_sdk``."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from gleitzeitd import __version__
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.mcp_serve.answers import CANCEL, RESULT, STATUS, Answer
from gleitzeitd.mcp_serve.calls import OWN, Calls, own_schema
from gleitzeitd.mcp_serve.catalogue import Catalogue
from gleitzeitd.mcp_serve.tools import Tool

if TYPE_CHECKING:
    from anyio import AsyncFile
    from mcp.server.context import ServerRequestContext

NAME = "gleitzeit"
HOST_LIMIT = 100
"""Characters of a host's name that are kept."""
LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message on standard input; the server ends at a longer one."""

_INSTRUCTIONS = (
    "Every tool runs a durable workflow. A call that has not ended after {patience:g} s answers with a "
    f"workflow_id, and the workflow goes on: ask {RESULT} for its result, {STATUS} how it stands, and use "
    f"{CANCEL} to end it. Cancelling a request, or ending the session, ends no workflow."
)


def make_server(catalogue: Catalogue, calls: Calls) -> Server[Any]:
    """The server; each of its connections can be of any version of the protocol that the SDK knows."""

    async def list_tools(
        _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        try:
            tools = await catalogue.tools()
        except GleitzeitError as problem:
            raise MCPError(code=problem.code, message=f"[{problem.name}] {problem}") from problem
        return types.ListToolsResult(tools=[*map(_as_tool, tools.values()), *map(_own_tool, OWN)])

    async def call_tool(
        ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        async def report(done: float, total: float, what: str) -> None:
            await ctx.session.report_progress(done, total, what)

        answer = await calls.answer(params.name, dict(params.arguments or {}), _host(ctx), report)
        return _as_result(answer)

    return Server(
        NAME,
        version=__version__,
        title="Gleitzeit",
        description="Durable workflows",
        instructions=_INSTRUCTIONS.format(patience=calls.settings.patience),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        # No argument of ours is repeated in a header of HTTP, so there is nothing to compare.
        get_tool_input_schema=lambda _: None,
    )


def _as_tool(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name, title=tool.title, description=tool.description, input_schema=tool.schema
    )


def _own_tool(name: str) -> types.Tool:
    changes = name == CANCEL
    return types.Tool(
        name=name,
        description=OWN[name][0],
        input_schema=own_schema(name),
        annotations=types.ToolAnnotations(
            read_only_hint=not changes,
            destructive_hint=changes,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )


def _as_result(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=answer.text)],
        structured_content=answer.content,
        is_error=answer.failed,
    )


def _host(ctx: ServerRequestContext[Any]) -> str:
    """Name and version of who calls, as far as it has said."""
    said = ctx.session.client_params
    if said is None:
        return "unknown"
    text = f"{said.client_info.name} {said.client_info.version}".strip()
    return "".join(each for each in text if each.isprintable())[:HOST_LIMIT] or "unknown"


async def serve_stdio(server: Server[Any]) -> None:
    """Serve the one host at the other end of standard input and output, until it closes the former."""
    with _input() as descriptor:
        lines = cast("AsyncFile[str]", _Lines(descriptor))
        async with stdio_server(stdin=lines) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())


@contextmanager
def _input() -> Iterator[int]:
    """Standard input, as a descriptor of our own: the programs that workflows start must not read it."""
    ours = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        yield ours
    finally:
        os.dup2(ours, 0)
        # `ours` stays open: a thread may still be waiting for it, and its number must not become another's.


class _Lines:
    """The lines of a descriptor. They are read in a thread that nobody has to wait for at the end, since
    a signal does not end its reading, whatever kind of file it is.
    """

    def __init__(self, descriptor: int) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=1)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            while (line := file.readline(LINE_LIMIT)) and (line.endswith(b"\n") or len(line) < LINE_LIMIT):
                if not self._put(line.decode("utf-8", "replace")):
                    return
        self._put(None)

    def _put(self, line: str | None) -> bool:
        waiting = self._queue.put(line)
        try:
            asyncio.run_coroutine_threadsafe(waiting, self._loop).result()
        except (RuntimeError, asyncio.CancelledError):
            waiting.close()
            return False  # The loop has ended.
        return True

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        line = await self._queue.get()
        if line is None:
            raise StopAsyncIteration
        return line
