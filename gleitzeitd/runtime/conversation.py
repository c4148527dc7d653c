"""Hands what comes to a client's machine to whoever waits for it.

A request waits in a future, under its id. What is published under a topic goes to the streams that are
open on it. A stream is bounded: when its reader is too slow it forgets, and fetches what it has missed
from the ledger once it has caught up, so that a workflow's facts stay complete and in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from gleitzeitd import errors
from gleitzeitd.errors import ErrorInfo, GleitzeitError
from gleitzeitd.events import Event
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.machines.base import Effects, Request
from gleitzeitd.machines.client import Answered, Client, Gone, Published, RefusedByHub, Undelivered
from gleitzeitd.machines.feed import stamp_of
from gleitzeitd.runtime.performer import Performer

STREAM_LIMIT = 20_000
"""Published events that a stream holds for a reader who is slow."""
RESYNC_SECONDS = 3.0
"""After so long without news a stream asks the ledger whether it has missed some; doubles to the next."""
RESYNC_LIMIT = 30.0

_KNOWN: dict[str, type[GleitzeitError]] = {
    kind.name: kind
    for kind in (
        errors.NotPermitted,
        errors.NotAuthenticated,
        errors.TokenExpired,
        errors.TokenRevoked,
        errors.LimitExceeded,
        errors.WorkflowInvalid,
        errors.WorkflowNotFound,
        errors.WorkflowConflict,
        errors.TaskNotFound,
        errors.StoreError,
        errors.StoreCorrupt,
        errors.StoreLocked,
    )
}


def as_exception(info: ErrorInfo) -> GleitzeitError:
    """The exception that was meant by its wire form, or the base class with the form as its text."""
    kind = _KNOWN.get(info.name)
    made = GleitzeitError(str(info)) if kind is None else kind(info.message)
    made.retryable, made.retry_after = info.retryable, info.retry_after
    return made


class Desk(Performer):
    """Where a client's requests and streams wait."""

    def __init__(self, on_waiting: Callable[[str], None] | None, silence: Callable[[], str]) -> None:
        """``on_waiting`` is told why something takes long; ``silence`` says why nothing can come, if so."""
        self._on_waiting = on_waiting
        self._silence = silence
        self._answers: dict[str, asyncio.Future[Event]] = {}
        self._missing: dict[str, str] = {}
        self._streams: dict[str, list[Stream]] = {}
        self._closed: GleitzeitError | None = None

    def perform(self, call_id: str, request: Request) -> None:
        """Never finishes a call: nothing is left for the machine to decide."""
        match request:
            case Answered(event):
                self._answer(call_id, event)
            case RefusedByHub(error):
                self._fail(call_id, as_exception(error))
            case Undelivered(notice):
                self._undelivered(call_id, notice)
            case Gone():
                gone = errors.WorkflowNotFound(f"{call_id}: it was deleted while it was watched")
                for stream in self._streams.get(call_id, ()):
                    stream.fail(gone)
            case Published():
                for stream in self._streams.get(call_id, ()):
                    stream.put(request)
            case _:
                raise AssertionError(f"a client makes no {request!r}")

    def _answer(self, request_id: str, event: Event) -> None:
        answer = self._answers.get(request_id)
        if answer is None or answer.done():
            return  # Nobody waits any more.
        if isinstance(event, p.PersistenceError):
            answer.set_exception(as_exception(event.error))
        else:
            answer.set_result(event)

    def _fail(self, request_id: str, problem: GleitzeitError) -> None:
        answer = self._answers.get(request_id)
        if answer is not None and not answer.done():
            answer.set_exception(problem)
            return
        topic = request_id.rpartition("/")[2]
        for stream in self._streams.get(topic, ()):
            stream.fail(problem)

    def _undelivered(self, request_id: str, notice: h.NoComponentsAvailable) -> None:
        because = _described(notice)
        if self._missing.get(request_id) == because:
            return
        self._missing[request_id] = because
        if self._on_waiting is not None:
            self._on_waiting(because)

    def say_why_silent(self) -> None:
        """Tell why nothing comes, if that is known."""
        because = self._silence()
        if because and self._on_waiting is not None:
            self._on_waiting(because)

    def expect(self, request_id: str) -> asyncio.Future[Event]:
        """The answer to come.

        Raises:
            GleitzeitError: the client is closed; nothing will come.
        """
        if self._closed is not None:
            raise self._closed
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        return answer

    def missing(self, request_id: str) -> str:
        """Who would have to be there for an answer, as far as the hub has said."""
        return self._missing.get(request_id, "")

    def forget(self, request_id: str) -> None:
        """Nobody waits for it any more."""
        self._answers.pop(request_id, None)
        self._missing.pop(request_id, None)

    def attach(self, topic: str, stream: Stream) -> None:
        """Give the stream what is published under ``topic``.

        Raises:
            GleitzeitError: the client is closed.
        """
        if self._closed is not None:
            raise self._closed
        self._streams.setdefault(topic, []).append(stream)

    def detach(self, topic: str, stream: Stream) -> bool:
        """No more of it; whether nobody is left who follows the topic."""
        streams = self._streams.get(topic, [])
        if stream in streams:
            streams.remove(stream)
        if not streams:
            self._streams.pop(topic, None)
        return not streams

    def close(self, problem: GleitzeitError) -> None:
        """Nothing will come any more: whoever waits gets ``problem``."""
        if self._closed is not None:
            return
        self._closed = problem
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(problem)
        for streams in self._streams.values():
            for stream in streams:
                stream.fail(problem)


