"""Warm worker processes, and one piece of work at a time in each of them.

``worker.py`` is the other half and says what a worker promises. Here is what the daemon does: it starts
workers when they are needed, hands jobs over, reads output and answers as they come, and replaces workers
that died.

Cancelling :meth:`WorkerPool.run` stops the job and returns when all its processes are dead. A worker that
does not even answer a stop is killed itself, and then everything that carries its mark in the environment.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gleitzeitd.errors import ConfigError, ProviderNotAvailable
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall, time_limit
from gleitzeitd.providers.isolation import Quarters, Reach
from gleitzeitd.providers.streams import Answers, Meter, Output, Pipe
from gleitzeitd.providers.worker import PARTS

START_SECONDS = 30.0
"""A worker that is not ready by then, with all it preloads, is taken for broken."""
BURIAL_SECONDS = 7.0
"""More than the worker's own: how long it may take to report the end of a job that was stopped."""
START_ATTEMPTS = 3
"""Workers that a job is given to, one after the other, if they die before it begins."""
DRAIN_SECONDS = 2.0
"""How long output may stay open after the end of a job, if a process could not be killed."""
MARK = "GLEITZEIT_WORKER"
OUTPUT = "output"
"""The limit that the pool minds, among those in ``Outcome.exceeded``."""

_SOURCES = [Path(__file__).with_name(name).read_bytes() for name in ("worker.py", *PARTS)]
"""As they were when the daemon started: an upgrade replaces the files, and speaks to workers of its own."""


