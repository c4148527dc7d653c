from __future__ import annotations

import asyncio
import json

import pytest

from gleitzeitd.errors import (
    ConfigError,
    ExecutionFailed,
    MethodNotSupported,
    ParameterInvalid,
    RateLimited,
    ResultInvalid,
    TaskTimeout,
)
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers import grpc as provider_module
from gleitzeitd.providers.grpc import GrpcProvider, GrpcSettings
from gleitzeitd.providers.grpc_access import ServerSettings
from tests.certificates import Authority
from tests.fake_grpc import SERVICE, FakeGrpc

GREET, COUNT, FAIL, WAIT = (f"{SERVICE}/{name}" for name in ("Greet", "Count", "Fail", "Wait"))
TOKEN = "Bearer 1234567890abcdef"


class Calls:
    """Calls of one provider, and what watchers see of them."""

    def __init__(self, server: FakeGrpc, provider: GrpcProvider) -> None:
        self.server, self.provider = server, provider
        self.shown: list[str] = []

    async def __call__(self, method: str = "", name: str = "grpc/call", limit: float | None = None, **more):
        parameters = {"target": self.server.target, **more}
        if method:
            parameters["method"] = method
        call = MethodCall(method=name, parameters=parameters, timeout=limit, on_partial=self.shown.append)
        return await self.provider.call(call)


@pytest.fixture
async def server():
    async with FakeGrpc().serve() as running:
        yield running


@pytest.fixture
async def made(server):
    providers = []

    async def make(server=server, environment=None, **settings) -> Calls:
        providers.append(GrpcProvider(GrpcSettings(**settings), environment or {}))
        await providers[-1].start()
        return Calls(server, providers[-1])

    yield make
    for provider in providers:
        await provider.stop()


@pytest.fixture
async def grpc(made):
    return await made()


# --- calls ----------------------------------------------------------------------------------------


async def test_a_unary_method_is_called_without_any_generated_code(grpc) -> None:
    done = await grpc(GREET, request={"user_name": "Ada", "tags": ["a", "b"], "mood": "MOOD_GOOD"})
    assert done["response"]["full_text"] == "hello Ada!!"
    assert done["response"]["mood"] == "MOOD_GOOD"
    assert done["target"] == grpc.server.target
    assert done["method"] == GREET
    assert done["elapsed"] > 0
    assert "messages" not in done


async def test_both_spellings_of_a_field_are_understood_and_the_declared_one_is_given(grpc) -> None:
    for request in ({"user_name": "Ada"}, {"userName": "Ada"}):
        assert (await grpc(GREET, request=request))["response"]["full_text"] == "hello Ada"


async def test_json_is_that_of_protobuf(grpc) -> None:
    request = {"user_name": "Ada", "at": "2030-01-02T03:04:05Z", "raw": "AAE=", "friend": {"user_name": "Bo"}}
    response = (await grpc(GREET, request=request))["response"]
    assert response == {
        "full_text": "hello Ada and Bo",
        "times": 0,
        "big": str(2**60),
        "mood": "MOOD_UNKNOWN",
        "at": "2030-01-02T03:04:05Z",
        "raw": "AAE=",
    }


async def test_messages_that_are_no_tables_in_json_are_given_as_what_they_are(grpc) -> None:
    done = await grpc(f"{SERVICE}/Shout", request="ada")
    assert done["response"] == "ADA"
    for wrong in (["a"], "a", 1):
        with pytest.raises(ParameterInvalid, match="expected a table"):
            await grpc(GREET, request=wrong)


@pytest.mark.parametrize("name", [f"/{GREET}", f"{SERVICE}.Greet"])
async def test_a_method_can_be_written_as_other_tools_do(grpc, name) -> None:
    assert (await grpc(name))["method"] == GREET


async def test_a_stream_gives_all_messages_and_shows_each(grpc) -> None:
    done = await grpc(COUNT, request={"to": 3})
    assert done["messages"] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert done["complete"] is True
    assert [json.loads(text) for text in grpc.shown] == done["messages"]


