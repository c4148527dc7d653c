from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, RateLimited, ResultInvalid, TaskTimeout
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.http import HttpProvider, HttpSettings
from gleitzeitd.providers.http_send import RETRY_AFTER_LIMIT, retry_after

NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def _mirror(request: web.Request) -> web.Response:
    body = await request.text()
    headers = {
        name: request.headers.get(name, "")
        for name in (
            "X-A",
            "Content-Type",
            "User-Agent",
            "Cookie",
            "Authorization",
            "Proxy-Authorization",
        )
    }
    answer = {"method": request.method, "query": request.query_string, "body": body, "headers": headers}
    response = web.json_response(answer)
    response.set_cookie("session", "1")
    return response


async def _status(request: web.Request) -> web.Response:
    headers = {"Retry-After": request.query["after"]} if "after" in request.query else {}
    return web.Response(status=int(request.match_info["code"]), text="because", headers=headers)


async def _body(request: web.Request) -> web.Response:
    kind, data = request.query["type"], bytes.fromhex(request.query["hex"])
    return web.Response(body=data, headers={"Content-Type": kind})


async def _flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x" * 65536)
    except ConnectionError:
        return response


async def _turn(request: web.Request) -> web.Response:
    raise web.HTTPFound("/mirror" if request.query.get("once") else "/turn")


async def _to(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["to"])


async def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.fixture
async def server():
    app = web.Application()
    app.router.add_route("*", "/mirror", _mirror)
    app.router.add_get("/status/{code}", _status)
    app.router.add_get("/body", _body)
    app.router.add_get("/flood", _flood)
    app.router.add_get("/turn", _turn)
    app.router.add_get("/cut", _cut)
    app.router.add_get("/to", _to)
    async with TestServer(app) as server:
        yield server


@pytest.fixture
async def http(server):
    provider = HttpProvider(HttpSettings(max_body_bytes=4096, max_redirects=3))
    await provider.start()

    async def call(path: str, /, method: str = "http/request", limit: float | None = None, **parameters):
        url = path if "://" in path else str(server.make_url(path))
        parameters = {"url": url, **parameters}
        if "verb" in parameters:
            parameters["method"] = parameters.pop("verb")
        return await provider.call(MethodCall(method=method, parameters=parameters, timeout=limit))

    yield call
    await provider.stop()


async def test_a_request_carries_what_it_was_given(http) -> None:
    done = await http("/mirror?a=1", verb="PUT", params={"b": "x y", "c": 2},
                      headers={"X-A": "1"}, json={"k": [1]})  # fmt: skip
    assert done["status"] == 200
    assert done["json"]["method"] == "PUT"
    assert done["json"]["query"] == "a=1&b=x y&c=2"
    assert done["json"]["body"] == '{"k": [1]}'
    assert done["json"]["headers"]["X-A"] == "1"
    assert done["json"]["headers"]["Content-Type"] == "application/json"
    assert done["json"]["headers"]["User-Agent"] == "gleitzeit"
    assert done["headers"]["content-type"].startswith("application/json")
    assert done["elapsed"] > 0


async def test_a_query_can_hold_a_key_several_times(http) -> None:
    assert (await http("/mirror", params={"a": ["1", "2"]}))["json"]["query"] == "a=1&a=2"


async def test_the_short_methods_make_their_requests(http) -> None:
    assert (await http("/mirror", method="http/get"))["json"]["method"] == "GET"
    done = await http("/mirror", method="http/post", body="täxt")
    assert (done["json"]["method"], done["json"]["body"]) == ("POST", "täxt")


async def test_no_cookie_passes_to_the_next_call(http) -> None:
    await http("/mirror")
    assert (await http("/mirror"))["json"]["headers"]["Cookie"] == ""


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (404, False), (408, True), (425, True), (500, True), (503, True)],
)
async def test_an_error_status_fails_and_says_whether_another_attempt_helps(http, status, retryable) -> None:
    with pytest.raises(ExecutionFailed, match=f"status {status}: because") as caught:
        await http(f"/status/{status}")
    assert caught.value.info().retryable is retryable


async def test_a_server_that_asks_for_fewer_requests_is_heard(http) -> None:
    with pytest.raises(RateLimited) as caught:
        await http("/status/429?after=17")
    assert caught.value.info().retry_after == 17
    with pytest.raises(ExecutionFailed) as other:
        await http("/status/503?after=3")
    assert other.value.info().retry_after == 3


