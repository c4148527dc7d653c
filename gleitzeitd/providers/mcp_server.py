"""One MCP server: connected to, watched, connected to again. Needs the SDK.

    starting -> connected -> away -> connected ...        stopped, from any of them

* Whoever wants something of the server gets its session, or, if it stays away for too long, is told so.
* What it is asked while it goes away is asked once more, if it has said that this does no harm. Anything else
  fails as an execution that can be tried again: nobody knows how far it came.
* Its tools are those that it has listed last. That it is away does not change them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

import mcp_types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from pydantic import BaseModel, ValidationError

from gleitzeitd import __version__
from gleitzeitd.errors import (
    ConfigError,
    ExecutionFailed,
    MethodNotSupported,
    ParameterInvalid,
    ProviderOverloaded,
    ResultInvalid,
    TaskError,
    TaskTimeout,
)
from gleitzeitd.plain import Json
from gleitzeitd.providers import mcp_http
from gleitzeitd.providers.llm_access import Scrubber
from gleitzeitd.providers.mcp_process import Program, ServerProcess
from gleitzeitd.providers.mcp_settings import Access, McpSettings, ServerSettings
from gleitzeitd.providers.mcp_tools import Tool, tool_of

log = logging.getLogger(__name__)
# They log what was sent, and addresses with all that is in them; what an operator needs is said here.
for _name in ("mcp", "client", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

T = TypeVar("T")

STEADY_SECONDS = 30.0
"""A server that was there for so long has not failed when it goes."""
PAGES = 100
"""Of a list; the rest is left out."""
CHECK_SECONDS = 10.0
"""How long an idle server may take to say that it is there."""


class Server:
    """A server, and the task that looks after it."""

    def __init__(
        self, settings: ServerSettings, limits: McpSettings, access: Access, changed: Callable[[], None]
    ) -> None:
        """``changed`` is called when its tools have been listed."""
        self.settings = settings
        self.tools: list[Tool] | None = None
        """None: it has never said."""
        self.state = "starting"
        self.problem = ""
        """Why it is away."""
        self.starts = 0
        """Times that it was connected to."""
        self.pid: int | None = None
        self._limits = limits
        self._access = access
        self._changed = changed
        self._scrubber = Scrubber(access.secrets)
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._stopping = asyncio.Event()
        self._lost = asyncio.Event()
        self._stale = asyncio.Event()
        self._places = asyncio.Semaphore(settings.parallel)
        self._running = 0
        self._away_since = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._process: ServerProcess | None = None

    # --- its life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look after it.

        Raises:
            ConfigError: there is no such program.
        """
        if self._task is None:
            if self.settings.command:
                self._program().path()
            self._task = asyncio.get_running_loop().create_task(self._look_after(), name=self.settings.name)

    async def stop(self) -> None:
        """End it; nothing of it is alive then."""
        self._stopping.set()
        self._lost.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=self._limits.kill_after_seconds + 10.0)
            if not done:
                self._task.cancel()
                await asyncio.wait({self._task})
            self._task = None
        if self._process is not None:
            await self._process.end()

    async def tried(self) -> None:
        """Wait until it was connected to, or that has failed once."""
        await self._tried.wait()

    async def _look_after(self) -> None:
        pause = self._limits.restart_seconds
        while not self._stopping.is_set():
            begun = time.monotonic()
            why = await self._life()
            if self._stopping.is_set():
                break
            if time.monotonic() - begun > STEADY_SECONDS:
                pause = self._limits.restart_seconds
            self._note(why)
            self._tried.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, self._limits.restart_most_seconds)
        self.state = "stopped"

    async def _life(self) -> str:
        """Connect to it, and stay until it goes; why it went."""
        self._lost.clear()
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self.settings.start_seconds) as limit:
                    client = await stack.enter_async_context(self._connection())
                    tools = await self._list_tools(client)
                self._came(client, tools)
                stack.callback(self._went)
                why = await self._stay(client)
            return self._last_words() or why
        except ConfigError as problem:
            return str(problem)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._last_words() or "the connection ended"
        except Exception as problem:  # noqa: BLE001 - the SDK: a session may end in anything
            if isinstance(problem, TimeoutError) and limit.expired():
                return f"it was not ready after {self.settings.start_seconds:g} s"
            return self._last_words() or self._words(problem)
        finally:
            self._went()

    def _came(self, client: Client, tools: list[Tool]) -> None:
        again = self.starts > 0 or self.problem
        self._client = client
        self.state, self.problem = "connected", ""
        self.starts += 1
        self._stale.clear()
        self._up.set()
        self._tried.set()
        fields = {"server": self.settings.name, "tools": len(tools)}
        log.info("an MCP server is %s", "back" if again else "there", extra=fields)
        self._listed(tools)

    def _went(self) -> None:
        if self._client is not None:
            self._client = None
            self._away_since = time.monotonic()
        self._up.clear()
        self.pid = None
        if self.state == "connected":
            self.state = "away"

    def _note(self, why: str) -> None:
        self.state = "away"
        if why != self.problem:  # one warning per cause
            self.problem = why
            fields = {"server": self.settings.name, "error": why}
            log.warning("an MCP server is away, and will be connected to again", extra=fields)

    async def _stay(self, client: Client) -> str:
        listening = asyncio.get_running_loop().create_task(self._listen(client))
        try:
            while True:
                if await self._something_happens():
                    if self._lost.is_set():
                        return "the connection was lost"
                    self._stale.clear()
                    self._listed(await self._list_tools(client))
                elif not self._running:
                    async with asyncio.timeout(CHECK_SECONDS):
                        await self._ping(client)
        except TimeoutError:
            return f"it did not answer within {CHECK_SECONDS:g} s"
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _something_happens(self) -> bool:
        """Wait until it is lost or its tools have changed; False if nothing happens for a while."""
        waits = [
            asyncio.get_running_loop().create_task(event.wait())
            for event in (self._lost, self._stale, *([self._process.ended] if self._process else ()))
        ]
        try:
            done, _ = await asyncio.wait(
                waits, timeout=self._limits.check_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()
        if self._process is not None and self._process.ended.is_set():
            self._lost.set()
        return bool(done)

    async def _listen(self, client: Client) -> None:
        """Where a server says that its tools have changed, since MCP 2026-07-28."""
        with suppress(ListenNotSupportedError, SubscriptionLost, MCPError, TimeoutError, ValidationError):
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._stale.set()

    async def _heard(self, message: object) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._stale.set()

    async def _ping(self, client: Client) -> None:
        if client.session.initialize_result is not None:
            await client.session.send_ping()
        else:
            await client.session.send_discover(client.protocol_version)

    # --- the connection -----------------------------------------------------------------------

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Client]:
        async with AsyncExitStack() as stack:
            if self.settings.command:
                self._process = process = await ServerProcess.start(self._program())
                self.pid = process.pid
                stack.push_async_callback(process.close)
                transport: Any = process.streams(self._said)
            else:
                self._process = None
                http = mcp_http.client(self._access.headers, self._limits.max_message_bytes)
                await stack.enter_async_context(http)
                transport = streamable_http_client(
                    self._access.url, http_client=http, max_sse_event_size=self._limits.max_message_bytes
                )
            client = Client(
                transport,
                cache=None,
                client_info=mcp_types.Implementation(name="gleitzeit", version=__version__),
                message_handler=self._heard,
            )
            yield await stack.enter_async_context(client)

    def _program(self) -> Program:
        settings, limits = self.settings, self._limits
        return Program(
            name=settings.name,
            command=settings.command,
            arguments=settings.args,
            directory=settings.directory,
            environment=self._access.env,
            max_memory_bytes=settings.max_memory_bytes,
            max_open_files=settings.max_open_files,
            max_cpu_seconds=settings.max_cpu_seconds,
            max_message_bytes=limits.max_message_bytes,
            end_seconds=limits.kill_after_seconds,
        )

    def _said(self, line: str) -> None:
        fields = {"server": self.settings.name, "line": self._scrubber.text(line)}
        log.debug("an MCP server has written to its standard error", extra=fields)

    def _last_words(self) -> str:
        if self._process is None:
            return ""
        return self._scrubber.text(self._process.problem)

    # --- what it is asked ---------------------------------------------------------------------

    async def ask(self, what: Callable[[Client], Awaitable[T]], *, repeatable: bool) -> T:
        """What comes of asking it.

        Raises:
            ProviderOverloaded: it is away, or has no room, and that may change soon.
            TaskError: any other reason why there is no answer.
        """
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            raise ProviderOverloaded(
                f"server {self.settings.name}: {self.settings.parallel} requests are under way already"
            ) from None
        try:
            return await self._asked(what, again=repeatable)
        finally:
            self._places.release()

    async def _asked(self, what: Callable[[Client], Awaitable[T]], *, again: bool, first: bool = True) -> T:
        ended = False
        client = await self._connected()
        self._running += 1
        try:
            return await what(client)
        except MCPError as problem:
            ended = mcp_http.was_not_heard(problem)
            if not (ended or problem.code == mcp_types.CONNECTION_CLOSED):
                raise self._explained(problem) from None
            if self._client is client:
                self._lost.set()
                self._went()
            why = f"server {self.settings.name}: it went away during the call"
        except (TimeoutError, TaskError):
            raise
        except ValidationError:
            raise ResultInvalid(f"server {self.settings.name}: its answer is none of MCP") from None
        except RuntimeError as problem:  # what the SDK says of a result that breaks its own schema
            raise ResultInvalid(f"server {self.settings.name}: {self._words(problem)}") from None
        finally:
            self._running -= 1
        if first and (again or ended):
            return await self._asked(what, again=again, first=False)
        if ended:  # it has not even looked at the call
            raise ProviderOverloaded(f"server {self.settings.name} ({self._access.shown}) is not there")
        raise ExecutionFailed(why)

    async def _connected(self) -> Client:
        self.start()
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                # Whoever starts it waits for that, too.
                await (self._up.wait() if self.starts or self.problem else self._first())
        except TimeoutError:
            pass
        if self._client is not None:
            return self._client
        away = time.monotonic() - self._away_since
        why = f"server {self.settings.name} ({self._access.shown}) is not there"
        if self.problem:
            why = f"{why}: {self.problem}"
        if self.problem and away >= self._limits.give_up_seconds:
            raise ExecutionFailed(why)
        raise ProviderOverloaded(why)

    async def _first(self) -> None:
        await self._tried.wait()
        if not self.problem:
            await self._up.wait()

    def _explained(self, problem: MCPError) -> TaskError:
        text = f"server {self.settings.name}: {self._scrubber.text(problem.message) or problem.code}"
        match problem.code:
            case mcp_types.METHOD_NOT_FOUND:
                return MethodNotSupported(text)
            case mcp_types.INVALID_PARAMS:
                return ParameterInvalid(text)
            case mcp_types.REQUEST_TIMEOUT:
                return TaskTimeout(text)
            case _:
                return ExecutionFailed(text)

    def _words(self, problem: BaseException) -> str:
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        text = self._scrubber.text(" ".join(str(problem).split())[:500])
        return f"{type(problem).__name__}: {text}" if text else type(problem).__name__

    def scrubbed(self, value: Any) -> Any:
        """Without the secrets that it was shown."""
        return self._scrubber.json(value)

    # --- lists --------------------------------------------------------------------------------

    def _listed(self, tools: list[Tool]) -> None:
        self.tools = tools
        self._changed()

    async def _list_tools(self, client: Client) -> list[Tool]:
        if client.server_capabilities.tools is None:
            return []
        plain = await pages(lambda cursor: client.list_tools(cursor=cursor, cache_mode="bypass"), "tools")
        scrubbed: list[dict[str, Json]] = self._scrubber.json(plain)
        return [tool for tool in map(tool_of, scrubbed) if tool is not None]

    async def about(self) -> dict[str, Json]:
        """What it says of itself."""

        async def of(client: Client) -> dict[str, Json]:
            info = client.server_info
            return {
                **({} if info is None else plain_of(info)),
                "server": self.settings.name,
                "protocol_version": client.protocol_version,
                "capabilities": plain_of(client.server_capabilities),
                "instructions": client.instructions,
            }

        found: dict[str, Json] = self.scrubbed(await self.ask(of, repeatable=True))
        return found

    async def ping(self) -> float:
        """Seconds that its answer took."""
        begun = time.monotonic()
        await self.ask(self._ping, repeatable=True)
        return time.monotonic() - begun


async def pages(fetch: Callable[[str | None], Awaitable[Any]], what: str) -> list[dict[str, Json]]:
    """All items of a list that comes in pages."""
    found: list[dict[str, Json]] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = await fetch(cursor)
        found += [plain_of(item) for item in getattr(page, what)]
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


def plain_of(model: BaseModel) -> dict[str, Json]:
    """As MCP spells it, without what was not said."""
    plain: dict[str, Json] = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    plain.pop("_meta", None)
    return plain