async def test_a_stream_ends_after_as_many_messages_as_are_wanted(grpc) -> None:
    done = await grpc(COUNT, request={"to": 1_000_000}, max_messages=2)
    assert (done["messages"], done["complete"]) == ([{"number": 0}, {"number": 1}], False)
    await asyncio.wait_for(grpc.server.ended.wait(), 10)
    exact = await grpc(COUNT, request={"to": 2}, max_messages=2)
    assert exact["complete"] is True


async def test_a_method_with_one_answer_is_a_stream_of_one(grpc) -> None:
    done = await grpc(GREET, name="grpc/stream", request={"user_name": "Ada"})
    assert [one["full_text"] for one in done["messages"]] == ["hello Ada"]
    assert "response" not in done


async def test_a_stream_that_breaks_is_a_failure(grpc) -> None:
    with pytest.raises(ExecutionFailed, match=r"Count at .*: ABORTED: halfway") as caught:
        await grpc(COUNT, request={"to": 5, "fail_after": 2})
    assert caught.value.retryable


async def test_a_stream_of_more_messages_or_bytes_than_allowed_is_refused(made) -> None:
    few = await made(max_messages=10)
    with pytest.raises(ResultInvalid, match="more than the 10 messages"):
        await few(COUNT, request={"to": 11})
    assert len((await few(COUNT, request={"to": 10}))["messages"]) == 10
    small = await made(max_result_bytes=1000)
    with pytest.raises(ResultInvalid, match="more than the 1000 bytes"):
        await small(COUNT, request={"to": 1_000_000})


async def test_metadata_goes_out_and_comes_back(grpc) -> None:
    done = await grpc(GREET, metadata={"X-A": "1", "x-b-bin": "AAE="})
    _, heard, _ = next(one for one in grpc.server.asked if one[0] == "Greet")
    assert (heard["x-a"], heard["x-b-bin"]) == ("1", b"\x00\x01")
    assert done["headers"]["x-first"] == "1"
    assert done["headers"]["x-data-bin"] == "AP8="
    assert done["trailers"]["x-last"] == "1"


@pytest.mark.parametrize(
    "metadata", [{"grpc-timeout": "1"}, {"a b": "1"}, {"a": "1\n"}, {"a-bin": "!"}, {":path": "/"}]
)
async def test_metadata_that_cannot_be_sent_is_refused(grpc, metadata) -> None:
    with pytest.raises(ParameterInvalid, match="metadata"):
        await grpc(GREET, metadata=metadata)
    assert grpc.server.asked == []


async def test_the_server_is_told_the_deadline(grpc) -> None:
    await grpc(GREET, limit=30.0)
    await grpc(GREET, limit=30.0, timeout=5)
    await grpc(GREET)
    left = [seconds for name, _, seconds in grpc.server.asked if name == "Greet"]
    assert 20 < left[0] < 32  # gRPC rounds up
    assert 3 < left[1] < 7
    assert left[2] is None or left[2] > 1000


async def test_a_call_ends_with_its_deadline_and_so_does_the_servers_work(grpc) -> None:
    with pytest.raises(TaskTimeout):
        await grpc(WAIT, limit=0.5)
    await asyncio.wait_for(grpc.server.ended.wait(), 10)


