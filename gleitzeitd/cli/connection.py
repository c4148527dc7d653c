"""A client for a command: by way of the hub that is set, else of a system in this process.

``run`` and ``submit`` need what does the work; commands that only read leave it out, so that looking at an
earlier run does not make it go on.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from gleitzeitd.cli.embedding import (
    databases,
    databases_to_read,
    note_for,
    noted,
)
from gleitzeitd.cli.host import hub_runs
from gleitzeitd.cli.limits import workflow_limits
from gleitzeitd.cli.options import Options
from gleitzeitd.errors import GleitzeitError, HubUnreachable, StoreLocked, WorkflowNotFound
from gleitzeitd.runtime.state import state_directory

if TYPE_CHECKING:
    from gleitzeitd.client import Client
    from gleitzeitd.runtime.embedded import Embedded

CONNECT_SECONDS = 5.0
"""How long a person waits for a hub."""
READER_SECONDS = 5.0
"""How long to wait for a command that looks into the same database."""
READER_PAUSE = 0.1
SECRETS_FILE = "GLEITZEIT_SECRETS_FILE"
"""Without daemons: the variable that names the file with ``${secret.NAME}``; as for a provider of its own."""

P = ParamSpec("P")


@dataclass(slots=True)
class Session:
    """What a command works with."""

    client: Client
    options: Options
    embedded: bool
    """Everything runs in this process, and ends with it."""


@asynccontextmanager
async def connected(options: Options, *, works: bool) -> AsyncIterator[Session]:
    """A connected client, by way of a hub or of everything in this process.

    Raises:
        HubUnreachable, NotAuthenticated: as for the client.
        StoreLocked: this user has too many runs at the same time.
    """
    from gleitzeitd.client import Client

    hubs = options.hubs()
    if hubs:
        async with Client(
            hubs,
            options.secret(),
            "cli",
            connect_timeout=CONNECT_SECONDS,
            on_waiting=_waiting(options),
            trust=options.trust(),
            limits=workflow_limits(options),
        ) as client:
            yield Session(client, options, embedded=False)
        return
    _say_if_there_is_a_hub(options)
    for database in databases(options.environment):
        async with _embedded(database, options, works=works) as system:
            if system is None:
                continue
            with noted(database, system.hub_url, system.token):
                limits = workflow_limits(options)
                async with Client(system.hub_url, system.token, "cli", limits=limits) as client:
                    yield Session(client, options, embedded=True)
            return
    raise StoreLocked(f"all of {state_directory(options.environment)}/gleitzeit*.db are in use")


@asynccontextmanager
async def _embedded(database: Path, options: Options, *, works: bool) -> AsyncIterator[Embedded | None]:
    """The system, or None if another process has the database."""
    from gleitzeitd.runtime.embedded import Embedded, default_parts

    give_up = time.monotonic() + READER_SECONDS
    async with AsyncExitStack() as stack:
        while True:
            try:
                secrets = options.environment.get(SECRETS_FILE, "") if works else ""
                parts = default_parts(
                    database, works=works, secrets_file=secrets, limits=workflow_limits(options)
                )
                system = await stack.enter_async_context(Embedded(parts=parts))
            except StoreLocked:
                if note_for(database) is None and time.monotonic() < give_up:
                    # Whoever only looks leaves no note, and will be gone in a moment.
                    await asyncio.sleep(READER_PAUSE)
                    continue
                yield None
                return
            yield system
            return


@asynccontextmanager
async def _looking_at(database: Path, options: Options) -> AsyncIterator[Session]:
    """What is in a database, by way of the process that has it open, if there is one."""
    from gleitzeitd.client import Client

    async with _embedded(database, options, works=False) as system:
        if system is not None:
            async with Client(system.hub_url, system.token, "cli") as client:
                yield Session(client, options, embedded=True)
            return
    note = note_for(database)
    if note is None:
        raise StoreLocked(f"{database} is in use by another process")
    async with Client(
        note.hub_url, note.token, "cli", connect_timeout=CONNECT_SECONDS, on_waiting=_waiting(options)
    ) as client:
        yield Session(client, options, embedded=False)


async def _look(options: Options, look: Callable[[Session], Awaitable[int | None]]) -> int | None:
    """Have it look at the user's databases until it has found what it looks for."""
    if options.hubs():
        async with connected(options, works=False) as session:
            return await look(session)
    _say_if_there_is_a_hub(options)
    problem: GleitzeitError | None = None
    for database in databases_to_read(options.environment):
        try:
            async with _looking_at(database, options) as session:
                return await look(session)
        except (WorkflowNotFound, StoreLocked, HubUnreachable) as found:
            problem = problem or found
    assert problem is not None
    raise problem


def here_is_a_hub(options: Options) -> str:
    """Why the hub of this host is not used."""
    return f"this host runs a hub, which is not used since {options.installed_token} is missing"


def _say_if_there_is_a_hub(options: Options) -> None:
    if hub_runs():
        hint = "in this process instead; as root, gleitzeitd keygen makes it again"
        options.tell(f"{here_is_a_hub(options)}: {hint}")


def _waiting(options: Options) -> Callable[[str], None]:
    said: set[str] = set()

    def say(because: str) -> None:
        if because not in said and not options.as_json:
            said.add(because)
            options.tell(f"waiting: {because}; gleitzeit status shows who is missing")

    return say


def say_where(session: Session) -> None:
    """That what is shown of the system is only what runs without a hub, if it is so."""
    if session.embedded and not session.options.as_json:
        session.options.tell("no hub is set (--hub, GLEITZEIT_HUB_URL); in this process there would be:")


def online(
    function: Callable[Concatenate[Session, P], Coroutine[Any, Any, int | None]],
) -> Callable[P, None]:
    """A command that looks at the system, or changes it. What it returns is the exit code."""
    return _command(function, works=False)


def working(
    function: Callable[Concatenate[Session, P], Coroutine[Any, Any, int | None]],
) -> Callable[P, None]:
    """A command whose work may have to be done in this process."""
    return _command(function, works=True)


def _command(
    function: Callable[Concatenate[Session, P], Coroutine[Any, Any, int | None]], *, works: bool
) -> Callable[P, None]:
    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        context = click.get_current_context()
        options = context.ensure_object(Options)

        async def work(session: Session) -> int | None:
            return await function(session, *args, **kwargs)

        async def body() -> int | None:
            # What a service manager or `timeout` sends; Ctrl-C is asyncio's own business.
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            if options.connect is None and not works:
                return await _look(options, work)
            async with (options.connect or connected)(options, works=works) as session:
                return await work(session)

        try:
            code = asyncio.run(body())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        context.exit(code or 0)

    return command
