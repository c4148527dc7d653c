"""A provider's work as calls of its machine: each is a task, and each ends with exactly one answer.

Whatever leaves the provider's code becomes an answer here: its result, its :class:`TaskError`, the
cancellation that was asked for, and, as a failed execution, any other exception. What the work writes is
shown to watchers while it runs, in few events and at a bounded rate; its tail is part of the answer.

A call gets the secrets that it names here, and here they are masked in all that comes back.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

from gleitzeitd.errors import (
    ErrorInfo,
    ExecutionFailed,
    ResultInvalid,
    TaskCancelled,
    TaskError,
    TaskTimeout,
)
from gleitzeitd.events.provider import TaskOutput, TaskProgress
from gleitzeitd.machines.base import Effects, Request, Tell
from gleitzeitd.machines.provider import CheckHealth, Work
from gleitzeitd.machines.provider import Finished as WorkFinished
from gleitzeitd.model.ledger import PARTIAL, OutputChunk
from gleitzeitd.model.reference import PYTHON_SOURCE
from gleitzeitd.providers.base import MethodCall, Provider
from gleitzeitd.providers.masking import Masker, Stream
from gleitzeitd.providers.secrets import NO_SECRETS, Secrets
from gleitzeitd.runtime import journal
from gleitzeitd.runtime.clock import utc_now
from gleitzeitd.runtime.output_records import OutputRecords
from gleitzeitd.runtime.performer import Finished, Performer
from gleitzeitd.runtime.silence import Silence
from gleitzeitd.runtime.tasks import Tasks

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds beyond its timeout after which a call is cancelled whose provider has not done so itself."""
HEALTH_SECONDS = 5.0
"""A provider that needs longer to say how it is, is not well."""
STOP_SECONDS = 10.0
"""How long ``stop`` waits for cancelled calls to end."""
TICK = 0.1
"""Seconds for which output is collected before it is shown."""
EARLY_BYTES = 8 * 1024
"""Output that is shown at once."""
TICK_BYTES = 64 * 1024
"""Output of one call shown per tick; the rest is left out of what is shown, with a note."""
SMALL_BYTES = 4096
"""Pieces of output are put together up to this size."""
TAIL_BYTES = 64 * 1024
"""The end of a call's output that its answer holds."""


def _show_nobody(_effects: Effects) -> None:
    pass


