"""A hub that answers in everybody's name: what it is asked is looked up in a table of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gleitzeitd.events import CATALOGUE, Envelope, Event
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events.codec import decode_body, encode_body
from gleitzeitd.plain import Json
from tests.runtime.tiny_hub import Arguments, TinyHub

Answer = Callable[[Any], list[Event]]


def query(**pages: Json) -> Answer:
    """Answers ``query_data`` with all items of the kind in one page."""
    return lambda asked: [p.DataRetrieved(items=list(pages.get(asked.kind_of_data, [])))]


class ScriptedHub(TinyHub):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answers: dict[str, Answer] = {
            "subscribe": lambda asked: [h.Subscribed(topics=asked.topics)],
            "unsubscribe": lambda asked: [h.Subscribed(topics=[])],
        }
        self.asked: list[Event] = []

    async def _event(self, name: str, sid: str, *arguments: Any) -> None:
        await super()._event(name, sid, *arguments)
        for one, envelope, body in self._single(name, arguments):
            if one not in CATALOGUE:
                continue
            asked = decode_body(one, Envelope(message_id="", correlation_id="", source_component=""), body)  # type: ignore[arg-type]
            self.asked.append(asked)
            for event in self.answers.get(one, lambda _: [])(asked):
                direct = {"_reply_to": envelope["_source_component"]}
                if event.kind.value == "reply":
                    direct["_causation_id"] = envelope["_message_id"]
                await self._server.emit(event.name, (self.envelope(**direct), encode_body(event)), to=sid)

    @staticmethod
    def _single(name: str, arguments: Arguments) -> list[tuple[str, dict[str, Any], str]]:
        items = arguments[0] if name == "batch" else [[name, *arguments]]
        return [(item[0], item[1], item[2]) for item in items]

    async def publish(self, event: Event) -> None:
        await self.say(event.name, self.envelope(), encode_body(event))

    def bodies(self, name: str) -> list[Json]:
        return [body for _, body in self.events(name)]


@asynccontextmanager
async def scripted_hub(**options: Any) -> AsyncIterator[ScriptedHub]:
    hub = ScriptedHub(**options)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


__all__ = ["ScriptedHub", "query", "scripted_hub"]
