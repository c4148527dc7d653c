from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gleitzeitd.errors import ExecutionFailed, RateLimited
from gleitzeitd.providers.http_send import Ask, Sender, Way, fail

WAY = Way(
    max_redirects=3,
    connect_seconds=5.0,
    retry_wait_seconds=30.0,
    connections=4,
    use_proxy=False,
    user_agent="x",
)


class Moody:
    """A server that fails as it is told."""

    def __init__(self) -> None:
        self.plan: list[tuple[int, dict[str, str]]] = []
        self.asked: list[str] = []
        self.server: TestServer | None = None

    async def any(self, request: web.Request) -> web.Response:
        self.asked.append(request.method)
        status, headers = self.plan.pop(0) if self.plan else (200, {})
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 200, headers=headers)


@pytest.fixture
async def moody():
    moody = Moody()
    app = web.Application()
    app.router.add_route("*", "/", moody.any)
    async with TestServer(app) as moody.server:
        yield moody


@pytest.fixture
async def send(moody):
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    sender = Sender(WAY, [], pause)

    async def call(method: str = "GET", retries: int = 2, headers=None) -> int:
        async def consume(response) -> int:
            if response.status >= 400:
                fail(response.status, "failed", {k.lower(): v for k, v in response.headers.items()})
            return response.status

        url = str(moody.server.make_url("/"))
        return await sender.exchange(Ask(method=method, url=url, headers=headers, retries=retries), consume)

    call.waits = waits
    yield call
    await sender.close()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_what_can_be_sent_twice_is_sent_again(send, moody, method, status) -> None:
    moody.plan = [(status, {}), (status, {})]
    assert await send(method) == 200
    assert len(moody.asked) == 3
    first, second = send.waits
    assert 0.25 <= first <= 0.5
    assert 0.5 <= second <= 1


async def test_a_connection_that_is_lost_is_made_again(send, moody) -> None:
    moody.plan = [(0, {})]
    assert await send("PUT") == 200
    assert len(moody.asked) == 2


@pytest.mark.parametrize("status", [0, 429, 503])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_might_be_done_twice_is_left_to_the_task(send, moody, method, status) -> None:
    moody.plan = [(status, {})]
    with pytest.raises((ExecutionFailed, RateLimited)) as caught:
        await send(method)
    assert caught.value.retryable
    assert moody.asked == [method]


async def test_a_key_makes_it_safe(send, moody) -> None:
    moody.plan = [(503, {})]
    assert await send("POST", headers={"idempotency-Key": "1"}) == 200
    assert moody.asked == ["POST", "POST"]


async def test_what_does_not_pass_by_itself_is_not_sent_again(send, moody) -> None:
    moody.plan = [(404, {})]
    with pytest.raises(ExecutionFailed):
        await send()
    assert len(moody.asked) == 1


async def test_it_gives_up_after_so_many_times(send, moody) -> None:
    moody.plan = [(503, {})] * 5
    with pytest.raises(ExecutionFailed):
        await send(retries=2)
    assert len(moody.asked) == 3
    moody.plan = [(503, {})]
    with pytest.raises(ExecutionFailed):
        await send(retries=0)


async def test_a_server_is_left_alone_as_long_as_it_asks(send, moody) -> None:
    moody.plan = [(503, {"Retry-After": "7"}), (429, {"Retry-After": "30"})]
    assert await send() == 200
    assert send.waits == [7, 30]


async def test_who_asks_for_longer_is_left_to_the_task(send, moody) -> None:
    moody.plan = [(429, {"Retry-After": "31"})]
    with pytest.raises(RateLimited) as caught:
        await send()
    assert caught.value.retry_after == 31
    assert send.waits == []
