"""A server that is a program of this host: started, limited, spoken with in lines of JSON, surely ended.

It ends in the order that MCP says (2025-11-25, lifecycle, shutdown): its input is closed, then it is asked to
end, then it is killed, with everything that it has started. A line that is too long ends it: nobody
could say where the next one begins.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from gleitzeitd.errors import ConfigError
from gleitzeitd.providers.pool import MARK, kill_marked

log = logging.getLogger(__name__)

LINE_LIMIT = 4096
"""Bytes of a line of the standard error that are shown."""
KILL_SECONDS = 3.0
"""How long a killed process may need to disappear."""
Streams = tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is started, and its limits; 0 is none."""

    name: str
    """Of the server, in messages."""
    command: str
    arguments: list[str]
    directory: str
    environment: dict[str, str] = field(repr=False)
    max_memory_bytes: int
    max_open_files: int
    max_cpu_seconds: int
    max_message_bytes: int
    end_seconds: float
    """Between asking it to end and killing it."""

    def path(self) -> str:
        """Where the command is.

        Raises:
            ConfigError: nowhere.
        """
        if "/" in self.command:
            path = os.path.join(self.directory, self.command)  # noqa: PTH118 - "" stays ""
            found = path if os.access(path, os.X_OK) else None
        else:
            found = shutil.which(self.command, path=self.environment.get("PATH"))
        if found is None:
            raise ConfigError(f"server {self.name}: {self.command}: there is no such program")
        if self.directory and not os.path.isdir(self.directory):  # noqa: PTH112 - the same
            raise ConfigError(f"server {self.name}: {self.directory}: there is no such directory")
        return os.path.abspath(found)  # noqa: PTH100 - a link is started as what it is called

    def words(self) -> list[str]:
        """The whole command: a shell sets the limits, and becomes the program.

        Raises:
            ConfigError: there is no such program.
        """
        limits = [
            f"ulimit -{letter} {value}"
            for letter, value in (
                ("d", -(-self.max_memory_bytes // 1024)),
                ("n", self.max_open_files),
                ("t", self.max_cpu_seconds),
            )
            if value
        ]
        own = [self.path(), *self.arguments]
        script = " && ".join([*limits, 'exec "$@"'])
        return ["/bin/sh", "-c", script, "gleitzeit-mcp", *own] if limits else own


class ServerProcess:
    """One life of a program."""

    def __init__(self, process: asyncio.subprocess.Process, program: Program, mark: str) -> None:
        self.program = program
        self.ended = asyncio.Event()
        """It has closed its output, or has sent what cannot be read."""
        self.problem = ""
        """Why it ended, if that is known."""
        self.last_words = ""
        """The last line of its standard error."""
        self._process = process
        self._mark = mark

    @classmethod
    async def start(cls, program: Program) -> ServerProcess:
        """Raises ConfigError if it cannot be."""
        mark = secrets.token_hex(16)
        words = program.words()
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=program.max_message_bytes,
                cwd=program.directory or None,
                env={**program.environment, MARK: mark},
                start_new_session=True,
            )
        except (OSError, ValueError) as problem:
            raise ConfigError(f"server {program.name}: it cannot be started: {problem}") from problem
        return cls(process, program, mark)

    @property
    def pid(self) -> int:
        """Of the program."""
        return self._process.pid

    @asynccontextmanager
    async def streams(self, on_stderr: Callable[[str], None]) -> AsyncIterator[Streams]:
        """What a session reads and writes; at the end the program is no more. ``on_stderr`` gets lines."""
        to_session, from_program = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_program, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as group:
            group.start_soon(self._read, to_session)
            group.start_soon(self._write, from_session)
            group.start_soon(self._listen, on_stderr)
            try:
                yield from_program, to_program
            finally:
                with anyio.CancelScope(shield=True):
                    from_program.close()
                    to_program.close()
                    await self.end()
                group.cancel_scope.cancel()

    async def _read(self, to_session: ObjectSendStream[SessionMessage | Exception]) -> None:
        assert self._process.stdout is not None
        try:
            async with to_session:
                while line := await self._process.stdout.readuntil(b"\n"):
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        self._noise(line)
                        continue
                    await to_session.send(SessionMessage(message))
        except asyncio.IncompleteReadError:
            pass  # it has closed its output
        except asyncio.LimitOverrunError:
            self.problem = f"it has sent more than {self.program.max_message_bytes} bytes at once"
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # nobody reads any more
        except OSError as problem:
            self.problem = f"its output cannot be read: {problem.strerror}"
        finally:
            self.ended.set()

    async def _write(self, from_session: ObjectReceiveStream[SessionMessage]) -> None:
        assert self._process.stdin is not None
        try:
            async with from_session:
                async for message in from_session:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    self._process.stdin.write(text.encode() + b"\n")
                    await self._process.stdin.drain()
        except (OSError, anyio.ClosedResourceError):
            self.ended.set()

    async def _listen(self, on_stderr: Callable[[str], None]) -> None:
        assert self._process.stderr is not None
        rest = b""
        while data := await self._process.stderr.read(LINE_LIMIT):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) >= LINE_LIMIT:
                lines, rest = [*lines, rest], b""
            for line in lines:
                if text := line.decode("utf-8", "replace").strip():
                    self.last_words = text[:LINE_LIMIT]
                    on_stderr(self.last_words)

    def _noise(self, line: bytes) -> None:
        if line.strip():
            log.debug("an MCP server has written what is no message", extra={"server": self.program.name})

    async def end(self) -> None:
        """End it, and everything that it has started; repeating it changes nothing."""
        process, seconds = self._process, self.program.end_seconds / 2
        by_itself = self.ended.is_set() and not self.problem
        if process.stdin is not None:
            process.stdin.close()
        if await self._gone(seconds):
            if by_itself:
                self.problem = self._how()
        else:
            self._signal(signal.SIGTERM)
            await self._gone(seconds)
        self._signal(signal.SIGKILL)  # the group, of which the program is only the first
        await asyncio.to_thread(kill_marked, f"{MARK}={self._mark}".encode())
        await self._gone(KILL_SECONDS)
        self.ended.set()

    async def close(self) -> None:
        """As ``end``, when no session has its streams any more: nothing of it stays in the loop either."""
        await self.end()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(KILL_SECONDS):
                for stream in (self._process.stdout, self._process.stderr):
                    while stream is not None and await stream.read(65536):
                        pass

    def _how(self) -> str:
        code = self._process.returncode or 0
        how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"
        return f"{how}, after it had said: {self.last_words}" if self.last_words else how

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _gone(self, seconds: float) -> bool:
        # Not wait(): that waits until nobody has its pipes any more, too.
        deadline = asyncio.get_running_loop().time() + seconds
        while self._process.returncode is None:
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.01)
        return True
