"""A small MCP server to try things out with: ``python -m gleitzeitd.providers.mcp_demo``.

It speaks on standard input and output, or, with ``--http PORT``, on loopback. It needs the SDK; to know what
it offers does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gleitzeitd.errors import ConfigError
from gleitzeitd.plain import Json
from gleitzeitd.providers.mcp_sdk import SDK_DIRECTORY, require_sdk
from gleitzeitd.providers.mcp_tools import Tool

NAME = "demo"
ABOUT_URI = "demo://about"
ABOUT = "A small server that comes with gleitzeit."


def _echo(message: str) -> dict[str, Json]:
    return {"response": message, "echoed": message, "length": len(message)}


def _add(a: float, b: float) -> dict[str, Json]:
    return _calculated(f"{a} + {b}", a + b)


def _multiply(a: float, b: float) -> dict[str, Json]:
    return _calculated(f"{a} * {b}", a * b)


def _calculated(formula: str, result: float) -> dict[str, Json]:
    return {"response": str(result), "result": result, "calculation": f"{formula} = {result}"}


def _concat(strings: list[str], separator: str = " ") -> dict[str, Json]:
    joined = separator.join(strings)
    return {"response": joined, "joined": joined, "count": len(strings)}


@dataclass(frozen=True, slots=True)
class _DemoTool:
    description: str
    properties: dict[str, Json]
    required: tuple[str, ...]
    work: Callable[..., dict[str, Json]]


_NUMBERS: dict[str, Json] = {"a": {"type": "number"}, "b": {"type": "number"}}
_TOOLS = {
    "echo": _DemoTool("Says what it was told.", {"message": {"type": "string"}}, ("message",), _echo),
    "add": _DemoTool("Adds two numbers.", _NUMBERS, ("a", "b"), _add),
    "multiply": _DemoTool("Multiplies two numbers.", _NUMBERS, ("a", "b"), _multiply),
    "concat": _DemoTool(
        "Joins texts.",
        {
            "strings": {"type": "array", "items": {"type": "string"}},
            "separator": {"type": "string", "default": " "},
        },
        ("strings",),
        _concat,
    ),
}
TOOLS = [
    Tool(
        name=name,
        description=tool.description,
        schema={
            "type": "object",
            "properties": tool.properties,
            "required": list(tool.required),
            "additionalProperties": False,
        },
        repeatable=True,
        is_ours=True,
    )
    for name, tool in _TOOLS.items()
]
"""What the server lists."""


def _server() -> Any:
    import mcp_types as t
    from mcp.server.lowlevel import Server
    from mcp.shared.exceptions import MCPError

    async def list_tools(_context: Any, _params: Any) -> Any:
        notes = t.ToolAnnotations(read_only_hint=True, idempotent_hint=True)
        listed = [
            t.Tool(name=each.name, description=each.description, input_schema=each.schema, annotations=notes)
            for each in TOOLS
        ]
        return t.ListToolsResult(tools=listed)

    async def call_tool(_context: Any, params: Any) -> Any:
        tool = _TOOLS.get(params.name)
        if tool is None:
            raise MCPError(t.INVALID_PARAMS, f"there is no tool {params.name!r}")
        try:
            result = tool.work(**(params.arguments or {}))
        except TypeError as problem:
            said = t.TextContent(text=f"{params.name}: {problem}")
            return t.CallToolResult(content=[said], is_error=True)
        response = str(result.pop("response"))
        return t.CallToolResult(content=[t.TextContent(text=response)], structured_content=result)

    async def list_resources(_context: Any, _params: Any) -> Any:
        about = t.Resource(uri=ABOUT_URI, name="about", mime_type="text/plain", description=ABOUT)
        return t.ListResourcesResult(resources=[about])

    async def read_resource(_context: Any, params: Any) -> Any:
        if params.uri != ABOUT_URI:
            raise MCPError(t.INVALID_PARAMS, f"there is no resource {params.uri}")
        text = t.TextResourceContents(uri=ABOUT_URI, mime_type="text/plain", text=ABOUT)
        return t.ReadResourceResult(contents=[text])

    async def list_prompts(_context: Any, _params: Any) -> Any:
        who = t.PromptArgument(name="name", description="Who is greeted.", required=True)
        return t.ListPromptsResult(prompts=[t.Prompt(name="greeting", arguments=[who])])

    async def get_prompt(_context: Any, params: Any) -> Any:
        if params.name != "greeting":
            raise MCPError(t.INVALID_PARAMS, f"there is no prompt {params.name!r}")
        who = (params.arguments or {}).get("name", "everybody")
        said = t.TextContent(text=f"Write a friendly greeting to {who}.")
        return t.GetPromptResult(messages=[t.PromptMessage(role="user", content=said)])

    return Server(
        NAME,
        version="1",
        instructions=ABOUT,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_read_resource=read_resource,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )


async def _on_standard_streams() -> None:
    from mcp.server.stdio import stdio_server

    server = _server()
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main(arguments: list[str]) -> int:
    """Serve until nobody listens any more."""
    import argparse
    import asyncio

    parser = argparse.ArgumentParser(prog="mcp_demo", description=ABOUT)
    parser.add_argument("--http", type=int, metavar="PORT", help="streamable HTTP on 127.0.0.1, at /mcp")
    parser.add_argument("--sdk", default=SDK_DIRECTORY, metavar="FOLDER", help="where the SDK may be")
    options = parser.parse_args(arguments)
    try:
        require_sdk("this server", options.sdk)
    except ConfigError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    if options.http is None:
        asyncio.run(_on_standard_streams())
    else:
        import uvicorn

        uvicorn.run(_server().streamable_http_app(), port=options.http, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
