"""What comes out of a process while it works: text, bounded; and answers, apart from the text."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from gleitzeitd.plain import Json

READ_BYTES = 65536
"""Read at once, before the event loop gets its turn."""
LINE_LIMIT = 65536
"""Bytes of an answer's frame beyond the answer itself, and of a line that tells progress."""


class Pipe:
    """A pipe whose read end is read by the event loop into ``sink``, in the order in which it was written."""

    def __init__(self, sink: Callable[[bytes], None], ends: tuple[int, int] | None = None) -> None:
        self._read_end, self.write_end = ends or os.pipe()
        os.set_blocking(self._read_end, False)
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read_end, self._readable)
        self.ended = asyncio.Event()
        """Nobody has the write end any more, and all is read."""

    def close_write_end(self) -> None:
        """Once whoever writes has a copy of it."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        """Read no more."""
        self.close_write_end()
        if self._read_end >= 0:
            self._loop.remove_reader(self._read_end)
            os.close(self._read_end)
            self._read_end = -1
            self.ended.set()

    def drain(self) -> None:
        """Read at once all that is there."""
        while self._read_end >= 0 and self._readable():
            pass

    def _readable(self) -> bool:
        """Whether there was something."""
        try:
            data = os.read(self._read_end, READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # of a channel: the process died with unread messages
            data = b""
        if data:
            self._sink(data)
        else:
            self.close()
        return bool(data)


class Channel(Pipe):
    """A pipe in both directions: the other side reads and writes at ``write_end``."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        super().__init__(sink, (os.dup(self._socket.fileno()), theirs.detach()))

    async def send(self, data: bytes) -> None:
        """Raises OSError: nobody is there any more."""
        await self._loop.sock_sendall(self._socket, data)

    def close(self) -> None:
        super().close()
        self._socket.close()


class Meter:
    """Counts what comes through several sinks, and says once when that is more than ``most`` bytes."""

    def __init__(self, most: int, over: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """``most`` 0 is any number. What ``over`` raises is the end of whoever is written to: he knows it."""
        self._most, self._over = most, over
        self._count = 0
        self._saying: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it was said."""
        return self._saying is not None

    def of(self, sink: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """The same sink, counted."""

        def feed(data: bytes) -> None:
            self._count += len(data)
            if self._most and self._count > self._most and self._saying is None:
                self._saying = asyncio.get_running_loop().create_task(self._over())
                self._saying.add_done_callback(lambda task: task.cancelled() or task.exception())
            sink(data)

        return feed


class Output:
    """One stream's text. The first half of ``limit`` bytes is passed on at once, the last half at the end.

    Between them is a line that says how much was left out.
    """

    def __init__(self, stream: str, limit: int, on_output: Callable[[str, str], None]) -> None:
        self._stream, self._limit, self._on_output = stream, limit, on_output
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._tail = bytearray()
        self._total = 0
        self._passed = 0
        """Bytes that went to ``on_output``; always the first ones."""

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        at_once = data[: max(0, self._limit // 2 - self._passed)] if self._passed == self._total else b""
        self._total += len(data)
        self._tail += data
        if len(self._tail) > 2 * self._limit:  # not at every read: deleting in front moves the rest
            del self._tail[: -self._limit]
        if at_once:
            self._passed += len(at_once)
            self._emit(self._decode(at_once))

    def finish(self) -> None:
        """The stream has ended; repeating it changes nothing."""
        held = min(self._total - self._passed, self._limit // 2)
        if held:
            left_out = self._total - self._passed - held
            if left_out:
                self._emit(self._decode(b"", True) + _gap(left_out))
            self._emit(self._decode(bytes(self._tail[-held:]), True))
        else:
            self._emit(self._decode(b"", True))
        self._passed = self._total

    def text(self) -> str:
        """The last ``limit`` bytes."""
        kept = bytes(self._tail[-self._limit :])
        left_out = self._total - len(kept)
        return (_gap(left_out) if left_out else "") + kept.decode("utf-8", "replace")

    def _emit(self, text: str) -> None:
        if text:
            self._on_output(self._stream, text)


def _gap(size: int) -> str:
    return f"\n[{size} bytes left out]\n"


class Answers:
    """JSON objects, one per line: progress is passed on, the last other one is kept."""

    def __init__(self, limit: int, on_progress: Callable[[float, str], None]) -> None:
        self._limit = limit + LINE_LIMIT
        self._on_progress = on_progress
        self._buffer = bytearray()
        self._last: dict[str, Json] | None = None

    def feed(self, data: bytes) -> None:
        """More of the channel. A line without end is cut: what is left of it will be no JSON."""
        self._buffer += data
        if b"\n" not in data:
            del self._buffer[self._limit :]
            return
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            self._take(line)

    def last(self) -> dict[str, Json] | None:
        """The result or the error; None if there was none."""
        return self._last

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return  # the work has written into a descriptor that is not its own
        match message:
            case {"progress": [int() | float() as ratio, str() as text]} if 0 <= ratio <= 1:
                self._on_progress(float(ratio), text)
            case {"result": _} | {"error": str()}:
                self._last = message
            case _:
                pass
