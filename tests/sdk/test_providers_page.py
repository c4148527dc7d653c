"""Every frame on the page is as it really is: played against the real hub, by a bare websocket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gleitzeitd import errors
from gleitzeitd.conform import CHECKS
from gleitzeitd.conform.arena import Arena
from gleitzeitd.events import CATALOGUE
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json, from_plain
from gleitzeitd.providers import load

SDK = Path(__file__).resolve().parent.parent.parent / "packaging" / "sdk"
PAGE = (SDK / "PROVIDERS.md").read_text(encoding="utf-8")
PATIENCE = 10.0
TOKEN = "the-token"  # noqa: S105 - what stands for it on the page
BY = {
    "execute_method": Role.EXECUTION_ENGINE,
    "cancel_method": Role.EXECUTION_ENGINE,
    "drain_component": Role.CLIENT,
    "health_check": Role.PROTOCOL_REGISTRY,
    "initialize": Role.PROTOCOL_REGISTRY,
    "shutdown": Role.PROTOCOL_REGISTRY,
}
"""Who sends what does not come by itself."""
UNASKED = {"heartbeat", "provider_registered"}
"""What comes by itself, or is shown once only."""
VARYING = {"sid", "registered_at", "hub_version", "number", "_shard"}

Frame = tuple[str, str, Json]
"""``->`` or ``<-``, the numbers in front, and the JSON behind them."""


def sessions() -> list[list[Frame]]:
    """The frames of each connection on the page."""
    found: list[list[Frame]] = []
    for kind, text in re.findall(r"(?ms)^```frames( new)?\n(.*?)^```$", PAGE):
        frames = list(frames_of(text))
        if kind:
            found.append(frames)
        else:
            found[-1] += frames
    return found


def frames_of(text: str) -> Iterator[Frame]:
    for each in re.split(r"(?m)^(?=->|<-)", text):
        if each:
            direction, numbers, data = re.fullmatch(r"(->|<-) (\d+)(.*)", each, re.DOTALL).groups()  # type: ignore[union-attr]
            yield direction, numbers, json.loads(data)


def same_shape(shown: Json, came: Json) -> bool:
    """Whether they are equal, but for what differs from time to time. A shard follows from a workflow's id."""
    if isinstance(shown, dict) and isinstance(came, dict):
        ours = {key for key in came if not key.startswith("_")} | {
            "_shard",
            "_topic",
            "_reply_to",
        } & came.keys()
        for key in ours & shown.keys():
            if key not in VARYING and not same_shape(shown[key], came[key]):
                return False
        return shown.keys() == came.keys()
    if isinstance(shown, list) and isinstance(came, list):
        return len(shown) == len(came) and all(map(same_shape, shown, came))
    return shown == came


class Player:
    def __init__(self, arena: Arena, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.arena, self.socket = arena, socket

    async def play(self, frames: list[Frame]) -> None:
        for direction, numbers, data in frames:
            if direction == "->":
                text = json.dumps(data).replace(TOKEN, self.arena.token)
                await self.socket.send_str(numbers + text)
            else:
                await self.expect(numbers, data)

    async def expect(self, numbers: str, shown: Json) -> None:
        name = shown[0] if numbers == "42" else ""
        if name in BY:
            body = {key: value for key, value in shown[1].items() if not key.startswith("_")}
            event = from_plain(CATALOGUE[name], body)
            to = ComponentId(shown[1]["_reply_to"]) if "_reply_to" in shown[1] else None
            self.arena.tell(BY[name], event, to)
        came = await self.next(name)
        assert came.startswith(numbers), came
        assert same_shape(shown, json.loads(came.removeprefix(numbers))), came

    async def next(self, name: str) -> str:
        """What comes, without what comes by itself, unless that is wanted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                text: str = (await self.socket.receive()).data
                if text == "2":
                    await self.socket.send_str("3")
                    continue
                came = json.loads(text[2:])[0] if text.startswith("42") else ""
                if came not in UNASKED or came == name:
                    return text


@asynccontextmanager
async def connected(arena: Arena) -> AsyncIterator[Player]:
    url = f"{arena.hub_url}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield Player(arena, socket)


@pytest.mark.parametrize("frames", sessions(), ids=["connecting", "refused", "all of it"])
async def test_the_frames_are_as_they_are_on_the_wire(frames: list[Frame]) -> None:
    async with Arena() as arena, connected(arena) as player:
        await player.play(frames)
        wrong = [each for each in arena.record.refusals if "attempt: missing" not in each]
        sent = [data[0] for direction, numbers, data in frames if direction == "->" and numbers == "42"]
        accepted = [name for name in sent if name != "method_result"]
        assert await arena.record.until(
            lambda: [each.name for each in arena.record.seen if each.name != "method_result"] == accepted,
            PATIENCE,
        )
        assert wrong == []


def test_all_that_a_provider_is_told_is_on_the_page() -> None:
    told = {data[0] for frames in sessions() for _, numbers, data in frames if numbers == "42"}
    assert told >= BY.keys()
    document = json.loads((SDK / "asyncapi.json").read_text(encoding="utf-8"))
    for operation in document["operations"]:
        role, _, name = operation.split(".")
        assert role != "provider" or name in PAGE, f"{name} is not on the page"


def test_numbers_and_names_of_errors_are_those_of_the_table() -> None:
    found = re.findall(r"(-\d{5})[*]* ?(?:\|)? ?`([A-Z_]+)`", PAGE)
    assert len(found) > 8
    table = {
        each.name: each.code
        for each in vars(errors).values()
        if isinstance(each, type) and hasattr(each, "code")
    }
    for code, name in found:
        assert table[name] == int(code)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (SDK / target).exists(), target


def test_the_five_lines_of_python_are_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE)
    assert len(code) == 1 and len([line for line in code[0].splitlines() if line]) <= 5
    (tmp_path / "forecasts.py").write_text(code[0])
    monkeypatch.syspath_prepend(tmp_path)
    assert list(load("forecasts")().protocol().methods) == ["forecasts/forecast"]


def test_there_is_a_check_for_every_chapter() -> None:
    assert len(CHECKS) >= 20
