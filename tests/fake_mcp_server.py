"""The program of ``fake_mcp.py``: ``[PORT]``."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations

server = MCPServer("scripted", log_level="CRITICAL")
safe = ToolAnnotations(read_only_hint=True)


@server.tool(structured_output=False)
def spell(word: str) -> str:
    return " ".join(word)


@server.tool(structured_output=False, annotations=safe)
def pid() -> str:
    return str(os.getpid())


@server.tool(structured_output=False)
def fail(message: str = "no luck today") -> str:
    raise ToolError(message)


@server.tool(structured_output=False)
def picture() -> Any:
    parts = [TextContent(text="a"), TextContent(text="b")]
    return CallToolResult(content=[*parts, ImageContent(data="aGVsbG8=", mime_type="image/png")])


@server.tool(structured_output=False)
async def steps(context: Context) -> str:
    await context.report_progress(1, 2, "half")
    return "done"


@server.tool(structured_output=False)
async def wait() -> str:
    await asyncio.sleep(600)
    return "at last"


@server.tool(structured_output=False)
def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool(structured_output=False)
def flood(size: int) -> str:
    return "x" * size


@server.tool(structured_output=False)
def spawn() -> str:
    return str(subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL).pid)


@server.tool(structured_output=False)
def state() -> str:
    files, data = (
        resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        resource.getrlimit(resource.RLIMIT_DATA)[0],
    )
    return json.dumps({"files": files, "data": data, "environment": dict(os.environ)})


@server.tool(structured_output=False)
def headers(context: Context) -> str:
    return json.dumps({**(context.headers or {})})


@server.tool(structured_output=False)
async def learn(name: str, context: Context) -> str:
    server.add_tool(lambda: name, name=name, structured_output=False)
    await context.notify_tools_changed()
    return name


@server.tool(structured_output=False)
async def forget(name: str, context: Context) -> str:
    server.remove_tool(name)
    await context.notify_tools_changed()
    return name


if __name__ == "__main__":
    if sys.argv[1:]:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