def call_environment(call: MethodCall) -> dict[str, str]:
    """Which task the work belongs to."""
    if not call.task_id:
        return {}
    return {
        "GLEITZEIT_WORKFLOW": call.workflow_id,
        "GLEITZEIT_TASK": call.task_id,
        "GLEITZEIT_ATTEMPT": str(call.attempt),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work, as a worker gets it."""

    body: dict[str, Json]
    """``kind`` is ``python``, ``command`` or ``functions``; ``worker.py`` reads the rest."""
    timeout: float | None
    grace_seconds: float
    """Between the request to end and the kill, when the job is stopped. 0 kills at once."""
    output_limit: int
    """Bytes of each stream that are passed on, and kept."""
    answer_limit: int
    """Bytes that the answer may take."""
    limits: dict[str, Json] = field(default_factory=dict)
    """As ``allotment.py`` reads them."""
    most_output: int = 0
    """Bytes that it may write to stdout and stderr; more ends it. 0: any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended by itself."""

    exit_code: int
    """Negative for a signal."""
    stdout: str
    """The last ``output_limit`` bytes of it."""
    stderr: str
    answer: dict[str, Json] | None
    """None if the job ended without one."""
    seconds: float
    survivors: list[int] = field(default_factory=list)
    """Processes that could not be killed."""
    exceeded: str = ""
    """The limit for which it was ended."""

    def ending(self) -> str:
        """``exit code 3`` or ``signal SIGSEGV``."""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        with suppress(ValueError):
            return f"signal {signal.Signals(-self.exit_code).name}"
        return f"signal {-self.exit_code}"


class WorkerDied(Exception):
    """The worker's end of the socket is closed."""


class WorkerPool:
    """Workers of one configuration. Whoever uses it bounds the number of jobs at once."""

    def __init__(
        self,
        *,
        interpreter: str = "",
        preload: list[str] | None = None,
        module_path: list[str] | None = None,
        warm: int = 0,
        keep: int = 1,
        reach: Reach | None = None,
    ) -> None:
        """``warm`` workers are started by :meth:`start`; up to ``keep`` idle ones are kept. ``reach`` is what
        their work can reach; without it, all that the daemon can.
        """
        self._command = [interpreter or sys.executable, "-I", "-X", "utf8"]
        self._hello: dict[str, Json] = {"preload": preload or [], "module_path": module_path or []}
        self._warm, self._keep = warm, keep
        self._quarters = Quarters(reach or Reach())
        self._idle: list[Worker] = []
        self._stopped = False

    async def start(self) -> None:
        """Raises ConfigError if no worker can be started."""
        self._stopped = False
        self._quarters.open()
        missing = self._warm - len(self._idle)
        if missing <= 0:
            return
        started = await asyncio.gather(*[self._new_worker() for _ in range(missing)], return_exceptions=True)
        self._idle += [worker for worker in started if isinstance(worker, Worker)]
        for error in started:
            if isinstance(error, ProviderNotAvailable):
                await self.stop()
                raise ConfigError(str(error)) from error
            if isinstance(error, BaseException):
                raise error

    async def stop(self) -> None:
        self._stopped = True
        idle, self._idle = self._idle, []
        for worker in idle:
            await worker.close()
        await asyncio.to_thread(self._quarters.close)

    async def run(self, job: Job, call: MethodCall) -> Outcome:
        """Do ``job``; output and progress go to ``call``. Its time counts from when a worker has it.

        Raises:
            TaskTimeout: all of it is dead.
            ProviderNotAvailable: no worker could be started, or it died before the job began.
        """
        for _ in range(START_ATTEMPTS):
            worker = await self._idle_worker()
            try:
                async with time_limit(job.timeout):
                    return await worker.run(job, call)
            except WorkerDied:
                continue  # it had died unnoticed; nothing has begun
            finally:
                await uninterrupted(self._put_back(worker))
        raise ProviderNotAvailable("workers die before they can begin")

    async def carry_out(self, job: Job, pipes: Sequence[Pipe]) -> Outcome:
        """Do ``job``, whose ``pipes`` somebody else reads and writes, for as long as it takes.

        Raises:
            ProviderNotAvailable: no worker could be started, or it died before the job began.
        """
        worker = await self._idle_worker()
        try:
            return await worker.carry_out(job, pipes)
        except WorkerDied as error:
            raise ProviderNotAvailable("a worker died before it could begin") from error
        finally:
            await uninterrupted(self._put_back(worker))

    async def _idle_worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_usable():
                return worker
            await uninterrupted(worker.close())
        return await self._new_worker()

    async def _new_worker(self) -> Worker:
        return await Worker.start(self._command, self._hello, self._quarters)

    async def _put_back(self, worker: Worker) -> None:
        if worker.is_usable() and not self._stopped and len(self._idle) < self._keep:
            self._idle.append(worker)
        else:
            await worker.close()


class Worker:
    """The daemon's half of one worker process."""

    def __init__(
        self, process: subprocess.Popen[bytes], control: socket.socket, mark: str, leave: Callable[[], None]
    ) -> None:
        """``leave`` is called in a thread when all processes have ended."""
        self._process, self._control, self._mark, self._leave = process, control, mark, leave
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._messages: asyncio.Queue[dict[str, Json] | None] = asyncio.Queue(maxsize=16)
        self._alive = True
        self._busy = False
        self._sending = False
        self._loop.add_reader(control, self._readable)

    @classmethod
    async def start(cls, command: list[str], hello: dict[str, Json], quarters: Quarters) -> Worker:
        """Raises ProviderNotAvailable, with the reason, if it does not become ready."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        mark = secrets.token_hex(16)
        plan = quarters.plan()
        with theirs:
            try:
                process = _spawn(command, theirs.fileno(), {**quarters.environment(plan), MARK: mark})
            except OSError as error:
                ours.close()
                quarters.leave(plan)
                raise ProviderNotAvailable(
                    f"cannot start a worker: {command[0]}: {error.strerror}"
                ) from error
        worker = cls(process, ours, mark, functools.partial(quarters.leave, plan))
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._send({**hello, "plan": plan}, ())
                answer = await worker._message()
        except (TimeoutError, WorkerDied) as error:
            await uninterrupted(worker.close())
            raise ProviderNotAvailable(
                f"a worker did not become ready: {error or 'it took too long'}"
            ) from error
        except BaseException:
            await uninterrupted(worker.close())
            raise
        if "failed" in answer:
            await uninterrupted(worker.close())
            raise ProviderNotAvailable(f"a worker cannot start: {answer['failed']}")
        quarters.say(answer["lacking"])
        return worker

    def is_usable(self) -> bool:
        """False if it died, or if what became of its last job is not known."""
        return self._alive and not self._busy

    async def run(self, job: Job, call: MethodCall) -> Outcome:
        """Raises WorkerDied if the worker was dead before the job could begin."""
        stdout = Output("stdout", job.output_limit, call.on_output)
        stderr = Output("stderr", job.output_limit, call.on_output)
        answers = Answers(job.answer_limit, call.on_progress)
        meter = Meter(job.most_output, lambda: self._send({"stop": 0.0}, ()))
        pipes = [Pipe(sink) for sink in (meter.of(stdout.feed), meter.of(stderr.feed), answers.feed)]
        try:
            ended = await self.carry_out(job, pipes)
        finally:
            stdout.finish()
            stderr.finish()
        return replace(
            ended,
            stdout=stdout.text(),
            stderr=stderr.text(),
            answer=answers.last(),
            exceeded=OUTPUT if meter.is_over else ended.exceeded,
        )

    async def carry_out(self, job: Job, pipes: Sequence[Pipe]) -> Outcome:
        """The same with pipes of the caller's, for stdout, stderr and answers; they are closed at the end.
        What came out of them is not in the outcome.
        """
        begun = time.monotonic()
        self._busy = True
        try:
            ended = await self._do(job, pipes)
        except asyncio.CancelledError:
            await uninterrupted(self._stop(job.grace_seconds, pipes))
            raise
        finally:
            for pipe in pipes:
                pipe.close()
        return Outcome(
            exit_code=ended["ended"],
            stdout="",
            stderr="",
            answer=None,
            seconds=time.monotonic() - begun,
            survivors=ended["survivors"],
            exceeded=ended["exceeded"],
        )

    async def _do(self, job: Job, pipes: Sequence[Pipe]) -> dict[str, Json]:
        body = json.dumps({**job.body, "limits": job.limits}).encode()
        await self._send({"size": len(body), "limits": job.limits}, [pipe.write_end for pipe in pipes], body)
        for pipe in pipes:
            pipe.close_write_end()
        begun = False
        try:
            await self._message()  # "begun"
            begun = True
            message = await self._message()
        except WorkerDied:
            if not begun:
                raise
            # The job may be what killed the worker.
            await uninterrupted(self._bury())
            message = {"ended": -signal.SIGKILL, "survivors": [], "exceeded": ""}
        self._busy = bool(message["survivors"])  # then it has to go: the next job would inherit them
        await _drained(pipes)
        return message

    async def close(self) -> None:
        """The worker ends when its socket does; if not, it is killed."""
        if self._alive:
            self._lost()
        self._control.close()
        try:
            async with asyncio.timeout(BURIAL_SECONDS):
                await self._ended()
        except TimeoutError:
            await self._bury()
        await asyncio.to_thread(self._leave)

    async def _stop(self, grace: float, pipes: Sequence[Pipe]) -> None:
        for pipe in pipes:
            pipe.close_write_end()
        try:
            if self._sending:
                raise WorkerDied("half of a job was sent")  # nothing that follows would be understood
            async with asyncio.timeout(grace + BURIAL_SECONDS):
                if self._busy:
                    await self._send({"stop": grace}, ())
                    while "ended" not in (message := await self._message()):
                        pass
                    self._busy = bool(message["survivors"])
        except (TimeoutError, WorkerDied):
            await self._bury()
        await _drained(pipes)

    async def _bury(self) -> None:
        """Kill the worker and everything that inherited its mark."""
        if self._alive:
            self._lost()
        self._process.kill()
        await self._ended()
        await asyncio.to_thread(kill_marked, f"{MARK}={self._mark}".encode())

    async def _ended(self) -> None:
        """Wait for the worker's process, and reap it."""
        if self._process.poll() is None:
            ended = asyncio.Event()
            pidfd = os.pidfd_open(self._process.pid)
            self._loop.add_reader(pidfd, ended.set)
            try:
                await ended.wait()
            finally:
                self._loop.remove_reader(pidfd)
                os.close(pidfd)
            self._process.wait()

    async def _send(self, message: dict[str, Json], fds: list[int] | tuple[()], more: bytes = b"") -> None:
        body = json.dumps(message).encode()
        head = struct.pack("!I", len(body))
        self._sending = True
        try:
            if fds:
                socket.send_fds(self._control, [head], fds)
            else:
                await self._loop.sock_sendall(self._control, head)
            await self._loop.sock_sendall(self._control, body + more)
            self._sending = False
        except OSError as error:
            raise WorkerDied(f"the worker is gone: {error.strerror}") from error

    async def _message(self) -> dict[str, Json]:
        message = await self._messages.get() if self._alive or not self._messages.empty() else None
        if message is None:
            raise WorkerDied("the worker died")
        return message

    def _readable(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            self._messages.put_nowait(None)
            return
        self._buffer += data
        while len(self._buffer) >= 4 and len(self._buffer) >= 4 + (size := _size(self._buffer)):
            self._messages.put_nowait(json.loads(self._buffer[4 : 4 + size]))
            del self._buffer[: 4 + size]

    def _lost(self) -> None:
        self._alive = False
        self._loop.remove_reader(self._control)


@functools.cache
def source_files() -> tuple[int, ...]:
    """Descriptors of the worker's sources, which nobody can change: ``/proc/self/fd/N`` is their path."""
    descriptors = []
    for source in _SOURCES:
        descriptor = os.memfd_create("gleitzeit-worker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(source)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        descriptors.append(descriptor)
    return tuple(descriptors)


def _spawn(interpreter: list[str], control: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    sources = source_files()
    given = [f"/proc/self/fd/{sources[0]}", str(control), *map(str, sources), "gleitzeit-worker"]
    return subprocess.Popen(  # noqa: S603 - the interpreter that the settings name
        [*interpreter, *given],
        pass_fds=[control, *sources],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )


def kill_marked(mark: bytes) -> None:
    """Kill every process whose initial environment holds ``mark``, until there is none."""
    for _ in range(20):
        found = False
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found = True
                    os.kill(int(entry.name), signal.SIGKILL)
        if not found:
            return


def _size(buffer: bytearray) -> int:
    size: int = struct.unpack_from("!I", buffer)[0]
    return size


async def _drained(pipes: Sequence[Pipe]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            for pipe in pipes:
                await pipe.ended.wait()


async def uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Finish ``work`` even if this task is cancelled meanwhile; the cancellation follows then."""
    task = asyncio.get_running_loop().create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
