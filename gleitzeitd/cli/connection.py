"""A client for a command: by way of the hub that is set, else of a system in this process.

``run`` and ``submit`` need what does the work; commands that only read leave it out, so that looking at an
earlier run does not make it go on.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from gleitzeitd.cli.embedding import databases
from gleitzeitd.cli.options import Options
from gleitzeitd.errors import StoreLocked

if TYPE_CHECKING:
    from gleitzeitd.client import Client
    from gleitzeitd.runtime.embedded import Embedded

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
    """A connected client; ``works``: with engines and providers, where it has to bring them itself.

    Raises:
        HubUnreachable, NotAuthenticated: as for the client.
    """
    if options.connect is not None:
        async with options.connect(options, works=works) as session:
            yield session
        return
    from gleitzeitd.client import Client

    hubs = options.hubs()
    if hubs:
        async with Client(hubs, options.secret(), "cli", on_waiting=_waiting(options)) as client:
            yield Session(client, options, embedded=False)
        return
    async with (
        _embedded(options, works=works) as system,
        Client(system.hub_url, system.token, "cli", on_waiting=None) as client,
    ):
        yield Session(client, options, embedded=True)


@asynccontextmanager
async def _embedded(options: Options, *, works: bool) -> AsyncIterator[Embedded]:
    from gleitzeitd.runtime.embedded import Embedded

    locked: StoreLocked | None = None
    for database in databases(options.environment):
        _make_private(database.parent)
        system = Embedded(database=database)
        try:
            await system.__aenter__()
        except StoreLocked as problem:
            locked = problem
            continue
        try:
            yield system
        finally:
            await system.__aexit__(None, None, None)
        return
    assert locked is not None
    raise locked


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _waiting(options: Options) -> Callable[[str], None]:
    said: set[str] = set()

    def say(because: str) -> None:
        if because not in said and not options.as_json:
            said.add(because)
            click.echo(f"waiting: {because}", err=True)

    return say


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

        async def body() -> int | None:
            # What a service manager or `timeout` sends; Ctrl-C is asyncio's own business.
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            async with connected(options, works=works) as session:
                return await function(session, *args, **kwargs)

        try:
            code = asyncio.run(body())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        context.exit(code or 0)

    return command