class ProviderPerformer(Performer):
    """Runs the calls of one provider."""

    def __init__(
        self,
        provider: Provider,
        show: Callable[[Effects], object] = _show_nobody,
        journal_bytes: int = 0,
        secrets: Secrets = NO_SECRETS,
    ) -> None:
        """``show`` gets what goes to watchers while calls run: a component's ``perform``; so many
        ``journal_bytes`` of what a call writes go into the journal.
        """
        self._provider = provider
        self._secrets = secrets
        self._show = show
        self._journal_bytes = journal_bytes
        self._tasks = Tasks()
        self._calls: dict[str, asyncio.Task[object]] = {}
        self._cancelled: set[str] = set()
        self._stopped = False

    async def start(self, finished: Finished) -> None:
        """Start the provider.

        Raises:
            ConfigError: its settings cannot work on this machine.
        """
        await super().start(finished)
        journal.hide(self._secrets.hidden)
        await self._provider.start()

    def perform(self, call_id: str, request: Request) -> None:
        match request:
            case Work():
                work = self._work(call_id, request)
            case CheckHealth():
                work = self._health()
            case _:
                raise AssertionError(f"{request!r} is for another performer")
        task: asyncio.Task[object] = self._tasks.spawn(work, name=call_id)
        self._calls[call_id] = task
        # Not at the end of the coroutine: a task that is cancelled before it begins never gets there.
        task.add_done_callback(partial(self._ended, call_id))

    def cancel(self, call_id: str) -> None:
        task = self._calls.get(call_id)
        if task is not None:
            self._cancelled.add(call_id)
            task.cancel()

    async def stop(self) -> None:
        """Cancel what runs, wait for its end, and stop the provider."""
        if self._stopped:
            return
        self._stopped = True
        await self._tasks.cancel(within=STOP_SECONDS)
        await self._provider.stop()
        if not self._secrets.any_given_out():  # else somebody may still say one, to the end of the process
            journal.hide_no_more(self._secrets.hidden)

    def _ended(self, call_id: str, task: asyncio.Task[object]) -> None:
        del self._calls[call_id]
        self._cancelled.discard(call_id)
        if self._stopped:
            return
        if task.cancelled():
            self.finished(call_id, TaskCancelled("cancelled before it began"))
        else:
            self.finished(call_id, task.exception() or task.result())

    async def _work(self, call_id: str, work: Work) -> object:
        about = {
            "workflow_id": work.workflow_id,
            "task_id": work.task_id,
            "attempt": work.attempt,
            "correlation_id": work.correlation_id,
        }
        python_keys = PYTHON_SOURCE.get(self._provider.protocol().name, ())
        try:
            parameters, masker = self._secrets.put_in(work.parameters, python_keys)
        except TaskError as problem:
            return WorkFinished(error=problem.info(), finished_at=utc_now())
        records = OutputRecords(about, self._journal_bytes)
        output = CallOutput(work, self._show, records.written)
        said: _Said = output if masker is None else _Masked(output, masker)
        silence = None if work.silence is None else Silence(work.silence)
        call = MethodCall(
            method=work.method,
            parameters=parameters,
            timeout=work.timeout,
            on_output=said.written if silence is None else silence.breaking(said.written),
            on_partial=said.partial if silence is None else silence.breaking(said.partial),
            on_progress=said.progressed if silence is None else silence.breaking(said.progressed),
            workflow_id=work.workflow_id,
            task_id=work.task_id,
            attempt=work.attempt,
            resources=work.resources,
        )
        limit = None if work.timeout is None else work.timeout + GRACE
        started_at = utc_now()
        try:
            code = self._provider.call(call)
            heard = code if silence is None else silence.limit(code)
            result, error = await self._foreign(heard, call_id, limit, about)
        finally:
            said.close()
            records.close()
        if masker is not None:
            result, error = _without_secrets(result, error, masker)
        return WorkFinished(
            result=result,
            error=error,
            output=output.tail(),
            started_at=started_at,
            finished_at=utc_now(),
        )

    async def _health(self) -> object:
        health, error = await self._foreign(self._provider.health(), "", HEALTH_SECONDS, {})
        return self._secrets.hidden(error.message if error is not None else str(health))

    async def _foreign(
        self, code: Awaitable[Any], call_id: str, limit: float | None, about: dict[str, Any]
    ) -> tuple[Any, ErrorInfo | None]:
        """Run a provider's code: its result, or why there is none.

        Raises:
            CancelledError: this performer stops; nothing of the work is alive.
        """
        try:
            async with asyncio.timeout(limit) as scope:
                return await code, None
        except asyncio.CancelledError:
            if self._stopped:
                raise
            if call_id in self._cancelled:
                return None, TaskCancelled("cancelled").info()
            return None, ExecutionFailed("it waited for something that was cancelled").info()
        except TaskError as problem:
            cancelled = call_id in self._cancelled
            return None, TaskCancelled(str(problem)).info() if cancelled else problem.info()
        except (Exception, SystemExit) as problem:  # the boundary of foreign code: an answer
            if isinstance(problem, TimeoutError) and scope.expired():
                return None, TaskTimeout(f"took longer than {limit:g} s and was stopped").info()
            log.error("a provider's code failed", exc_info=problem, extra=about)
            text = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
            return None, ExecutionFailed(text).info()


def _without_secrets(result: Any, error: ErrorInfo | None, masker: Masker) -> tuple[Any, ErrorInfo | None]:
    if error is not None:
        return None, replace(error, message=masker.text(error.message))
    try:
        return masker.value(result), None
    except RecursionError:
        return None, ResultInvalid("the result is nested too deeply to be JSON").info()


class _Said(Protocol):
    """Where a call's output goes."""

    def written(self, stream: str, text: str) -> None: ...
    def partial(self, text: str) -> None: ...
    def progressed(self, ratio: float, message: str) -> None: ...
    def close(self) -> None: ...


class _Masked:
    """A call's output without the values of secrets."""

    def __init__(self, output: CallOutput, masker: Masker) -> None:
        self._output = output
        self._masker = masker
        self._streams: dict[str, Stream] = {}
        self._partial = masker.stream(output.partial)

    def written(self, stream: str, text: str) -> None:
        known = self._streams.get(stream)
        if known is None:
            known = self._streams[stream] = self._masker.stream(partial(self._output.written, stream))
        known.feed(text)

    def partial(self, text: str) -> None:
        self._partial.feed(text)

    def progressed(self, ratio: float, message: str) -> None:
        self._output.progressed(ratio, self._masker.text(message))

    def close(self) -> None:
        """Show what was held back, too."""
        for stream in (*self._streams.values(), self._partial):
            stream.end()
        self._output.close()


