from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from pathlib import Path

import pytest

from gleitzeitd.errors import (
    ExecutionFailed,
    ParameterInvalid,
    ResultInvalid,
)
from gleitzeitd.providers import MethodCall
from tests.fake_llm import FakeLlm, vector

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
JPEG = b"\xff\xd8\xff\xe0" + b"1" * 20


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# --- what is asked, and what is answered ----------------------------------------------------------


async def test_a_chat_has_all_fields_of_earlier_versions(llm, server) -> None:
    result = await llm("chat", messages=user("hello there"))
    assert result["response"] == result["content"] == result["text"] == "You said: hello there"
    assert (result["role"], result["model"], result["done"]) == ("assistant", "llama3.2", True)
    assert (result["prompt_eval_count"], result["eval_count"], result["tokens_used"]) == (2, 4, 6)
    assert result["provider_id"] in ("ollama", "openai")
    assert result["total_duration"] > 0
    assert result["elapsed"] > 0
    assert result["finish_reason"] == "stop"
    assert result["json"] is None


async def test_the_whole_history_is_sent_in_its_order(llm, server) -> None:
    history = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two"},
    ]
    await llm("chat", messages=history, model="m", temperature=0.5, max_tokens=7)
    body = server.asked[0].body
    assert body["messages"] == history
    how = body.get("options") or {"temperature": body["temperature"], "num_predict": body["max_tokens"]}
    assert how == {"temperature": 0.5, "num_predict": 7}


async def test_defaults_are_those_of_earlier_versions(llm, server) -> None:
    await llm("chat", prompt="x")
    body = server.asked[0].body
    how = body.get("options") or {"temperature": body["temperature"], "num_predict": body["max_tokens"]}
    assert how == {"temperature": 0.7, "num_predict": 500}


async def test_a_prompt_and_a_system_message_surround_the_history(llm, server) -> None:
    await llm("chat", messages=user("first"), system="be brief", prompt="last")
    assert [m["content"] for m in server.asked[0].body["messages"]] == ["be brief", "first", "last"]


@pytest.mark.parametrize("method", ["complete", "generate"])
async def test_a_prompt_is_completed(method, llm, server) -> None:
    result = await llm(method, prompt="once upon", system="a poet")
    assert result["text"] == result["response"] == "You said: once upon"
    body = server.asked[0].body
    if "prompt" in body:
        assert (body["prompt"], body["system"]) == ("once upon", "a poet")
    else:
        assert [m["content"] for m in body["messages"]] == ["a poet", "once upon"]


async def test_what_is_no_text_is_sent_as_json(llm, server) -> None:
    await llm("chat", messages=[{"role": "user", "content": {"ü": [1, None]}}])
    assert server.asked[0].body["messages"][0]["content"] == '{"ü": [1, null]}'


async def test_more_ways_to_steer_a_model_reach_it(llm, server) -> None:
    await llm("chat", prompt="x", seed=7, top_p=0.5, stop=["END"], options={"num_ctx": 8192})
    body = server.asked[0].body
    how = {**body, **body.get("options", {})}
    assert (how["seed"], how["top_p"], how["stop"], how["num_ctx"]) == (7, 0.5, ["END"], 8192)


async def test_nothing_to_ask_is_refused(llm) -> None:
    with pytest.raises(ParameterInvalid, match="messages or prompt"):
        await llm("chat")
    with pytest.raises(ParameterInvalid, match="prompt"):
        await llm("complete")
    with pytest.raises(ParameterInvalid, match=r"messages\[0\].role"):
        await llm("chat", messages=[{"role": "wizard", "content": "x"}])


async def test_options_do_not_replace_the_conversation(made, server) -> None:
    llm = made({"OPENAI_BASE_URL": server.url})
    await llm("chat", prompt="x", options={"messages": [], "model": "other", "n": 5})
    assert server.asked[0].body["messages"] == user("x")
    assert server.asked[0].body["model"] == "llama3.2"
    assert "n" not in server.asked[0].body


# --- streams --------------------------------------------------------------------------------------


async def test_an_answer_is_shown_while_it_grows(llm, server) -> None:
    seen_at: list[int] = []

    async def pause(_number: int) -> None:
        await asyncio.sleep(0)
        seen_at.append(len(llm.shown))

    server.pause = pause
    result = await llm("chat", prompt="a b c")
    assert "".join(llm.shown) == result["response"]
    assert len(llm.shown) > 1


