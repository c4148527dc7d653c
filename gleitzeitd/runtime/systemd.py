"""What systemd is told: ready, the status line, stopping; and the watchdog, fed while all is well.

Started without systemd, nothing is sent. See sd_notify(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

try:
    import sdnotify
except ImportError:  # a run-time dependency of the packages, which a virtual environment may lack
    sdnotify = None

TICK = 1.0
"""Seconds between two looks at the status line, which is sent when it has changed."""
FIRST_TICK = 0.05
"""The same until we are ready: others wait for that."""
PATIENCE = 30
"""Seconds that the start may still take, told anew at every look: a large database takes its time."""


class Notifier:
    """The socket to the service manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if sdnotify is not None and environment is os.environ and address:
            self._socket = sdnotify.SystemdNotifier().socket
        elif address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            with suppress(OSError):
                self._socket.connect("\0" + address[1:] if address.startswith("@") else address)
        # A service manager that does not read may not hold us up.
        if self._socket is not None:
            self._socket.setblocking(False)
        self.watchdog_seconds = _watchdog_seconds(environment)
        """How long systemd waits for the next sign of life; None without a watchdog."""

    def stopping(self, within: float) -> None:
        """Say that we are ending, which may take ``within`` seconds, also where the unit allows fewer."""
        self.send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within * 1_000_000)}")

    def failed(self, reason: str) -> None:
        """Leave the reason behind as the status: ``systemctl status`` shows it of a unit that has failed."""
        self.send(f"STATUS=cannot go on: {' '.join(reason.split())}")

    def send(self, *lines: str) -> None:
        """Send assignments like ``READY=1`` in one message; it is lost if nobody listens."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendall("\n".join(lines).encode())

    def close(self) -> None:
        """Send no more; repeating it changes nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def report(
    notifier: Notifier,
    *,
    ready: Callable[[], bool],
    status: Callable[[], str],
    healthy: Callable[[], bool],
) -> None:
    """Tell systemd how things are, until cancelled; then that we are stopping.

    Args:
        notifier: where to.
        ready: whether dependents can be started; after it was true once it is not asked again.
        status: the line for ``systemctl status``.
        healthy: whether the watchdog may be fed. That the event loop runs is shown by the feeding.
    """
    told, is_ready = "", False
    watchdog = notifier.watchdog_seconds
    tick = min(TICK, watchdog / 2) if watchdog else TICK
    try:
        while True:
            if not is_ready and ready():
                is_ready = True
                notifier.send("READY=1")
            if not is_ready:
                notifier.send(f"EXTEND_TIMEOUT_USEC={PATIENCE * 1_000_000}")
            line = " ".join(status().split())
            if line != told:
                told = line
                notifier.send(f"STATUS={line}")
            if watchdog and healthy():
                notifier.send("WATCHDOG=1")
            await asyncio.sleep(tick if is_ready else FIRST_TICK)
    finally:
        notifier.send("STOPPING=1", "STATUS=stopping")


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    text = environment.get("WATCHDOG_USEC", "")
    # The watchdog may be another process's of this unit.
    mine = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(text) / 1e6 if mine and text.isdigit() and int(text) > 0 else None