async def test_a_cancel_ends_the_servers_work(grpc) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(grpc(WAIT))
        await asyncio.wait_for(grpc.server.begun.acquire(), 10)
        task.cancel()
    assert task.cancelled()
    await asyncio.wait_for(grpc.server.ended.wait(), 10)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        ("INVALID_ARGUMENT", ParameterInvalid, False),
        ("OUT_OF_RANGE", ParameterInvalid, False),
        ("UNIMPLEMENTED", MethodNotSupported, False),
        ("RESOURCE_EXHAUSTED", RateLimited, True),
        ("UNAVAILABLE", ExecutionFailed, True),
        ("ABORTED", ExecutionFailed, True),
        ("INTERNAL", ExecutionFailed, True),
        ("UNKNOWN", ExecutionFailed, True),
        ("CANCELLED", ExecutionFailed, True),
        ("DEADLINE_EXCEEDED", ExecutionFailed, True),
        ("NOT_FOUND", ExecutionFailed, False),
        ("PERMISSION_DENIED", ExecutionFailed, False),
        ("UNAUTHENTICATED", ExecutionFailed, False),
        ("FAILED_PRECONDITION", ExecutionFailed, False),
        ("ALREADY_EXISTS", ExecutionFailed, False),
        ("DATA_LOSS", ExecutionFailed, False),
    ],
)
async def test_a_status_is_one_of_our_errors(grpc, status, kind, retryable) -> None:
    with pytest.raises(kind, match=f"Fail at .*: {status}: because") as caught:
        await grpc(FAIL, request={"status": status, "details": "because"})
    assert type(caught.value) is kind
    assert caught.value.info().retryable is retryable
    if retryable:
        assert caught.value.info().retry_after == 2.5


async def test_a_server_that_is_not_there_can_be_tried_again(grpc, unused_tcp_port) -> None:
    with pytest.raises(ExecutionFailed, match="UNAVAILABLE") as caught:
        await grpc(GREET, target=f"127.0.0.1:{unused_tcp_port}")
    assert caught.value.info().retryable


async def test_an_unknown_method_and_an_unknown_service_name_the_nearest(grpc) -> None:
    with pytest.raises(MethodNotSupported, match="no method 'Gret', did you mean Greet"):
        await grpc(f"{SERVICE}/Gret")
    with pytest.raises(MethodNotSupported, match=r"did you mean shop\.v1\.Shop"):
        await grpc("shop.v1.Shops/Greet")


@pytest.mark.parametrize("name", ["Greet", "a/b/c d", "/", "../x", "a b/c"])
async def test_what_is_no_method_is_refused(grpc, name) -> None:
    with pytest.raises(ParameterInvalid):
        await grpc(name)


@pytest.mark.parametrize(
    ("request_", "said"), [({"user": "x"}, "user"), ({"times": "many"}, "times"), ({"mood": "MOOD"}, "mood")]
)
async def test_a_request_that_does_not_fit_is_refused_before_it_is_sent(grpc, request_, said) -> None:
    with pytest.raises(ParameterInvalid, match=said):
        await grpc(GREET, request=request_)
    assert "Greet" not in [name for name, _, _ in grpc.server.asked]


async def test_a_method_that_wants_a_stream_is_refused(grpc) -> None:
    with pytest.raises(MethodNotSupported, match="stream of requests"):
        await grpc(f"{SERVICE}/Collect")


async def test_a_message_that_is_too_large_is_refused_and_not_tried_again(made) -> None:
    small = await made(max_message_bytes=10_000)
    with pytest.raises(ResultInvalid, match="larger than max"):
        await small(f"{SERVICE}/Fill", request={"size": 20_000})
    with pytest.raises(ParameterInvalid, match="10000 are allowed"):
        await small(GREET, request={"user_name": "x" * 10_001})


# --- what a server says of itself -----------------------------------------------------------------


@pytest.mark.parametrize("versions", [("v1",), ("v1alpha",), ("v1", "v1alpha")])
async def test_both_versions_of_reflection_are_spoken(made, versions) -> None:
    async with FakeGrpc(describes=versions).serve() as server:
        grpc = await made(server)
        assert (await grpc(GREET))["response"]["full_text"] == "hello "


async def test_a_server_without_reflection_says_so(made) -> None:
    async with FakeGrpc(describes=()).serve() as server:
        with pytest.raises(MethodNotSupported, match="no reflection service"):
            await (await made(server))(GREET)


