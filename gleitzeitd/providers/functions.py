"""Functions with ``@method(process=True)``: they run in processes that stay, one call at a time in each.

A call costs two messages, and no fork: what the function's module keeps in its variables is there at the
next call in the same process, as it is for functions in threads, but nothing is shared with the daemon or
with other processes. What threads cannot do: such functions use several processors, a crash ends nothing but
the call, and a call that is cancelled or takes too long is killed with everything that it has started. Its
process is replaced by a fork of the worker, which has imported the function's module already.

A process is a job of a :class:`WorkerPool` that does not end by itself; ``function_worker.py`` is its half.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from gleitzeitd.errors import ConfigError, ExecutionFailed, ProviderNotAvailable, TaskError
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall
from gleitzeitd.providers.pool import Job, WorkerPool, uninterrupted
from gleitzeitd.providers.streams import LINE_LIMIT, Channel, Output, Pipe

PROCESS = "__gleitzeit_process__"
"""Attribute of a function that is to run in a process."""
OUTPUT_LIMIT = 256 * 1024
"""Bytes of each stream of a call that are passed on."""
_WORKER = "gleitzeitd.providers.function_worker"


def runs_in_process(function: Callable[..., Any]) -> bool:
    """Whether it was marked so."""
    return bool(getattr(function, PROCESS, False))


def processes_for(
    functions: Iterable[Callable[..., Any]], *, capacity: int, result_limit: int, grace_seconds: float
) -> FunctionProcesses | None:
    """For those of these functions that are to run in processes; None if there are none.

    Raises:
        ConfigError: one of them cannot, since another process has no way to it.
    """
    chosen = [function for function in functions if runs_in_process(function)]
    for function in chosen:
        name = getattr(function, "__qualname__", repr(function))
        if not inspect.isfunction(function) or "<locals>" in name:
            raise ConfigError(
                f"{name}: process=True is for functions of a module, and for static methods: another "
                "process does not have the object that self is"
            )
        if inspect.iscoroutinefunction(function):
            raise ConfigError(f"{name}: process=True is for functions with def, not with async def")
    if not chosen:
        return None
    modules = sorted({function.__module__ for function in chosen})
    return FunctionProcesses(
        modules, capacity=capacity, result_limit=result_limit, grace_seconds=grace_seconds
    )


class FunctionProcesses:
    """Processes in which functions of some modules are called. Whoever uses it bounds the calls at once."""

    def __init__(self, modules: list[str], *, capacity: int, result_limit: int, grace_seconds: float) -> None:
        self._pool = WorkerPool(
            preload=[_WORKER, *modules],
            module_path=[entry or str(Path.cwd()) for entry in sys.path],
            warm=1,
            keep=capacity,
        )
        self._limit = result_limit
        self._job = Job(
            body={"kind": "functions", "env": {}, "cwd": ""},
            timeout=None,
            grace_seconds=grace_seconds,
            output_limit=OUTPUT_LIMIT,
            answer_limit=result_limit,
        )
        self._idle: list[_Process] = []

    async def start(self) -> None:
        """Raises ConfigError if no process can be started, or a module cannot be imported in it."""
        await self._pool.start()
        if not self._idle:
            self._idle.append(_Process(self._pool, self._job))

    async def stop(self) -> None:
        """End all processes that are idle, and every one that becomes so."""
        idle, self._idle = self._idle, []
        for process in idle:
            await process.end()
        await self._pool.stop()

    async def call(self, function: Callable[..., Any], call: MethodCall) -> Json:
        """The function's result. A cancelled call is dead when this returns.

        Raises:
            TaskError: the function's own, or ``ExecutionFailed``: its exception, or its process's end.
        """
        process = self._idle_process()
        try:
            return await process.call(function, call, self._limit)
        finally:
            if process.is_usable():
                self._idle.append(process)
            else:
                await uninterrupted(process.end())

    def _idle_process(self) -> _Process:
        while self._idle:
            process = self._idle.pop()
            if process.is_usable():
                return process
        return _Process(self._pool, self._job)


class _Process:
    """The provider's half of one process."""

    def __init__(self, pool: WorkerPool, job: Job) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = job.answer_limit + LINE_LIMIT
        self._buffer = bytearray()
        self._call: MethodCall | None = None
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._outputs: list[Output] = []
        self._clean = True
        self._channel = Channel(self._said)
        self._pipes = [Pipe(self._printed(0)), Pipe(self._printed(1))]
        self._running = self._loop.create_task(self._run(pool, job))
        self._running.add_done_callback(self._ended)

    def is_usable(self) -> bool:
        """Whether it can be given a call."""
        return self._clean and self._answer is None and not self._running.done()

    async def call(self, function: Callable[..., Any], call: MethodCall, limit: int) -> Json:
        """Raises TaskError. Cancelled, it leaves the process to be ended by whoever has called this."""
        self._outputs = [
            Output("stdout", OUTPUT_LIMIT, call.on_output),
            Output("stderr", OUTPUT_LIMIT, call.on_output),
        ]
        self._call, self._answer = call, self._loop.create_future()
        try:
            with suppress(OSError):  # it has died, and how is known as soon as its worker has said so
                await self._channel.send(_line(function, call, limit))
            answer = await self._answer
        finally:
            for pipe, output in zip(self._pipes, self._outputs, strict=True):
                pipe.drain()
                output.finish()
            self._outputs, self._call = [], None
        self._answer, self._clean = None, answer["clean"]
        if not self._clean:
            await uninterrupted(self.end())
        if "failed" in answer:
            _raise(answer["failed"])
        return answer["result"]

    async def end(self) -> None:
        """Kill it, with all that it has started; it is dead then."""
        self._clean = False
        self._running.cancel()
        await asyncio.wait([self._running])

    async def _run(self, pool: WorkerPool, job: Job) -> str:
        """How it has ended, if nobody has ended it."""
        return (await pool.carry_out(job, [*self._pipes, self._channel])).ending()

    def _ended(self, running: asyncio.Task[str]) -> None:
        for pipe in (*self._pipes, self._channel):
            pipe.close()  # also if it was ended before it began
        waiting = self._answer
        problem = None if running.cancelled() else running.exception()
        if waiting is None or waiting.done():
            return
        if running.cancelled():
            waiting.cancel()
        elif isinstance(problem, TaskError):
            waiting.set_exception(problem)
        elif problem is not None:
            waiting.set_exception(ProviderNotAvailable(f"a process of functions: {problem}"))
        else:
            how = f"the process ended with {running.result()} before it gave a result"
            waiting.set_exception(ExecutionFailed(how))

    def _printed(self, stream: int) -> Callable[[bytes], None]:
        def feed(data: bytes) -> None:
            if self._outputs:
                self._outputs[stream].feed(data)

        return feed

    def _said(self, data: bytes) -> None:
        self._buffer += data
        if b"\n" not in data:
            if len(self._buffer) > self._limit and self._answer is not None and not self._answer.done():
                self._answer.set_exception(ExecutionFailed(f"it said more than {self._limit} bytes at once"))
            return
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return  # the function has written into a descriptor that is not its own
        call, waiting = self._call, self._answer
        if call is None or waiting is None or waiting.done():
            return
        match message:
            case {"progress": [int() | float() as ratio, str() as text]}:
                call.on_progress(float(ratio), text)
            case {"partial": str() as text}:
                call.on_partial(text)
            case {"output": [str() as stream, str() as text]}:
                call.on_output(stream, text)
            case {"result": _, "clean": bool()} | {"failed": {"code": int()}, "clean": bool()}:
                waiting.set_result(message)
            case _:
                pass


def _line(function: Callable[..., Any], call: MethodCall, limit: int) -> bytes:
    asked = {
        "function": [function.__module__, function.__qualname__],
        "call": {
            "method": call.method,
            "parameters": call.parameters,
            "timeout": call.timeout,
            "workflow_id": call.workflow_id,
            "task_id": call.task_id,
            "attempt": call.attempt,
        },
        "limit": limit,
    }
    return json.dumps(asked, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _raise(failed: dict[str, Any]) -> NoReturn:
    known = {cls.code: cls for cls in TaskError.__subclasses__()}
    error = known.get(failed["code"], ExecutionFailed)(failed["message"])
    with suppress(KeyError):
        error.retryable, error.retry_after = failed["retryable"], failed["retry_after"]
    raise error
