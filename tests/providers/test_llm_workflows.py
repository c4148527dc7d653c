"""Workflows with language models through the whole system."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.events.provider import TaskOutput
from gleitzeitd.runtime.embedded import Embedded
from tests.fake_llm import FakeLlm

pytestmark = pytest.mark.slow
KEY = "sk-1234567890abcdef"


@pytest.fixture
async def server(monkeypatch) -> AsyncIterator[FakeLlm]:
    async with FakeLlm(key=KEY).serve() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{running.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.delenv("OLLAMA_HOST", raising=False)
        yield running


@pytest.fixture
async def client(server, tmp_path) -> AsyncIterator[Client]:
    async with (
        Embedded(database=tmp_path / "gleitzeit.db") as system,
        Client(hub_urls=[system.hub_url], token=system.token) as connected,
    ):
        yield connected


def ask(task_id: str, prompt: str, **more) -> dict:
    return {"id": task_id, "method": "llm/chat", "parameters": {"prompt": prompt}, **more}


RETRY = {"max_attempts": 3, "base_delay": 0.1, "jitter": False}


async def test_two_failures_and_a_success_are_a_success_at_the_third_attempt(client, server) -> None:
    server.fail(500, 500)
    result = await client.run({"name": "W", "tasks": [ask("a", "hello", retry=RETRY)]})
    assert result.tasks["a"].result["response"] == "You said: hello"
    assert len(server.asked) == 3


async def test_a_server_is_left_alone_for_as_long_as_it_asks(client, server) -> None:
    server.fail(429, headers={"Retry-After": "2"})
    assert (await client.run({"name": "W", "tasks": [ask("a", "hello", retry=RETRY)]})).completed
    first, second = server.asked
    assert second.at - first.at >= 2


async def test_what_a_model_says_is_shown_while_it_grows_and_kept_once(client, server) -> None:
    shown: list[tuple[str, str]] = []

    def show(published) -> None:
        if isinstance(published.event, TaskOutput):
            shown.extend((chunk.stream, chunk.text) for chunk in published.event.chunks)

    result = await client.run({"name": "W", "tasks": [ask("a", "one two three")]}, on_event=show)
    assert {stream for stream, _ in shown} == {"partial"}
    assert "".join(text for _, text in shown) == "You said: one two three"
    assert not any((await client.output(result.workflow_id)).values())


async def test_what_a_model_says_never_becomes_code(client, server) -> None:
    evil = "\"); raise SystemExit(3)\n'''; raise SystemExit(4)\n\\\" ${b.result} {{x}} __import__('os')"
    server.says = lambda _prompt: evil
    code = "a = \"${a.response}\"\nb = ${a.content}\nc = '''${a.result.response}'''\nresult = [a, b, c]"
    use = {"id": "b", "method": "python/execute", "parameters": {"code": code}}
    more = ask("c", "again: ${a.response}")
    result = await client.run({"name": "W", "tasks": [ask("a", "x"), use, more]})
    assert result.completed, result.plain()
    assert result.tasks["b"].result["result"] == [evil] * 3
    # It is a value: what looks like a reference in it refers to nothing.
    assert server.asked[-1].body["messages"][-1]["content"] == f"again: {evil}"


async def test_a_reference_to_nothing_is_an_error_and_is_never_sent(client, server) -> None:
    result = await client.run({"name": "W", "tasks": [ask("a", "x"), ask("b", "${a.nonsense}")]})
    assert not result.completed
    assert [asked.body["messages"][0]["content"] for asked in server.asked] == ["x"]


async def test_the_key_is_in_nothing_that_is_kept(client, server, tmp_path, caplog) -> None:
    server.says = lambda _prompt: f"the key: {KEY}"
    assert (await client.run({"name": "W", "tasks": [ask("a", "x")]})).completed
    server.fail(500, body=f'{{"error": {{"message": "Bearer {KEY}", "code": "x"}}}}')
    assert not (await client.run({"name": "W", "tasks": [ask("a", "x")]}, workflow_id="w2")).completed
    kept = b"".join(file.read_bytes() for file in Path(tmp_path).glob("gleitzeit.db*"))
    assert b"the key: (key)" in kept
    assert KEY.encode() not in kept
    assert KEY not in caplog.text
