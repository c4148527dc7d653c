"""``mcp/v1``: the tools, resources and prompts of MCP servers.

Each tool of a server is a method, ``mcp/tool.SERVER.NAME``, whose schema is the tool's own; with a single
server ``mcp/tool.NAME`` will do. When the tools of a server change, the protocol is registered anew; as long
as a server is away its tools stay, and calls of them wait. What a tool has begun when its call is cancelled,
its server ends, if it does: it is told so, and that is all that MCP knows.

Without any settings there is the small server of ``mcp_demo.py``, if the SDK of MCP is there. It is started
when it is first used, as is everything here that needs the SDK.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from gleitzeitd.errors import ExecutionFailed, MethodNotSupported, ParameterInvalid
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.providers import mcp_demo
from gleitzeitd.providers.base import MethodCall, shorter, time_limit
from gleitzeitd.providers.kit import MethodProvider, method
from gleitzeitd.providers.mcp_sdk import find_sdk, require_sdk
from gleitzeitd.providers.mcp_settings import McpSettings, ServerSettings, access_to
from gleitzeitd.providers.mcp_tools import (
    Memory,
    Tool,
    method_name,
    result_of,
    texts_of,
    wanted,
)
from gleitzeitd.providers.schema import check_parameters, check_result

if TYPE_CHECKING:
    from mcp import Client

    from gleitzeitd.providers.mcp_server import Server

log = logging.getLogger(__name__)

RETIRE_SECONDS = 5.0
"""A method that is no more stays for so long after its last call has ended, whose result is still checked."""
_TABLE: dict[str, Json] = {"type": "object"}
Which = Annotated[str | None, "Name of the server; may be left out if there is one."]
Some = Annotated[str | None, "Name of the server; all, if none is given."]


@dataclass(frozen=True, slots=True)
class _Offered:
    """A tool that is a method."""

    server: str
    tool: Tool


class McpProvider(MethodProvider):
    """Uses MCP servers."""

    protocol_name = "mcp/v1"
    Settings: ClassVar[type] = McpSettings
    settings: Any

    def __init__(self, settings: Any = None, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: that of the process, if it is None."""
        super().__init__(settings)
        self._environment = dict(os.environ if environment is None else environment)
        self._own = dict(self._protocol.methods)
        self._changed: Callable[[], None] = lambda: None
        self._memory = Memory(self._tools_file())
        self._known: dict[str, list[Tool]] = {}
        """By server, as they were listed last, now or at an earlier start."""
        self._offered: dict[str, _Offered] = {}
        self._in_use: dict[str, int] = {}
        """Calls under way, by method."""
        self._servers: dict[str, Server] = {}
        self._settings = {server.name: server for server in self.settings.servers}
        if not self._settings and find_sdk(self.settings.sdk_directory):
            self._settings = {mcp_demo.NAME: self._demo()}
            self._known = {mcp_demo.NAME: mcp_demo.TOOLS}
        self._offer()

    def watch_protocol(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def _tools_file(self) -> str:
        file: str = self.settings.tools_file
        directory = self._environment.get("STATE_DIRECTORY", "").partition(":")[0]
        return os.path.join(directory, file) if file and (directory or "/" in file) else ""  # noqa: PTH118

    # --- servers ------------------------------------------------------------------------------

    def _demo(self) -> ServerSettings:
        package = str(Path(mcp_demo.__file__).parents[2])
        return ServerSettings(
            name=mcp_demo.NAME,
            command=sys.executable,
            args=["-m", mcp_demo.__name__, "--sdk", self.settings.sdk_directory],
            env={"PYTHONPATH": package},
        )

    async def start(self) -> None:
        """Connect to the servers that are configured, as far as that takes no longer than it may.

        Raises:
            ConfigError: there is no SDK, no such program, or no such secret.
        """
        await super().start()
        if self._servers or not self.settings.servers:
            return  # the server for trying out is started when it is used
        require_sdk("the provider mcp, whose settings name servers,", self.settings.sdk_directory)
        remembered = await asyncio.to_thread(self._memory.read)
        self._known = {name: tools for name, tools in remembered.items() if name in self._settings}
        self._offer()
        servers = [self._server(name) for name in self._settings]
        for server in servers:
            server.start()
        waits = [asyncio.get_running_loop().create_task(server.tried()) for server in servers]
        _, late = await asyncio.wait(waits, timeout=self.settings.start_seconds)
        for wait in late:
            wait.cancel()

    async def stop(self) -> None:
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(server.stop() for server in servers.values()))
        await super().stop()

    async def health(self) -> str:
        """Only if none of several servers is there, nothing works at all."""
        servers = list(self._servers.values())
        away = [f"{each.settings.name}: {each.problem}" for each in servers if each.problem]
        if servers and len(away) == len(servers):
            return f"no server can be used: {'; '.join(away)}"
        return await super().health()

    def _server(self, name: str) -> Server:
        server = self._servers.get(name)
        if server is None:
            from gleitzeitd.providers.mcp_server import Server  # which needs the SDK

            settings = self._settings[name]
            access = access_to(settings, self._environment)
            server = self._servers[name] = Server(settings, self.settings, access, self._tools_listed)
        return server

    def _named(self, name: str | None) -> Server:
        if name is None and len(self._settings) == 1:
            name = next(iter(self._settings))
        if name is None:
            known = ", ".join(self._settings) or "none is configured"
            raise ParameterInvalid(f"server: which one? ({known})")
        if name not in self._settings:
            raise ParameterInvalid(
                f"server: there is none called {name!r}{did_you_mean(name, self._settings)}"
            )
        return self._server(name)

    def _some(self, name: str | None) -> list[Server]:
        return [self._named(each) for each in ([name] if name else self._settings)]

    # --- the protocol -------------------------------------------------------------------------

    def _tools_listed(self) -> None:
        for name, server in self._servers.items():
            if server.tools is not None:
                self._known[name] = server.tools
        self._offer()
        self._memory.write({name: self._known[name] for name in self._settings if name in self._known})

    def _offer(self) -> None:
        """Make the protocol of what is known; whoever watches it is told if it is another one."""
        offered: dict[str, _Offered] = {}
        for name, settings in self._settings.items():
            tools = wanted(self._known.get(name, []), settings.tools)
            for prefix in (settings.prefix, *([""] if len(self._settings) == 1 and settings.prefix else [])):
                for tool in tools:
                    offered.setdefault(method_name(prefix, tool.name), _Offered(name, tool))
        retired = {name: self._offered[name] for name in self._in_use if name not in offered}
        self._offered = {**offered, **retired}
        methods = {**self._own, **{name: each.tool.method() for name, each in self._offered.items()}}
        protocol: Protocol = replace(self._protocol, methods=methods)
        if protocol != self._protocol:
            self._protocol = protocol
            self._changed()

    # --- tools --------------------------------------------------------------------------------

    async def call(self, call: MethodCall) -> Json:
        offered = self._offered.get(call.method)
        if offered is None:
            return await super().call(call)
        check_parameters(self._protocol, call.method, call.parameters)
        self._in_use[call.method] = self._in_use.get(call.method, 0) + 1
        try:
            with self._slot():
                limit = shorter(call.timeout, self._settings[offered.server].call_seconds)
                async with time_limit(limit):
                    result = await self._use(offered, call)
            check_result(self._protocol, call.method, result, self.settings.max_result_bytes)
            return result
        finally:
            asyncio.get_running_loop().call_later(RETIRE_SECONDS, self._used, call.method)

    def _used(self, name: str) -> None:
        self._in_use[name] -= 1
        if not self._in_use[name]:
            del self._in_use[name]
            self._offer()

    async def _use(self, offered: _Offered, call: MethodCall) -> dict[str, Json]:
        tool, server = offered.tool, self._server(offered.server)
        arguments = tool.arguments(call.parameters)

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            if total:
                call.on_progress(min(1.0, max(0.0, progress / total)), server.scrubbed(message or ""))

        async def ask(client: Client) -> Any:
            return await client.call_tool(tool.name, arguments, progress_callback=on_progress)

        from gleitzeitd.providers.mcp_server import plain_of

        answer = await server.ask(ask, repeatable=tool.repeatable)
        content = server.scrubbed([plain_of(part) for part in answer.content])
        if answer.is_error:
            said = "\n".join(texts_of(content)) or "it failed, and has not said why"
            raise ExecutionFailed(f"{tool.name} of server {offered.server}: {said}")
        return result_of(content, server.scrubbed(answer.structured_content))

    @method(name="tools/list", returns=_TABLE)
    async def list_tools(self, server: Some = None) -> dict[str, Any]:
        """Which tools there are."""
        names = [each.settings.name for each in self._some(server)]
        tools = [
            {
                "server": name,
                "name": tool.name,
                "method": method_name(self._settings[name].prefix, tool.name),
                "description": tool.description,
                "inputSchema": tool.schema,
            }
            for name in names
            for tool in wanted(self._known.get(name, []), self._settings[name].tools)
        ]
        return {"tools": tools, "count": len(tools)}

    # --- resources and prompts ----------------------------------------------------------------

    @method(name="resources/list", returns=_TABLE)
    async def list_resources(self, server: Some = None) -> dict[str, Any]:
        """Which resources there are, and templates of more."""
        resources = await self._listed(server, "resources", "list_resources", "resources")
        templates = await self._listed(server, "resources", "list_resource_templates", "resource_templates")
        return {"resources": resources, "templates": templates, "count": len(resources)}

    @method(name="resources/read", returns=_TABLE)
    async def read_resource(self, uri: str, server: Which = None) -> dict[str, Any]:
        """Read a resource: its text, or base64."""
        from gleitzeitd.providers.mcp_server import plain_of

        one = self._named(server)
        answer = await one.ask(lambda client: client.read_resource(uri, cache_mode="bypass"), repeatable=True)
        contents = one.scrubbed([plain_of(part) for part in answer.contents])
        return {
            "response": "\n".join(texts_of(contents)),
            "contents": contents,
            "server": one.settings.name,
            "uri": uri,
        }

    @method(name="prompts/list", returns=_TABLE)
    async def list_prompts(self, server: Some = None) -> dict[str, Any]:
        """Which prompts there are."""
        prompts = await self._listed(server, "prompts", "list_prompts", "prompts")
        return {"prompts": prompts, "count": len(prompts)}

    @method(name="prompts/get", returns=_TABLE)
    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, server: Which = None
    ) -> dict[str, Any]:
        """Fill in a prompt: messages as llm/chat takes them."""
        from gleitzeitd.providers.mcp_server import plain_of

        one = self._named(server)
        # MCP: arguments of prompts are texts.
        given = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in (arguments or {}).items()
        }
        answer = await one.ask(lambda client: client.get_prompt(name, given), repeatable=True)
        parts = [(message.role, plain_of(message.content)) for message in answer.messages]
        messages = one.scrubbed(
            [
                {"role": role, "content": part["text"] if part.get("type") == "text" else part}
                for role, part in parts
            ]
        )
        return {
            "response": "\n".join(texts_of(one.scrubbed([part for _, part in parts]))),
            "messages": messages,
            "description": one.scrubbed(answer.description),
            "server": one.settings.name,
        }

    async def _listed(self, name: str | None, capability: str, verb: str, what: str) -> list[dict[str, Json]]:
        from gleitzeitd.providers.mcp_server import pages

        found: list[dict[str, Json]] = []
        for server in self._some(name):

            async def ask(client: Client) -> list[dict[str, Json]]:
                if getattr(client.server_capabilities, capability) is None:
                    return []
                fetch = getattr(client, verb)
                return await pages(lambda cursor: fetch(cursor=cursor, cache_mode="bypass"), what)

            try:
                listed = server.scrubbed(await server.ask(ask, repeatable=True))
            except MethodNotSupported:
                continue  # not every server with resources has templates, too
            found += [{"server": server.settings.name, **item} for item in listed]
        return found

    # --- about servers ------------------------------------------------------------------------

    @method(returns=_TABLE)
    async def ping(self, server: Some = None) -> dict[str, Any]:
        """That the servers are there."""
        begun = time.monotonic()
        took = {each.settings.name: round(await each.ping(), 6) for each in self._some(server)}
        return {"pong": True, "servers": took, "seconds": round(time.monotonic() - begun, 6)}

    @method(returns=_TABLE)
    async def server_info(self, server: Which = None) -> dict[str, Any]:
        """What a server says of itself."""
        return await self._named(server).about()

    @method(returns=_TABLE)
    async def servers(self) -> dict[str, Any]:
        """Which servers there are, and how they are."""
        found = []
        for name, settings in self._settings.items():
            server = self._servers.get(name)
            found.append(
                {
                    "name": name,
                    "kind": "stdio" if settings.command else "http",
                    "prefix": settings.prefix,
                    "state": "not used yet" if server is None else server.state,
                    "problem": "" if server is None else server.problem,
                    "starts": 0 if server is None else server.starts,
                    "pid": None if server is None else server.pid,
                    "tools": len(wanted(self._known.get(name, []), settings.tools)),
                }
            )
        return {"servers": found, "count": len(found)}