async def test_words_arrive_before_the_answer_is_complete(llm, server) -> None:
    first_shown = asyncio.Event()

    async def pause(number: int) -> None:
        if number == 1:
            await asyncio.wait_for(first_shown.wait(), 10)

    server.pause = pause
    call = MethodCall(
        method="llm/chat", parameters={"prompt": "a b"}, on_partial=lambda _text: first_shown.set()
    )
    assert (await llm.provider.call(call))["response"] == "You said: a b"


async def test_a_stream_can_be_declined(llm, server) -> None:
    result = await llm("chat", prompt="a b", stream=False)
    assert result["response"] == "You said: a b"
    assert llm.shown == []
    assert server.asked[0].body["stream"] is False
    assert result["tokens_used"] == 6


async def test_characters_may_be_cut_anywhere(made) -> None:
    line = json.dumps(
        {"message": {"role": "assistant", "content": "grüße €"}, "done": True}, ensure_ascii=False
    ).encode()
    async with raw([line[:30], line[30:51], line[51:]]) as url:
        result = await made({"OLLAMA_HOST": url})("chat", prompt="x")
    assert result["response"] == "grüße €"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([b'{"message": {"content": "half"}, "done": false}\n'], "broke off"),
        ([b'{"message": {"content": "half"}}\n{"error": "out of memory"}\n'], "out of memory"),
        ([b"<html>busy</html>"], "expected JSON"),
    ],
)
async def test_an_answer_without_an_end_is_none_and_may_be_tried_again(made, parts, message) -> None:
    async with raw(parts) as url:
        with pytest.raises(ExecutionFailed, match=message) as failed:
            await made({"OLLAMA_HOST": url})("chat", prompt="x")
    assert failed.value.retryable


async def test_an_answer_without_limit_is_refused(made, server) -> None:
    server.says = lambda _prompt: "x " * 2000
    llm = made({"OLLAMA_HOST": server.url}, max_response_bytes=2048)
    with pytest.raises(ResultInvalid, match="2048 bytes"):
        await llm("chat", prompt="x")


class raw:  # noqa: N801 - used as a function
    """A server that sends these bytes to whoever comes, and hangs up."""

    def __init__(self, parts: list[bytes], kind: str = "application/x-ndjson") -> None:
        self._parts, self._kind = parts, kind

    async def __aenter__(self) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if b"content-length" in x
            )
            await reader.readexactly(length)
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: {self._kind}\r\nConnection: close\r\n\r\n".encode()
            )
            with contextlib.suppress(ConnectionError):
                for part in self._parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                writer.close()
                await writer.wait_closed()
            self._ended.set()

        self._ended = asyncio.Event()
        self._server = await asyncio.start_server(handle, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self._ended.wait(), 10)
        self._server.close()
        await self._server.wait_closed()


# --- files and images -----------------------------------------------------------------------------


