"""A gRPC server that describes itself, for tests: its types are made here, and nothing is generated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2
from grpc_reflection.v1alpha import reflection

PACKAGE = "shop.v1"
SERVICE = f"{PACKAGE}.Shop"
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "GreetRequest": [
        ("user_name", 1, "string"),
        ("times", 2, "int32"),
        ("mood", 3, ".shop.v1.Mood"),
        ("tags", 4, "string*"),
        ("at", 5, ".google.protobuf.Timestamp"),
        ("friend", 6, ".shop.v1.GreetRequest"),
        ("raw", 7, "bytes"),
    ],
    "GreetReply": [
        ("full_text", 1, "string"),
        ("times", 2, "int32"),
        ("big", 3, "int64"),
        ("mood", 4, ".shop.v1.Mood"),
        ("at", 5, ".google.protobuf.Timestamp"),
        ("raw", 6, "bytes"),
    ],
    "CountRequest": [("to", 1, "int32"), ("fail_after", 2, "int32")],
    "Number": [("number", 1, "int32")],
    "FailRequest": [("status", 1, "string"), ("details", 2, "string")],
    "Sized": [("size", 1, "int32"), ("filling", 2, "bytes")],
    "Nothing": [],
}
_METHODS = [
    ("Greet", "GreetRequest", "GreetReply", False, False),
    ("Count", "CountRequest", "Number", False, True),
    ("Fail", "FailRequest", "Nothing", False, False),
    ("Wait", "Nothing", "Nothing", False, False),
    ("Fill", "Sized", "Sized", False, False),
    ("Collect", "Number", "Number", True, False),
    ("Shout", "google.protobuf.StringValue", "google.protobuf.StringValue", False, False),
]
_NEEDS = (timestamp_pb2, wrappers_pb2)


def _file() -> Any:
    kinds = descriptor_pb2.FieldDescriptorProto
    needs = [module.DESCRIPTOR.name for module in _NEEDS]
    file = descriptor_pb2.FileDescriptorProto(
        name="shop.proto", package=PACKAGE, syntax="proto3", dependency=needs
    )
    mood = file.enum_type.add(name="Mood")
    for number, name in enumerate(("MOOD_UNKNOWN", "MOOD_GOOD", "MOOD_BAD")):
        mood.value.add(name=name, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            one = message.field.add(name=field_name, number=number, label=label)
            bare = kind.rstrip("*")
            if bare.startswith("."):
                one.type_name = bare
                one.type = kinds.TYPE_ENUM if bare.endswith("Mood") else kinds.TYPE_MESSAGE
            else:
                one.type = kinds.Type.Value(f"TYPE_{bare.upper()}")
    service = file.service.add(name="Shop")
    for name, taken, given, takes, gives in _METHODS:
        service.method.add(
            name=name,
            input_type=_full(taken),
            output_type=_full(given),
            client_streaming=takes,
            server_streaming=gives,
        )
    return file


def _full(name: str) -> str:
    return f".{name}" if "." in name else f".{PACKAGE}.{name}"


def _class(descriptor: Any) -> Any:
    make = getattr(message_factory, "GetMessageClass", None)
    return make(descriptor) if make else message_factory.MessageFactory().GetPrototype(descriptor)


POOL = descriptor_pool.DescriptorPool()
for _module in _NEEDS:
    POOL.AddSerializedFile(_module.DESCRIPTOR.serialized_pb)
POOL.AddSerializedFile(_file().SerializeToString())
TYPES = {
    name: _class(POOL.FindMessageTypeByName(_full(name)[1:]))
    for name in (*_MESSAGES, "google.protobuf.StringValue")
}


@dataclass
class FakeGrpc:
    """What the server was asked, and how it is to behave."""

    describes: tuple[str, ...] = ("v1alpha",)
    """Versions of reflection that it has."""
    healthy: int = 1
    """What its health service says; 0: it has none."""
    token: str = ""
    """A call without this authorization is refused."""
    terse: bool = False
    """Whether it describes one file at a time, without those that it needs."""
    port: int = 0
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a Wait or Count has ended, however."""
    asked: list[tuple[str, dict[str, Any], float | None]] = field(default_factory=list)
    """Method, metadata and seconds left of each call."""
    described: int = 0
    """Calls of the reflection service."""

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serve(self, credentials: Any = None) -> AsyncIterator[FakeGrpc]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers: list[Any] = [self._shop(), *([self._health()] if self.healthy else [])]
        handlers += [self._reflection(version) for version in self.describes]
        server.add_generic_rpc_handlers(handlers)
        self.port = (
            server.add_secure_port("127.0.0.1:0", credentials)
            if credentials
            else server.add_insecure_port("127.0.0.1:0")
        )
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)

    def _shop(self) -> Any:
        handlers = {}
        for name, taken, _given, takes, gives in _METHODS:
            make = getattr(
                grpc, f"{'stream' if takes else 'unary'}_{'stream' if gives else 'unary'}_rpc_method_handler"
            )
            handlers[name] = make(
                getattr(self, f"_{name.lower()}"),
                request_deserializer=TYPES[taken].FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _health(self) -> Any:
        async def check(request: bytes, context: Any) -> bytes:
            if request:  # a service is named
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            return bytes([8, self.healthy])

        return grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
        )

    def _reflection(self, version: str) -> Any:
        from grpc_reflection.v1alpha import reflection_pb2

        servicer = reflection.aio.ReflectionServicer([SERVICE], pool=POOL)

        async def info(requests: Any, context: Any) -> Any:
            self.described += 1
            await self._heard("reflect", context)
            async for answer in servicer.ServerReflectionInfo(requests, context):
                files = answer.file_descriptor_response.file_descriptor_proto
                if self.terse and len(files) > 1:
                    mine = [data for data in files if b"Shop" in data]
                    del files[:]
                    files.extend(mine)
                yield answer

        handler = grpc.stream_stream_rpc_method_handler(
            info,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        name = f"grpc.reflection.{version}.ServerReflection"
        return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})

    async def _heard(self, name: str, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self.asked.append((name, metadata, context.time_remaining()))
        if self.token and metadata.get("authorization") != self.token:
            said = f"you said {metadata.get('authorization')}"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, said)

    async def _greet(self, request: Any, context: Any) -> Any:
        await self._heard("Greet", context)
        await context.send_initial_metadata((("x-first", "1"), ("x-data-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", dict(context.invocation_metadata()).get("x-a", "")),))
        names = [request.user_name] + ([request.friend.user_name] if request.HasField("friend") else [])
        text = f"hello {' and '.join(names)}{'!' * len(request.tags)}"
        return TYPES["GreetReply"](
            full_text=text, times=request.times, big=2**60, mood=request.mood, at=request.at, raw=request.raw
        )

    async def _count(self, request: Any, context: Any) -> Any:
        await self._heard("Count", context)
        try:
            for number in range(request.to):
                if request.fail_after and number == request.fail_after:
                    await context.abort(grpc.StatusCode.ABORTED, "halfway")
                yield TYPES["Number"](number=number)
        finally:
            self.ended.set()

    async def _fail(self, request: Any, context: Any) -> Any:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "2500"),))
        await context.abort(grpc.StatusCode[request.status], request.details)

    async def _wait(self, request: Any, context: Any) -> Any:
        await self._heard("Wait", context)
        self.begun.release()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended.set()
        return TYPES["Nothing"]()

    async def _fill(self, request: Any, context: Any) -> Any:
        return TYPES["Sized"](size=request.size, filling=bytes(request.size))

    async def _shout(self, request: Any, context: Any) -> Any:
        return TYPES["google.protobuf.StringValue"](value=request.value.upper())

    async def _collect(self, requests: Any, context: Any) -> Any:
        raise AssertionError("no client sends a stream")