class Stream:
    """What is published under one topic, in order. ``async with`` it, and iterate."""

    def __init__(
        self,
        desk: Desk,
        topic: str,
        after: int,
        machine: Client,
        perform: Callable[[Effects], None],
        *,
        exists: bool = False,
    ) -> None:
        """``after`` is the number of the feed entry to go on from, of a workflow; ``exists``: it is there."""
        self._desk = desk
        self._topic = topic
        self._cursor = after
        self._exists = exists
        self._machine = machine
        self._perform = perform
        self._waiting: deque[Published] = deque()
        self._news = asyncio.Event()
        self._incomplete = False
        self._problem: GleitzeitError | None = None

    async def __aenter__(self) -> Stream:
        self._desk.attach(self._topic, self)
        self._perform(self._machine.watch(self._topic, self._cursor, exists=self._exists))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._desk.detach(self._topic, self):
            self._perform(self._machine.unwatch(self._topic))

    def put(self, published: Published) -> None:
        """Keep it for the reader. At the limit nothing more is kept until the reader has caught up."""
        if self._incomplete:
            return
        if len(self._waiting) >= STREAM_LIMIT:
            self._incomplete = True
            return
        self._waiting.append(published)
        self._news.set()

    def fail(self, problem: GleitzeitError) -> None:
        """Nothing more will come."""
        self._problem = problem
        self._news.set()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Published:
        patience = RESYNC_SECONDS
        while True:
            while self._waiting:
                published = self._waiting.popleft()
                if self._is_new(published):
                    return published
            if self._problem is not None:
                raise self._problem
            if self._incomplete:
                self._resync()
            self._news.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._news.wait()
            except TimeoutError:
                self._desk.say_why_silent()
                patience = min(patience * 2, RESYNC_LIMIT)
                self._resync()

    def _resync(self) -> None:
        # Live events are lossy: a hub that restarts forgets them, and the last one leaves no gap to be seen.
        self._incomplete = False
        self._perform(self._machine.watch(self._topic, self._cursor, exists=self._exists))

    def _is_new(self, published: Published) -> bool:
        """Whether the reader has not seen it: streams of one topic share what is fetched for any of them."""
        stamp = stamp_of(published.event)
        if stamp is None or published.event.topic() != self._topic:
            return True
        if stamp.number <= self._cursor:
            return False
        self._cursor = stamp.number
        return True


def _described(notice: h.NoComponentsAvailable) -> str:
    role = notice.component_type.value if notice.component_type is not None else "component"
    if notice.shard_without_owner is not None:
        # An owner needs the ledger to become one: which of the two is missing, the hub cannot say.
        return (
            f"no {role} takes part in shard {notice.shard_without_owner} yet: are it and persistence running?"
        )
    if notice.component_id is not None:
        return f"{notice.component_id} is not connected"
    return f"no {role} is connected"