async def test_texts_of_files_are_added_to_the_last_message_of_the_user(llm, server, tmp_path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("erste", encoding="utf-8")
    two.write_text("zweite", encoding="utf-8")
    history = [*user("read"), {"role": "assistant", "content": "yes?"}]
    await llm("chat", messages=history, file_path=str(one), files=[str(two)])
    first, last = server.asked[0].body["messages"]
    added = f"\n\nFile content from {one}:\nerste\n\nFile content from {two}:\nzweite"
    assert (first["content"], last["content"]) == ("read" + added, "yes?")


async def test_images_come_from_files_and_parameters(llm, tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.jpg").write_bytes(JPEG)
    coded = base64.b64encode(PNG).decode()
    result = await llm(
        "vision",
        prompt="what is it?",
        image_path=str(tmp_path / "a.png"),
        image_paths=[str(tmp_path / "b.jpg")],
        images=[coded, f"data:image/png;base64,{coded}"],
        image_data=coded,
    )
    assert result["model"] == "llava"
    seen = "I see 5: png, png, png, png, jpeg."
    assert sorted(result["response"].rpartition(": ")[2][:-1].split(", ")) == sorted(
        seen.rpartition(": ")[2][:-1].split(", ")
    )
    assert result["response"].startswith("You said: what is it? I see 5")


async def test_vision_without_an_image_is_refused(llm) -> None:
    with pytest.raises(ParameterInvalid, match="expected an image"):
        await llm("vision", prompt="what is it?")


async def test_what_is_no_image_is_refused(llm, tmp_path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ParameterInvalid, match=r"a\.png: no image"):
        await llm("vision", prompt="x", image_path=str(tmp_path / "a.png"))
    with pytest.raises(ParameterInvalid, match="no base64"):
        await llm("vision", prompt="x", images=["***"])


async def test_a_batch_asks_once_for_each_file(llm, server, tmp_path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(f"text {name}")
    (tmp_path / "d.md").write_text("another")
    result = await llm(
        "chat", prompt="sum up", batch_mode=True, directory=str(tmp_path), file_pattern="*.txt"
    )
    assert [Path(one["file"]).name for one in result["results"]] == ["a.txt", "b.txt", "c.txt"]
    assert [one["response"].rpartition("\n")[2] for one in result["results"]] == [
        "text a",
        "text b",
        "text c",
    ]
    assert len(server.asked) == 3
    assert result["tokens_used"] == sum(one["tokens_used"] for one in result["results"])


# --- answers with a schema ------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
}


async def test_an_answer_with_a_schema_is_data(llm, server) -> None:
    result = await llm("chat", prompt="who?", schema=SCHEMA)
    assert result["json"] == {"name": "who?", "age": 4}
    assert json.loads(result["response"]) == result["json"]
    assert "age" in server.asked[0].text


async def test_the_spelling_of_openai_asks_for_the_same(llm) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": False}}
    assert (await llm("chat", prompt="who?", response_format=wanted))["json"]["age"] == 4
    assert (await llm("chat", prompt="who?", response_format={"type": "json_object"}))["json"] == {
        "said": "who?"
    }
    assert (await llm("chat", prompt="who?", response_format={"type": "text"}))["json"] is None


@pytest.mark.parametrize(
    ("said", "problem"),
    [("no idea", "no JSON"), ('{"name": "x"}', "age: missing"), ('{"name": "x", "age": NaN}', "no JSON")],
)
async def test_an_answer_that_breaks_its_schema_is_refused_and_may_be_tried_again(
    llm, server, said, problem
) -> None:
    server.says = lambda _prompt: said
    with pytest.raises(ResultInvalid, match=problem) as failed:
        await llm("chat", prompt="who?", schema=SCHEMA)
    assert failed.value.retryable


async def test_a_fence_around_an_answer_does_not_count(llm, server) -> None:
    server.says = lambda _prompt: '```json\n{"name": "x", "age": 1}\n```'
    assert (await llm("chat", prompt="who?", schema=SCHEMA))["json"] == {"name": "x", "age": 1}


async def test_a_schema_that_is_none_is_refused_before_anything_is_sent(llm, server) -> None:
    with pytest.raises(ParameterInvalid, match="schema"):
        await llm("chat", prompt="x", schema={"type": "wizard"})
    with pytest.raises(ParameterInvalid, match="either"):
        await llm("chat", prompt="x", schema=SCHEMA, response_format={"type": "text"})
    assert server.asked == []


# --- embeddings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["embed", "embeddings"])
async def test_texts_become_vectors_in_their_order(method, llm) -> None:
    result = await llm(method, text=["one", "two words"])
    assert result["embeddings"] == [vector("one"), vector("two words")]
    assert (result["embedding"], result["dimensions"]) == (vector("one"), 3)
    assert result["model"] == "nomic-embed-text"


async def test_a_vector_needs_exactly_one_text(llm) -> None:
    assert (await llm("embed", prompt="one"))["embedding"] == vector("one")
    for wrong in ({}, {"text": []}, {"text": "a", "prompt": "b"}):
        with pytest.raises(ParameterInvalid, match="one of text"):
            await llm("embed", **wrong)


async def test_an_old_ollama_is_asked_in_its_own_way(made) -> None:
    async with FakeLlm(old=True).serve() as old:
        llm = made({"OLLAMA_HOST": old.url})
        history = [{"role": "system", "content": "be brief"}, *user("one"),
                   {"role": "assistant", "content": "1"}, *user("two")]  # fmt: skip
        await llm("chat", messages=history)
        body = old.asked[-1].body
        assert (body["system"], body["prompt"]) == (
            "be brief",
            "User: one\n\nAssistant: 1\n\nUser: two\n\nAssistant:",
        )
        assert (await llm("embed", text=["a", "b c"]))["embeddings"] == [vector("a"), vector("b c")]