async def test_files_that_a_server_does_not_send_unasked_are_asked_for(made) -> None:
    async with FakeGrpc(terse=True).serve() as server:
        assert (await (await made(server))(GREET, request={"at": "2030-01-02T03:04:05Z"}))["response"]["at"]
        assert server.described == 3  # the service, and each of the two files that it needs


async def test_a_description_is_kept_and_many_calls_ask_once(grpc) -> None:
    await asyncio.gather(*(grpc(GREET) for _ in range(5)))
    first = grpc.server.described
    await grpc(COUNT, request={"to": 1})
    assert grpc.server.described == first


async def test_what_is_not_in_a_description_that_was_kept_is_looked_up_anew(grpc) -> None:
    await grpc(GREET)
    first = grpc.server.described
    with pytest.raises(MethodNotSupported):
        await grpc(f"{SERVICE}/New")
    with pytest.raises(ParameterInvalid):
        await grpc(GREET, request={"new": 1})
    assert grpc.server.described >= first + 2


async def test_services_are_listed_with_what_goes_in_and_comes_out(grpc) -> None:
    done = await grpc(name="grpc/services")
    (service,) = done["services"]
    assert service["name"] == SERVICE
    methods = {one["name"]: one for one in service["methods"]}
    assert {name: one["kind"] for name, one in methods.items()} == {
        GREET: "unary",
        COUNT: "server_stream",
        FAIL: "unary",
        WAIT: "unary",
        f"{SERVICE}/Fill": "unary",
        f"{SERVICE}/Collect": "client_stream",
        f"{SERVICE}/Shout": "unary",
    }
    assert [one["name"] for one in methods.values() if not one["callable"]] == [f"{SERVICE}/Collect"]
    assert methods[GREET]["request"] == {"$ref": "#/types/shop.v1.GreetRequest"}
    shape = done["types"]["shop.v1.GreetRequest"]["properties"]
    assert shape["tags"] == {"type": "array", "items": {"type": "string"}}
    assert shape["mood"] == {"enum": ["MOOD_UNKNOWN", "MOOD_GOOD", "MOOD_BAD"]}
    assert shape["at"] == {"type": "string", "format": "date-time"}
    assert shape["friend"] == {"$ref": "#/types/shop.v1.GreetRequest"}


async def test_one_service_can_be_asked_for(grpc) -> None:
    assert len((await grpc(name="grpc/services", service=SERVICE))["services"]) == 1
    with pytest.raises(MethodNotSupported, match="did you mean"):
        await grpc(name="grpc/services", service="shop.v1.Shp")


async def test_health_is_asked_of_a_server_that_has_it(grpc, made) -> None:
    done = await grpc(name="grpc/health")
    assert (done["status"], done["serving"]) == ("SERVING", True)
    grpc.server.healthy = 2
    assert (await grpc(name="grpc/health"))["status"] == "NOT_SERVING"
    with pytest.raises(ExecutionFailed, match="NOT_FOUND"):
        await grpc(name="grpc/health", service="other")
    async with FakeGrpc(healthy=0).serve() as silent:
        with pytest.raises(MethodNotSupported):
            await (await made(silent))(name="grpc/health")


# --- which servers, and how -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["example.org:443", "127.0.0.2:80", "localhost.example.org:80", "10.0.0.1:1", "[::2]:80"]
)
async def test_other_hosts_are_refused_unless_they_are_allowed(grpc, target) -> None:
    with pytest.raises(ParameterInvalid, match=r"provider\.targets"):
        await grpc(GREET, target=target)


@pytest.mark.parametrize(
    "target",
    [
        "unix:/run/x",
        "dns:///localhost:80",
        "localhost",
        "localhost:99999",
        "a/b:80",
        "ipv4:127.0.0.1:80",
        "x@localhost:1",
    ],
)
async def test_what_is_no_address_is_refused(grpc, target) -> None:
    with pytest.raises(ParameterInvalid, match="expected host:port"):
        await grpc(GREET, target=target)


