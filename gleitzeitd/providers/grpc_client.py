"""One gRPC server: its connection, what it says of itself by reflection, and calls of its methods.

Descriptions are kept for some minutes. What they do not know, or what does not fit them, is looked up anew
before it is refused: the server may have been replaced by a newer one.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from gleitzeitd.errors import MethodNotSupported, ParameterInvalid, ResultInvalid
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.providers.grpc_access import Server
from gleitzeitd.providers.grpc_errors import error_for
from gleitzeitd.providers.grpc_types import (
    HEALTH,
    FileDescriptorProto,
    HealthRequest,
    HealthResponse,
    ReflectionRequest,
    ReflectionResponse,
    Shapes,
    json_of,
    message_of,
    pool_of,
)

FILES_LIMIT = 2000
"""Files that describe one service."""
SERVICES_KEPT = 1000
_VERSIONS = ("v1", "v1alpha")
_NOT_FOUND = 5
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of a connection."""

    message_bytes: int
    connect_seconds: float
    describe_seconds: float
    use_proxy: bool


@dataclass(frozen=True, slots=True)
class Service:
    """What a server says of one of its services."""

    name: str
    descriptor: Any
    pool: Any
    at: float
    """Of time.monotonic()."""


@dataclass(slots=True)
class Heard:
    """What comes beside messages."""

    headers: dict[str, str]
    trailers: dict[str, str]


class GrpcServer:
    """A connection to one server; for one event loop."""

    def __init__(self, server: Server, limits: Limits) -> None:
        self.server = server
        self.users = 0
        """Calls that are under way."""
        self._limits = limits
        self._channel = _channel(server, limits)
        self._services: dict[str, Service] = {}
        self._versions = list(_VERSIONS)
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """Calls that are under way are cancelled."""
        await self._channel.close()

    async def method(
        self, service_name: str, method_name: str, metadata: Metadata, deadline: float | None, since: float
    ) -> tuple[Service, Any]:
        """The service, and the method's descriptor.

        Raises:
            MethodNotSupported: there is none, with the nearest that there is.
        """
        service = await self.service(service_name, metadata, deadline)
        found = service.descriptor.methods_by_name.get(method_name)
        if found is None and service.at < since:
            service = await self.service(service_name, metadata, deadline, since)
            found = service.descriptor.methods_by_name.get(method_name)
        if found is None:
            hint = did_you_mean(method_name, [each.name for each in service.descriptor.methods])
            raise MethodNotSupported(
                f"{self.server.shown}: {service_name} has no method {method_name!r}{hint}"
            )
        return service, found

    async def service(
        self, name: str, metadata: Metadata, deadline: float | None, since: float = 0.0
    ) -> Service:
        """The service, as it was described after ``since``."""
        async with self._asking:  # of many calls, one asks for all
            oldest = max(since, time.monotonic() - self._limits.describe_seconds)
            kept = self._services.get(name)
            if kept is not None and kept.at >= oldest:
                return kept
            at = time.monotonic()
            pool = pool_of(await self._files(name, metadata, deadline))
            try:
                found = Service(name, pool.FindServiceByName(name), pool, at)
            except KeyError:
                raise MethodNotSupported(f"{self.server.shown}: {name} is no service") from None
            if len(self._services) >= SERVICES_KEPT:
                self._services.clear()
            self._services[name] = found
            return found

    async def services(self, metadata: Metadata, deadline: float | None) -> list[str]:
        """Their names, in order."""
        answer = await self._reflect(ReflectionRequest(list_services="*"), metadata, deadline)
        return sorted(one.name for one in answer.list_services_response.service)

    async def health(self, service: str, metadata: Metadata, deadline: float | None) -> str:
        """What its health service says."""
        data = HealthRequest(service=service).SerializeToString()
        name = "grpc.health.v1.Health/Check"
        (answer,) = [
            each async for each in self.stream(name, data, metadata, deadline, Heard({}, {}), unary=True)
        ]
        status = _decoded(HealthResponse, answer).status
        return HEALTH[status] if 0 <= status < len(HEALTH) else "UNKNOWN"

    async def stream(
        self, name: str, data: bytes, metadata: Metadata, deadline: float | None, heard: Heard, unary: bool
    ) -> AsyncGenerator[bytes, None]:
        """Call the method ``package.Service/Method``; its answers, as they come.

        Raises:
            TaskError: as in ``grpc_errors``.
        """
        if len(data) > self._limits.message_bytes:
            limit = self._limits.message_bytes
            raise ParameterInvalid(f"request: takes {len(data)} bytes, {limit} are allowed")
        async with self._errors(f"{name} at {self.server.shown}", deadline):
            make = self._channel.unary_unary if unary else self._channel.unary_stream
            call = make(f"/{name}")(data, timeout=_left(deadline), metadata=self._all(metadata))
            try:
                if unary:
                    yield await call
                else:
                    async for answer in call:
                        yield answer
                heard.headers.update(_plain(await call.initial_metadata()))
                heard.trailers.update(_plain(await call.trailing_metadata()))
            finally:
                call.cancel()

    def _all(self, metadata: Metadata) -> Metadata:
        # What an operator has configured, no task replaces.
        own = {name for name, _ in self.server.metadata}
        return (*self.server.metadata, *(pair for pair in metadata if pair[0] not in own))

    async def _files(self, service: str, metadata: Metadata, deadline: float | None) -> list[Any]:
        """All files that the service needs."""
        answer = await self._reflect(ReflectionRequest(file_containing_symbol=service), metadata, deadline)
        if answer.error_response.error_code == _NOT_FOUND:
            hint = did_you_mean(service, await self.services(metadata, deadline))
            raise MethodNotSupported(f"{self.server.shown}: there is no service {service!r}{hint}")
        files = self._described(answer, service)
        # Some servers send all that a file needs, others leave it to be asked for.
        while missing := sorted({need for file in files.values() for need in file.dependency} - set(files)):
            if len(files) >= FILES_LIMIT:
                raise ResultInvalid(f"{self.server.shown}: {service} needs more than {FILES_LIMIT} files")
            request = ReflectionRequest(file_by_filename=missing[0])
            found = self._described(await self._reflect(request, metadata, deadline), missing[0])
            if missing[0] not in found:
                raise ResultInvalid(f"{self.server.shown} does not describe {missing[0]}")
            files = {**found, **files}
        return list(files.values())

    def _described(self, answer: Any, what: str) -> dict[str, Any]:
        """Files by name."""
        if error := answer.error_response.error_code:
            said = answer.error_response.error_message
            raise ResultInvalid(f"{self.server.shown} does not describe {what}: {error} {said}")
        files = [
            _decoded(FileDescriptorProto, data)
            for data in answer.file_descriptor_response.file_descriptor_proto
        ]
        return {file.name: file for file in files}

    async def _reflect(self, request: Any, metadata: Metadata, deadline: float | None) -> Any:
        for version in list(self._versions):
            try:
                answer = await self._reflect_by(version, request, metadata, deadline)
            except MethodNotSupported:
                continue
            self._versions = [version]
            return answer
        self._versions = list(_VERSIONS)
        raise MethodNotSupported(
            f"{self.server.shown}: the server does not describe itself: it has no reflection service"
        )

    async def _reflect_by(
        self, version: str, request: Any, metadata: Metadata, deadline: float | None
    ) -> Any:
        # A stream of one request looks on the wire like a single one, which cannot be cut off half-way.
        name = f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        data = request.SerializeToString()
        async with aclosing(
            self.stream(name, data, metadata, deadline, Heard({}, {}), unary=False)
        ) as answers:
            async for answer in answers:
                return _decoded(ReflectionResponse, answer)
        raise ResultInvalid(f"{self.server.shown}: its reflection service does not answer")

    @asynccontextmanager
    async def _errors(self, where: str, deadline: float | None) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            overdue = deadline is not None and time.monotonic() >= deadline - 0.05
            trailers = _plain(error.trailing_metadata() or ())
            raise error_for(
                error.code().name, where, error.details() or "", trailers, overdue=overdue
            ) from error