async def test_expected_statuses_are_a_success_and_no_others(http) -> None:
    assert (await http("/status/404", expect_status=[404]))["status"] == 404
    with pytest.raises(ExecutionFailed) as caught:
        await http("/status/200", expect_status=[201])
    assert not caught.value.info().retryable


@pytest.mark.parametrize(
    ("kind", "data", "text", "json"),
    [
        ("application/json", b'{"a": 1}', '{"a": 1}', {"a": 1}),
        ("application/problem+json", b"[1]", "[1]", [1]),
        ("application/json", b"{", "{", None),
        ("application/json", b"NaN", "NaN", None),
        ("text/plain", b"[1]", "[1]", None),
        ("text/plain; charset=latin-1", b"\xe4", "ä", None),
        ("text/plain; charset=nonsense", b"\xff", "\ufffd", None),
        ("application/octet-stream", b"", "", None),
    ],
)
async def test_a_body_is_text_and_is_parsed_if_it_says_that_it_is_json(http, kind, data, text, json) -> None:
    done = await http("/body", params={"type": kind, "hex": data.hex()})
    assert (done["body"], done["json"]) == (text, json)


async def test_a_body_without_end_is_refused(http) -> None:
    with pytest.raises(ResultInvalid, match="4096"):
        await http("/flood")


async def test_redirections_are_followed_to_a_limit(http) -> None:
    done = await http("/turn?once=1")
    assert done["url"].endswith("/mirror")
    assert (await http("/turn", allow_redirects=False, expect_status=[302]))["status"] == 302
    with pytest.raises(ParameterInvalid, match="TooManyRedirects"):
        await http("/turn")


async def test_a_redirection_to_another_server_leaves_cookies_and_passwords_behind(http, server) -> None:
    there = str(server.make_url("/mirror")).replace("127.0.0.1", "localhost")
    secrets = {"Cookie": "session=2", "Authorization": "Bearer x", "Proxy-Authorization": "y", "X-A": "1"}
    done = await http("/to", params={"to": there}, headers=secrets)
    assert done["url"] == there
    seen = done["json"]["headers"]
    assert (seen["Cookie"], seen["Authorization"], seen["Proxy-Authorization"]) == ("", "", "")
    assert seen["X-A"] == "1"
    here = await http("/to", params={"to": "/mirror"}, headers=secrets)
    assert here["json"]["headers"]["Cookie"] == "session=2"


async def test_a_password_in_an_address_is_used_and_not_repeated(http, server, unused_tcp_port) -> None:
    address = str(server.make_url("/to?to=/mirror")).replace("//", "//me:secret@")
    done = await http(address)
    assert done["json"]["headers"]["Authorization"].startswith("Basic ")
    assert "secret" not in done["url"]
    missing = str(server.make_url("/status/404")).replace("//", "//me:secret@")
    lost = f"http://me:secret@127.0.0.1:{unused_tcp_port}/"
    for bad in (missing, lost, "http://me:secret@[::1", "http://me:secret@x:99999/"):
        with pytest.raises((ExecutionFailed, ParameterInvalid)) as caught:
            await http("", url=bad)
        assert "secret" not in str(caught.value)


async def test_a_lost_connection_can_be_retried_and_says_why(http, unused_tcp_port) -> None:
    for url in ("/cut", f"http://127.0.0.1:{unused_tcp_port}/"):
        with pytest.raises(ExecutionFailed) as caught:
            await http(url)
        assert caught.value.info().retryable
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "/relative", "http://", "http://[::1"])
async def test_an_url_that_leads_nowhere_is_refused(http, url) -> None:
    with pytest.raises(ParameterInvalid):
        await http("", url=url)


async def test_json_and_body_exclude_each_other(http) -> None:
    with pytest.raises(ParameterInvalid, match="either json or body"):
        await http("/mirror", json=1, body="1")


async def test_a_request_ends_with_its_timeout(http) -> None:
    provider = HttpProvider(HttpSettings(max_body_bytes=2**29))
    with pytest.raises(TaskTimeout):
        await http("/flood", limit=0.0)
    await provider.stop()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("0", 0),
        ("120", 120),
        ("99999999", RETRY_AFTER_LIMIT),
        ("-5", None),
        ("²", None),
    ],
)
def test_retry_after_in_seconds(value, seconds) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.integers(min_value=-1000, max_value=200_000))
def test_retry_after_as_a_date_is_the_time_until_then(seconds) -> None:
    value = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after(value, NOW) == min(max(seconds, 0), RETRY_AFTER_LIMIT)


@given(st.text())
def test_no_header_breaks_the_reading_of_retry_after(value) -> None:
    assert retry_after(value, NOW) is None or retry_after(value, NOW) >= 0