class CallOutput:
    """What one call writes and how far it is: shown while it runs, and its tail."""

    def __init__(
        self,
        work: Work,
        show: Callable[[Effects], object],
        record: Callable[[str, str], None] | None = None,
    ) -> None:
        """``record`` gets all of it, stream and text, at once."""
        self._work = work
        self._show = show
        self._record = record
        self._pending: list[tuple[str, bytes]] = []
        self._pending_bytes = 0
        self._progress: tuple[float, str] | None = None
        self._left_out = 0
        self._shown_in_tick = 0
        self._tick: asyncio.TimerHandle | None = None
        self._tail: deque[tuple[str, bytes]] = deque()
        self._tail_bytes = 0
        self._total = 0
        self._closed = False

    def written(self, stream: str, text: str) -> None:
        """The work has written something."""
        if self._closed or not text:
            return
        if self._record is not None:
            self._record(stream, text)
        data = text.encode("utf-8", "replace")  # half a surrogate pair has no place on the wire
        self._keep(stream, data)
        self._add(stream, data)

    def partial(self, text: str) -> None:
        """More of a text that will be the result, which alone is kept."""
        if not self._closed and text:
            self._add(PARTIAL, text.encode("utf-8", "replace"))

    def _add(self, stream: str, data: bytes) -> None:
        shown = b"" if self._left_out else _whole(data[: TICK_BYTES - self._shown_in_tick])
        self._left_out += len(data) - len(shown)
        self._shown_in_tick += len(shown)
        if shown:
            self._pending.append((stream, shown))
            self._pending_bytes += len(shown)
            if self._pending_bytes >= EARLY_BYTES:
                self._show_pending()
        self._wait()

    def _keep(self, stream: str, data: bytes) -> None:
        self._total += len(data)
        data = data[-TAIL_BYTES:]
        self._tail_bytes += len(data)
        if self._tail and self._tail[-1][0] == stream and len(self._tail[-1][1]) < SMALL_BYTES:
            data = self._tail.pop()[1] + data
        self._tail.append((stream, data))
        while self._tail_bytes - len(self._tail[0][1]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft()[1])

    def progressed(self, ratio: float, message: str) -> None:
        """The work says how far it is; the newest of a tick is shown."""
        if not self._closed and math.isfinite(ratio):
            self._progress = min(1.0, max(0.0, ratio)), message
            self._wait()

    def close(self) -> None:
        """The work has ended: show what is waiting, and nothing more."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._show_pending()
        self._closed = True

    def tail(self) -> list[OutputChunk]:
        """The last TAIL_BYTES, in the order in which they were written."""
        chunks = list(self._tail)
        over = self._tail_bytes - TAIL_BYTES
        if chunks:
            stream, data = chunks[0]
            chunks[0] = (stream, _whole(data[max(0, over) :]))
        kept = sum(len(data) for _, data in chunks)
        if kept < self._total:
            chunks.insert(0, (chunks[0][0], _gap(self._total - kept)))
        return _merged(chunks)

    def _wait(self) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK, self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        self._show_pending()
        self._shown_in_tick = 0

    def _show_pending(self) -> None:
        work, effects = self._work, cast("Effects", [])
        chunks, self._pending, self._pending_bytes = self._pending, [], 0
        if self._left_out and self._tick is None:
            chunks.append(("stdout", _gap(self._left_out)))
            self._left_out = 0
        if chunks:
            event = TaskOutput(
                workflow_id=work.workflow_id,
                task_id=work.task_id,
                attempt=work.attempt,
                chunks=_merged(chunks),
            )
            effects.append(Tell(event, correlation_id=work.correlation_id, cause=work.cause))
        if self._progress is not None:
            ratio, message = self._progress
            self._progress = None
            progress = TaskProgress(
                workflow_id=work.workflow_id,
                task_id=work.task_id,
                attempt=work.attempt,
                progress=ratio,
                message=message,
            )
            effects.append(Tell(progress, correlation_id=work.correlation_id, cause=work.cause))
        if effects:
            self._show(effects)


def _merged(chunks: list[tuple[str, bytes]]) -> list[OutputChunk]:
    """Neighbours of one stream become one chunk."""
    merged: list[tuple[str, list[bytes]]] = []
    for stream, data in chunks:
        if not merged or merged[-1][0] != stream:
            merged.append((stream, []))
        merged[-1][1].append(data)
    return [OutputChunk(stream=stream, text=b"".join(parts).decode()) for stream, parts in merged]


def _whole(data: bytes) -> bytes:
    """UTF-8 without the parts of characters at its two ends."""
    return data.decode("utf-8", "ignore").encode()


def _gap(size: int) -> bytes:
    return f"\n[{size} bytes left out]\n".encode()
