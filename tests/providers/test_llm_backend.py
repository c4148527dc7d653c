"""What servers refuse, which of several is asked, and where their keys appear."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import (
    ExecutionFailed,
    MalformedData,
    ParameterInvalid,
    ProviderOverloaded,
    RateLimited,
    TaskTimeout,
)
from gleitzeitd.providers.llm import LlmSettings
from gleitzeitd.providers.llm_access import BackendSettings, ScrubbedStream, Scrubber
from tests.fake_llm import FakeLlm

KEY = "sk-1234567890abcdef"

# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (401, False), (403, False), (408, True), (500, True), (503, True)]
)
async def test_what_may_pass_by_itself_can_be_retried(llm, server, status, retryable) -> None:
    server.fail(status)
    with pytest.raises(ExecutionFailed, match=f"status {status}: told to fail") as failed:
        await llm("chat", prompt="x")
    assert failed.value.retryable is retryable
    assert (await llm("chat", prompt="x"))["done"]


async def test_a_server_that_has_had_enough_says_for_how_long(llm, server) -> None:
    server.fail(429, headers={"Retry-After": "7"})
    with pytest.raises(RateLimited) as limited:
        await llm("chat", prompt="x")
    assert limited.value.retry_after == 7
    assert limited.value.retryable


async def test_nobody_else_asks_a_server_that_wants_rest(made, server) -> None:
    llm = made({"OLLAMA_HOST": server.url}, wait_seconds=0.05)
    server.fail(429, headers={"Retry-After": "60"})
    with pytest.raises(RateLimited):
        await llm("chat", prompt="x")
    with pytest.raises(ProviderOverloaded, match="rest"):
        await llm("chat", prompt="x")
    assert len(server.asked) == 1
    await llm("chat", prompt="x", model="another")
    assert len(server.asked) == 2


async def test_an_account_without_money_is_not_tried_again(made, server) -> None:
    server.fail(429, body='{"error": {"message": "no quota", "code": "insufficient_quota"}}')
    with pytest.raises(RateLimited) as limited:
        await made({"OPENAI_BASE_URL": server.url})("chat", prompt="x")
    assert not limited.value.retryable


@pytest.mark.parametrize("word", ["max_tokens", "stream_options", "temperature"])
async def test_a_parameter_that_a_server_refuses_is_spelled_differently(made, server, word) -> None:
    said = f"Unsupported parameter: '{word}'"
    if word == "max_tokens":
        said += ", use 'max_completion_tokens' instead"
    server.fail(400, body=json.dumps({"error": {"message": said, "code": "unsupported"}}))
    assert (await made({"OPENAI_BASE_URL": server.url})("chat", prompt="x"))["response"] == "You said: x"
    assert word not in server.asked[1].body
    assert ("max_completion_tokens" in server.asked[1].body) == (word == "max_tokens")


async def test_another_protocol_is_named(made, server) -> None:
    llm = made({"OPENAI_BASE_URL": f"{server.url}/nonsense"})
    with pytest.raises(ExecutionFailed, match="does not speak OpenAI's API") as failed:
        await llm("chat", prompt="x")
    assert not failed.value.retryable


async def test_without_any_server_the_error_says_what_to_set(made, monkeypatch) -> None:
    monkeypatch.setattr("gleitzeitd.providers.llm_access.OLLAMA_PORT", 1)
    llm = made()
    assert await llm.provider.health() == "ok"
    with pytest.raises(ExecutionFailed, match="no LLM server.*OLLAMA_HOST, OPENAI_BASE_URL") as failed:
        await llm("chat", prompt="x")
    assert not failed.value.retryable


async def test_a_server_that_is_gone_is_named_and_may_come_back(made) -> None:
    llm = made({"OLLAMA_HOST": "127.0.0.1:1"})
    with pytest.raises(ExecutionFailed, match=r"no connection to http://127\.0\.0\.1:1") as failed:
        await llm("chat", prompt="x")
    assert failed.value.retryable
    assert "no server can be reached" in await llm.provider.health()


async def test_a_lost_server_is_well_when_it_is_back(made) -> None:
    async with FakeLlm().serve() as server:
        port = int(server.url.rpartition(":")[2])
        llm = made({"OLLAMA_HOST": server.url})
        assert (await llm("chat", prompt="x"))["done"]
    with pytest.raises(ExecutionFailed):
        await llm("chat", prompt="x")
    assert await llm.provider.health() != "ok"
    async with FakeLlm().serve(port):
        assert await llm.provider.health() == "ok"


async def test_a_call_ends_with_its_time(llm, server) -> None:
    async def pause(_number: int) -> None:
        await asyncio.sleep(60)

    server.pause = pause
    with pytest.raises(TaskTimeout):
        await llm("chat", limit=0.1, prompt="x")
    with pytest.raises(TaskTimeout):
        await llm("chat", prompt="x", timeout=0.1)


# --- several back ends ----------------------------------------------------------------------------


def backend(name: str, url: str, **more) -> BackendSettings:
    return BackendSettings(name=name, base_url=url, **more)


async def test_a_model_decides_which_back_end_is_asked(made, server) -> None:
    async with FakeLlm().serve() as other:
        llm = made(backends=[
            backend("office", server.url, kind="ollama"),
            backend("cloud", other.url, models=["gpt-*", "o[0-9]"]),
        ])  # fmt: skip
        assert (await llm("chat", prompt="x", model="gpt-9"))["provider_id"] == "cloud"
        assert (await llm("chat", prompt="x", model="llama3.2"))["provider_id"] == "office"
    assert [one.path for one in (*server.asked, *other.asked)] == ["/api/chat", "/v1/chat/completions"]


async def test_what_one_back_end_lacks_is_looked_for_at_the_next(made) -> None:
    async with FakeLlm(models=["a"]).serve() as one, FakeLlm(models=["b"]).serve() as two:
        llm = made(backends=[
            backend("gone", "http://127.0.0.1:1", kind="ollama"),
            backend("one", one.url, kind="ollama"),
            backend("two", two.url),
        ])  # fmt: skip
        assert (await llm("chat", prompt="x", model="a"))["provider_id"] == "one"
        assert (await llm("chat", prompt="x", model="b"))["provider_id"] == "two"
        assert await llm.provider.health() == "ok"


async def test_a_model_that_nobody_has_is_named(made) -> None:
    async with FakeLlm(models=["a"]).serve() as one:
        with pytest.raises(ExecutionFailed, match="model 'z' not found") as failed:
            await made({"OLLAMA_HOST": one.url})("chat", prompt="x", model="z")
        assert not failed.value.retryable
        with pytest.raises(ParameterInvalid, match=r"no back end has it: one has gpt-\*"):
            await made(backends=[backend("one", one.url, models=["gpt-*"])])("chat", prompt="x", model="z")


async def test_a_model_gets_only_so_many_requests_at_once(made, server) -> None:
    async def pause(_number: int) -> None:
        await asyncio.sleep(0.001)

    server.pause = pause
    llm = made(backends=[backend("one", server.url, kind="ollama", parallel=2)], wait_seconds=4)
    await asyncio.gather(*(llm("chat", prompt=f"{n}") for n in range(7)))
    assert server.most == 2


async def test_who_waits_too_long_for_a_model_goes_back_into_the_queue(made, server) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def pause(_number: int) -> None:
        begun.set()
        await end.wait()

    server.pause = pause
    llm = made(backends=[backend("one", server.url, kind="ollama", parallel=1)], wait_seconds=0.01)
    first = asyncio.ensure_future(llm("chat", prompt="x"))
    await begun.wait()
    with pytest.raises(ProviderOverloaded, match="1 requests are under way"):
        await llm("chat", prompt="x")
    end.set()
    assert (await first)["done"]


def test_two_back_ends_have_two_names() -> None:
    with pytest.raises(MalformedData, match="two back ends"):
        LlmSettings(backends=[backend("a", "http://h"), backend("a", "http://h")])


# --- keys -----------------------------------------------------------------------------------------


async def test_a_key_reaches_its_server_and_nobody_else(made, server, tmp_path) -> None:
    (tmp_path / "office").write_text(f"{KEY}\n")
    server.key = KEY
    server.says = lambda prompt: f"{prompt}: your key is {KEY}, is it not?"
    llm = made(
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
        backends=[backend("office", server.url, key_credential="office")],
    )
    result = await llm("chat", prompt="x")
    assert result["response"] == "x: your key is (key), is it not?"
    assert "".join(llm.shown) == result["response"]
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(llm.provider.settings)


async def test_a_key_is_in_no_error(made, server) -> None:
    server.key = "another"
    with pytest.raises(ExecutionFailed, match=r"provided: Bearer \(key\)") as failed:
        await made({"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY})("chat", prompt="x")
    chain, error = [], failed.value
    while error is not None:
        chain.append(repr(error) + str(error))
        error = error.__cause__ or error.__context__
    assert KEY not in " ".join(chain)


async def test_a_key_that_is_missing_is_said_without_a_request(made, server) -> None:
    llm = made(backends=[backend("office", server.url, key_credential="office", key_variable="OFFICE")])
    with pytest.raises(
        ExecutionFailed, match="no systemd credential office, and OFFICE is not set"
    ) as failed:
        await llm("chat", prompt="x")
    assert not failed.value.retryable
    assert server.asked == []


async def test_a_workflow_cannot_have_the_key_read_to_it(made, server, tmp_path) -> None:
    (tmp_path / "office").write_text(KEY)
    (tmp_path / "link").symlink_to("/proc/self/environ")
    other = tmp_path / "other"
    other.symlink_to(tmp_path / "office")
    llm = made({"OLLAMA_HOST": server.url, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    for path in ("/proc/self/environ", tmp_path / "office", tmp_path / "link", other):
        with pytest.raises(ParameterInvalid, match="never read|cannot be read"):
            await llm("chat", prompt="x", file_path=str(path))
    assert server.asked == []


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=40), st.integers(0, 3))
def test_a_stream_shows_the_whole_text_but_no_key_however_it_is_cut(cuts, copies) -> None:
    scrubber = Scrubber([KEY])
    text = f"a sk-12 {KEY}{'s' * copies}k-1234{KEY * copies} sk-"
    stream, out, rest = ScrubbedStream(scrubber), "", text
    for cut in cuts:
        out += stream.feed(rest[:cut])
        rest = rest[cut:]
    out += stream.feed(rest) + stream.end()
    assert KEY not in out
    assert out == scrubber.text(text)
