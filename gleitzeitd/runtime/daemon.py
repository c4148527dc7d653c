"""A process of one role under systemd: signals, readiness, the watchdog, reload.

SIGTERM and SIGINT begin an orderly end, a second one ends the process at once. SIGHUP reads the
configuration again: what can be changed while running is applied, and of all else it is said that it needs
a restart. What the process runs is in ``hub_daemon``, ``component_daemon`` and ``embedded_daemon``: each is
loaded only where it is needed, since that is half of the time that a start takes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from gleitzeitd.errors import GleitzeitError
from gleitzeitd.runtime.systemd import Notifier, report
from gleitzeitd.runtime.tasks import Tasks

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long a start that is given up may take to undo itself."""


class Daemon(Protocol):
    """What a process can run."""

    async def run(self) -> None:
        """Until ``stop``; raises whatever ends it earlier."""

    def stop(self) -> None:
        """Begin an orderly end."""

    def is_ready(self) -> bool:
        """Whether dependents can start."""

    def is_healthy(self) -> bool:
        """Whether the watchdog may be fed."""

    def status_line(self) -> str:
        """For ``systemctl status``."""

    def stop_seconds(self) -> float:
        """How long an orderly end may take."""

    def read_certificates(self) -> None:
        """Look at their files again; connections that exist stay as they are."""

    def adjust(self, key: str, value: Any) -> None:
        """Give a setting of the machine another value, from now on."""


async def supervise(
    daemon: Daemon,
    notifier: Notifier,
    on_reload: Callable[[], None],
    exit_now: Callable[[int], object] = os._exit,
) -> None:
    """Run ``daemon`` to its end, and tell systemd about it.

    Raises:
        Exception: what has ended the daemon, if it was not told to end.
    """
    loop = asyncio.get_running_loop()
    told = 0

    def end() -> None:
        nonlocal told
        told += 1
        if told > 1:
            log.warning("told to end a second time: ending at once")
            exit_now(1)
        else:
            notifier.stopping(daemon.stop_seconds())
            log.info("ending")
            daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    tasks = Tasks()
    work = report(notifier, ready=daemon.is_ready, status=daemon.status_line, healthy=daemon.is_healthy)
    ended_by: Exception | None = None
    try:
        tasks.spawn(work, name="systemd")
        await daemon.run()
    except (GleitzeitError, OSError) as problem:
        ended_by = problem
        raise
    finally:
        await tasks.cancel()
        if ended_by is not None:
            notifier.failed(str(ended_by))
        notifier.close()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