async def test_a_server_can_be_allowed_by_a_pattern(made, server) -> None:
    none = await made(targets=[])
    with pytest.raises(ParameterInvalid, match=r"provider\.servers alone"):
        await none(GREET)
    one = await made(targets=[f"127.0.*:{server.port}"])
    assert (await one(GREET))["target"] == server.target


async def test_a_server_of_the_settings_has_a_name_and_brings_its_secrets(made, tmp_path) -> None:
    (tmp_path / "office.token").write_text(f"{TOKEN}\n")
    async with FakeGrpc(token=TOKEN).serve() as server:
        office = ServerSettings(
            name="office", target=server.target, metadata={"authorization": "office.token"}
        )
        grpc = await made(server, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, targets=[], servers=[office])
        for target in ("office", server.target):
            done = await grpc(GREET, target=target, metadata={"x-a": TOKEN, "authorization": "mine"})
            assert done["target"] == "office"
            # The server repeats what it was sent, and nobody sees it.
            assert done["trailers"]["x-last"] == "(key)"
        server.token = "another"
        with pytest.raises(ExecutionFailed, match=r"UNAUTHENTICATED: you said \(key\)") as caught:
            await grpc(GREET, target="office")
        assert TOKEN not in str(caught.value)
        with pytest.raises(ParameterInvalid, match="did you mean office"):
            await grpc(GREET, target="offise")


async def test_a_secret_that_is_not_there_is_said_at_the_start(made) -> None:
    office = ServerSettings(name="office", target="localhost:1", metadata={"authorization": "none"})
    with pytest.raises(ConfigError, match=r"office: metadata\.authorization"):
        await made(servers=[office])


async def test_tls_checks_the_server_and_shows_a_certificate(made, tmp_path) -> None:
    authority = Authority(tmp_path)
    ours = authority.certificate("client")
    async with FakeGrpc().serve(authority.grpc_server("shop.internal")) as server:

        def office(**more) -> ServerSettings:
            usual = {"ca": str(authority.file), "certificate": str(ours.certificate), "key": str(ours.key),
                     "server_name": "shop.internal"}  # fmt: skip
            return ServerSettings(name="office", target=server.target, tls=True, **{**usual, **more})

        grpc = await made(server, servers=[office()])
        assert (await grpc(GREET, target="office"))["response"]["full_text"] == "hello "
        for wrong in (
            office(certificate="", key=""),
            office(server_name="other.internal"),
            office(ca=str(Authority(tmp_path / "other").file)),
        ):
            with pytest.raises(ExecutionFailed, match="UNAVAILABLE"):
                await (await made(server, servers=[wrong]))(GREET, target="office")
        plain = await made(server)
        with pytest.raises(ExecutionFailed, match="UNAVAILABLE"):
            await plain(GREET)


async def test_a_server_named_by_its_address_can_be_called_with_tls(made, tmp_path) -> None:
    authority = Authority(tmp_path)
    async with FakeGrpc().serve(authority.grpc_server("localhost", ask=False)) as server:
        grpc = await made(server, ca=str(authority.file))
        done = await grpc(GREET, target=f"localhost:{server.port}", tls=True)
        assert done["response"]["full_text"] == "hello "


async def test_connections_that_nobody_uses_are_closed_beyond_a_number(made, monkeypatch) -> None:
    monkeypatch.setattr(provider_module, "CONNECTIONS_KEPT", 1)
    grpc = await made()
    async with FakeGrpc().serve() as second:
        for _ in range(2):
            for target in (grpc.server.target, second.target):
                assert (await grpc(GREET, target=target))["response"]


async def test_without_the_libraries_it_says_at_the_start_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gleitzeitd.providers.grpc_client", None)
    with pytest.raises(ConfigError, match="python3-grpcio python3-protobuf"):
        await GrpcProvider(GrpcSettings(), {}).start()