def request_of(service: Service, descriptor: Any, value: Json) -> bytes:
    """The request as it is sent.

    Raises:
        ParameterInvalid: it does not fit the method.
    """
    message = message_of(descriptor.input_type, value, service.pool)
    if missing := message.FindInitializationErrors():
        raise ParameterInvalid(f"request: lacks {', '.join(missing)}")
    data: bytes = message.SerializeToString()
    return data


def answer_of(service: Service, descriptor: Any, data: bytes) -> Json:
    """An answer as JSON.

    Raises:
        ResultInvalid: it is none of this method.
    """
    return json_of(descriptor.output_type, data, service.pool)


def streams(service: Service, descriptor: Any) -> tuple[bool, bool]:
    """Whether requests are a stream, and whether answers are."""
    proto = FileDescriptorProto()
    service.descriptor.file.CopyToProto(proto)
    package = f"{proto.package}." if proto.package else ""
    for one in proto.service:
        if f"{package}{one.name}" == service.name:
            for each in one.method:
                if each.name == descriptor.name:
                    return each.client_streaming, each.server_streaming
    raise ResultInvalid(f"{service.name}: its description is incomplete")


def shapes_of(services: Iterable[Service]) -> dict[str, Json]:
    """Services and their methods, and the types of messages by name."""
    shapes, listed = Shapes(), []
    for service in services:
        methods = []
        for one in service.descriptor.methods:
            takes, gives = streams(service, one)
            kind = {(False, False): "unary", (False, True): "server_stream", (True, False): "client_stream"}
            methods.append(
                {
                    "name": f"{service.name}/{one.name}",
                    "kind": kind.get((takes, gives), "bidirectional_stream"),
                    "callable": not takes,
                    "request": shapes.of(one.input_type),
                    "response": shapes.of(one.output_type),
                }
            )
        listed.append({"name": service.name, "methods": methods})
    return {"services": listed, "types": shapes.types}


def _channel(server: Server, limits: Limits) -> Any:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.enable_http_proxy", int(limits.use_proxy)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.primary_user_agent", "gleitzeit"),
        # Two connections to one server have nothing in common, and one that was lost is soon tried again.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3000),
        ("grpc.min_reconnect_backoff_ms", int(limits.connect_seconds * 1000)),
    ]
    if not server.tls:
        return grpc.aio.insecure_channel(server.dialled, options)
    if server.server_name:
        options.append(("grpc.ssl_target_name_override", server.server_name))
    credentials = grpc.ssl_channel_credentials(server.ca, server.key, server.certificate)
    return grpc.aio.secure_channel(server.dialled, credentials, options)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.001, deadline - time.monotonic())


def _plain(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in metadata:
        text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _decoded(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as problem:
        raise ResultInvalid(f"the server sent what is no {kind.DESCRIPTOR.name}") from problem
