"""``grpc/v1``: methods of any gRPC server that describes itself (server reflection). No code is generated.

Requests and answers are JSON. Unary methods and those whose answers are a stream can be called; each message
of a stream is shown to watchers as it comes. A call ends with its deadline, which the server is told, and
with its cancellation. ``grpc_errors`` says what becomes of a status.

The libraries (grpcio, protobuf) are needed only where this provider runs.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from gleitzeitd.bounds import Bounds, bounded
from gleitzeitd.errors import (
    ConfigError,
    MalformedData,
    MethodNotSupported,
    ParameterInvalid,
    ResultInvalid,
    TaskError,
)
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall, shorter, time_limit
from gleitzeitd.providers.grpc_access import Servers, ServerSettings, pattern_problem, sent
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings, method
from gleitzeitd.providers.llm_access import Scrubber
from gleitzeitd.providers.processes import Seconds

if TYPE_CHECKING:
    from gleitzeitd.providers.grpc_client import GrpcServer, Metadata, Service

WHAT_TO_INSTALL = "apt install python3-grpcio python3-protobuf, or pip install grpcio protobuf"
LIBRARY_SETTINGS = {"GRPC_VERBOSITY": "ERROR", "GRPC_ENABLE_FORK_SUPPORT": "0"}
"""It reads them when it is imported: it is not to write news into the journal, nor to meddle with forks."""
CONNECTIONS_KEPT = 64
"""To servers of which none is called just now."""
SHOWN = 10_000
"""Characters of a message of a stream that watchers see."""

Target = Annotated[
    str, Bounds(shortest=1, longest=300), "host:port, or the name of a server in the provider's settings."
]
MethodName = Annotated[
    str, Bounds(shortest=3, longest=1000), "package.Service/Method, as grpc/services lists them."
]
Request = Annotated[Any, "The message; its fields by their names, or those in lowerCamelCase."]
Sent = Annotated[
    dict[str, str] | None, "Sent beside the message. Values of names that end with -bin are base64."
]
Tls = Annotated[bool, "Whether the connection is encrypted; a server of the settings has its own."]
Most = Annotated[
    int | None, Bounds(least=1), "Of a stream; after so many the call ends, and complete is false."
]

_COMMON: dict[str, Json] = {
    "target": {"type": "string"},
    "elapsed": {"type": "number", "description": "Seconds."},
}
_BESIDE: dict[str, Json] = {
    **_COMMON,
    "method": {"type": "string"},
    "headers": {"type": "object", "description": "Metadata that came before the answer."},
    "trailers": {"type": "object", "description": "Metadata that came after it."},
}
_STREAMED: dict[str, Json] = {
    "messages": {"type": "array", "description": "Of a method whose answers are a stream."},
    "complete": {"type": "boolean", "description": "Whether they are all that there were."},
}
_CALLED = {
    "type": "object",
    "required": list(_BESIDE),
    "properties": {
        **_BESIDE,
        "response": {"description": "Of a method with one answer."},
        **_STREAMED,
    },
}
_LISTED = {
    "type": "object",
    "required": [*_COMMON, "services", "types"],
    "properties": {
        **_COMMON,
        "services": {"type": "array", "description": "name, and methods: name, kind, request, response."},
        "types": {"type": "object", "description": "JSON Schemas of messages by name."},
    },
}
_HEALTH = {
    "type": "object",
    "required": [*_COMMON, "status", "serving"],
    "properties": {
        **_COMMON,
        "status": {"enum": ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]},
        "serving": {"type": "boolean"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings(MethodProviderSettings):
    """Which servers may be called, and within which limits."""

    capacity: int = bounded(64, least=1, most=10_000)
    """Calls that are under way at once."""
    targets: list[str] = field(default_factory=lambda: ["localhost:*", "127.0.0.1:*", "[::1]:*"])
    """Servers that tasks may name by their addresses: host:port, in which * stands for anything, as in
    *.example.org:443."""
    servers: list[ServerSettings] = field(default_factory=list)
    """Servers that tasks may name, with what it takes to reach them: each with name, target (host:port),
    and if needed tls, ca, certificate, key, server_name and metadata. What is secret is read from systemd
    credentials or files, whose names are given."""
    ca: str = "/etc/ssl/certs/ca-certificates.crt"
    """The authorities that may vouch for servers: a file, or a credential. Empty: those of the library."""
    max_message_bytes: int = bounded(16 * 2**20, least=1024, most=2**30, unit="bytes")
    """Of a message, in both directions. A larger one fails the task."""
    max_messages: int = bounded(100_000, least=1, most=10_000_000)
    """Of a stream. More fail the task, if it has not said itself how many it wants."""
    connect_seconds: float = bounded(10.0, above=0, most=600, unit="seconds")
    """Until a connection has to be there."""
    describe_seconds: float = bounded(300.0, least=0, most=86400, unit="seconds")
    """How long what a server says of itself is kept."""
    use_proxy_environment: bool = False
    """Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY count."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        for index, pattern in enumerate(self.targets):
            if problem := pattern_problem(pattern):
                raise MalformedData(f"targets[{index}]", problem)
        names = [server.name for server in self.servers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise MalformedData("servers", f"{twice[0]}: two servers have this name")


class GrpcProvider(MethodProvider):
    """Calls methods of gRPC servers."""

    protocol_name = "grpc/v1"
    Settings: ClassVar[type] = GrpcSettings
    times_itself: ClassVar[bool] = True
    settings: Any

    def __init__(self, settings: Any = None, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: that of the process, if it is None."""
        super().__init__(settings)
        self._environment = dict(os.environ if environment is None else environment)
        self._servers: Servers | None = None
        self._scrubber = Scrubber(())
        self._connections: dict[tuple[str, bool], GrpcServer] = {}

    async def start(self) -> None:
        """Raises ConfigError."""
        self._ready()

    async def stop(self) -> None:
        connections, self._connections = self._connections, {}
        for one in connections.values():
            await one.close()
        await super().stop()

    @method(name="call", returns=_CALLED)
    async def invoke(
        self,
        call: MethodCall,
        target: Target,
        method: MethodName,
        request: Request = None,
        metadata: Sent = None,
        timeout: Seconds = None,  # noqa: ASYNC109 - a parameter of the protocol
        max_messages: Most = None,
        tls: Tls = False,
    ) -> dict[str, Json]:
        """Call a method: the result has its response, or messages if its answers are a stream."""
        return await self._invoke(call, _Ask(target, method, request, metadata, timeout, max_messages, tls))

    @method(returns={**_CALLED, "required": [*_BESIDE, *_STREAMED]})
    async def stream(
        self,
        call: MethodCall,
        target: Target,
        method: MethodName,
        request: Request = None,
        metadata: Sent = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        max_messages: Most = None,
        tls: Tls = False,
    ) -> dict[str, Json]:
        """Call a method: the result has messages, and be it one."""
        ask = _Ask(target, method, request, metadata, timeout, max_messages, tls)
        result = await self._invoke(call, ask)
        if "response" in result:
            result |= {"messages": [result.pop("response")], "complete": True}
        return result

    @method(returns=_LISTED)
    async def services(
        self,
        call: MethodCall,
        target: Target,
        service: Annotated[str | None, "This one alone."] = None,
        metadata: Sent = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        tls: Tls = False,
    ) -> dict[str, Json]:
        """List the services of a server, their methods, and what goes in and comes out."""
        from gleitzeitd.providers.grpc_client import shapes_of

        ask = _Ask(target, "", None, metadata, timeout, None, tls)
        async with self._asking(call, ask) as on:
            names = [service] if service else await on.server.services(on.metadata, on.deadline)
            found = [await on.server.service(name, on.metadata, on.deadline) for name in names]
            return on.done(shapes_of(found))

    @method(name="health", returns=_HEALTH)
    async def look(
        self,
        call: MethodCall,
        target: Target,
        service: Annotated[str, "Empty: the server as a whole."] = "",
        metadata: Sent = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        tls: Tls = False,
    ) -> dict[str, Json]:
        """Ask a server's health service how it is."""
        async with self._asking(call, _Ask(target, "", None, metadata, timeout, None, tls)) as on:
            status = await on.server.health(service, on.metadata, on.deadline)
            return on.done({"status": status, "serving": status == "SERVING"})

    async def _invoke(self, call: MethodCall, ask: _Ask) -> dict[str, Json]:
        from gleitzeitd.providers.grpc_client import Heard, answer_of, streams

        service_name, method_name = _split(ask.method)
        async with self._asking(call, ask) as on:
            service, method, data = await self._prepared(on, service_name, method_name, ask.request)
            many_in, many_out = streams(service, method)
            if many_in:
                raise MethodNotSupported(f"{ask.method}: takes a stream of requests, which no task can send")
            heard, size = Heard({}, {}), 0
            messages: list[Json] = []
            name = f"{service_name}/{method_name}"
            most = ask.max_messages or self.settings.max_messages
            complete = True
            async with aclosing(
                on.server.stream(name, data, on.metadata, on.deadline, heard, unary=not many_out)
            ) as answers:
                async for answer in answers:
                    if len(messages) == most:
                        complete = False
                        break
                    message = self._scrubber.json(answer_of(service, method, answer))
                    messages.append(message)
                    size += len(answer)
                    self._admit(ask, len(messages), size)
                    if many_out:
                        _show(call, message, len(messages), ask.max_messages)
            if not complete and ask.max_messages is None:
                raise ResultInvalid(f"{name}: sends more than the {most} messages allowed")
            got: dict[str, Json] = {"messages": messages, "complete": complete}
            beside = self._scrubber.json({"headers": heard.headers, "trailers": heard.trailers})
            return on.done({"method": name, **(got if many_out else {"response": messages[0]}), **beside})

    async def _prepared(
        self, on: _Asking, service_name: str, method_name: str, request: Json
    ) -> tuple[Service, Any, bytes]:
        """The method, and the request as it is sent; looked up anew if it does not fit what was known."""
        from gleitzeitd.providers.grpc_client import request_of

        found = await on.server.method(service_name, method_name, on.metadata, on.deadline, on.since)
        try:
            return *found, request_of(*found, request)
        except ParameterInvalid:
            if found[0].at >= on.since:
                raise
        await on.server.service(service_name, on.metadata, on.deadline, on.since)
        found = await on.server.method(service_name, method_name, on.metadata, on.deadline, on.since)
        return *found, request_of(*found, request)

    def _admit(self, ask: _Ask, count: int, size: int) -> None:
        """Not to keep in memory what would be refused afterwards: JSON is seldom smaller than that."""
        if size > self.settings.max_result_bytes:
            limit = self.settings.max_result_bytes
            raise ResultInvalid(f"{ask.method}: {count} messages take more than the {limit} bytes allowed")

    @asynccontextmanager
    async def _asking(self, call: MethodCall, ask: _Ask) -> AsyncIterator[_Asking]:
        """The server of a call, its deadline, and its errors without secrets."""
        limit = shorter(ask.timeout, call.timeout)
        since = time.monotonic()
        server = self._connected(ask.target, ask.tls)
        metadata = tuple(sent(name, value) for name, value in (ask.metadata or {}).items())
        deadline = None if limit is None else since + limit
        server.users += 1
        try:
            async with time_limit(limit):
                yield _Asking(server, metadata, deadline, since)
        except TaskError as error:
            if (text := self._scrubber.text(str(error))) != str(error):
                raise type(error)(text, retryable=error.retryable, retry_after=error.retry_after) from None
            raise
        finally:
            server.users -= 1
            await self._close_some()

    def _connected(self, target: str, tls: bool) -> GrpcServer:
        # A connection belongs to a running loop, so the first call makes it.
        server = self._ready().find(target, tls)
        kept = self._connections.pop((server.shown, server.tls), None)
        if kept is None:
            from gleitzeitd.providers.grpc_client import GrpcServer, Limits

            settings = self.settings
            kept = GrpcServer(
                server,
                Limits(
                    message_bytes=settings.max_message_bytes,
                    connect_seconds=settings.connect_seconds,
                    describe_seconds=settings.describe_seconds,
                    use_proxy=settings.use_proxy_environment,
                ),
            )
        self._connections[server.shown, server.tls] = kept  # the last one is the one used last
        return kept

    async def _close_some(self) -> None:
        if len(self._connections) > CONNECTIONS_KEPT:
            idle = next((key for key, one in self._connections.items() if not one.users), None)
            if idle is not None:
                await self._connections.pop(idle).close()

    def _ready(self) -> Servers:
        if self._servers is None:
            _require_libraries()
            settings = self.settings
            self._servers = Servers(settings.targets, settings.servers, settings.ca, self._environment)
            self._scrubber = Scrubber(self._servers.secrets)
        return self._servers


@dataclass(frozen=True, slots=True)
class _Ask:
    """What a task wants."""

    target: str
    method: str
    request: Json
    metadata: dict[str, str] | None
    timeout: float | None
    max_messages: int | None
    tls: bool


@dataclass(frozen=True, slots=True)
class _Asking:
    """A call under way."""

    server: GrpcServer
    metadata: Metadata
    deadline: float | None
    """Of time.monotonic(), as the next."""
    since: float

    def done(self, result: dict[str, Json]) -> dict[str, Json]:
        """The result, with what all have."""
        elapsed = round(time.monotonic() - self.since, 6)
        return {"target": self.server.server.shown, "elapsed": elapsed, **result}


def _require_libraries() -> None:
    """Raises ConfigError."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        # Here, not at the first call: an upgrade may replace files under a running process.
        import gleitzeitd.providers.grpc_client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"provider grpc: the module {error.name} cannot be imported. Install it: {WHAT_TO_INSTALL}"
        ) from error


def _split(name: str) -> tuple[str, str]:
    """``package.Service/Method``, also with a slash before it, or with a dot instead of the slash."""
    whole = name.removeprefix("/")
    service, slash, method_name = whole.rpartition("/" if "/" in whole else ".")
    if not slash or not re.fullmatch(r"[A-Za-z_][\w.]*", service) or not re.fullmatch(r"\w+", method_name):
        raise ParameterInvalid(f"method {name!r}: expected package.Service/Method")
    return service, method_name


def _show(call: MethodCall, message: Json, count: int, most: int | None) -> None:
    text = json.dumps(message, ensure_ascii=False)
    call.on_partial(f"{text[:SHOWN]}\n")
    if most:
        call.on_progress(min(1.0, count / most), f"{count} of {most} messages")
