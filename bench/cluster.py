"""Real daemons on loopback, each in its own process, with a fresh database."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import psutil

from gleitzeitd.client import Client
from gleitzeitd.errors import GleitzeitError

ROLES: dict[str, list[str]] = {
    "persistence": ["persistence"],
    "protocol-registry": ["protocol-registry"],
    "dependency-resolver": ["dependency-resolver"],
    "queue-manager": ["queue-manager"],
    "execution-engine": ["execution-engine"],
    "provider": ["provider", "echo"],
}
READY_SECONDS = 30.0
STOP_SECONDS = 15.0


class Daemons:
    """The hub and one process of every other role, as a context manager."""

    def __init__(self, directory: Path, *, synchronous: str = "FULL") -> None:
        self._directory = directory
        self._token = secrets.token_urlsafe(24)
        self._synchronous = synchronous
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])

    @property
    def hub_url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._port}"

    def client(self) -> Client:
        """A client of these daemons."""
        return Client(hub_urls=[self.hub_url], token=self._token, name="bench")

    async def __aenter__(self) -> Daemons:
        self._start("hub", ["hub"])
        for name, arguments in ROLES.items():
            self._start(name, arguments)
        try:
            await asyncio.wait_for(self._ready(), READY_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, name: str, arguments: list[str]) -> None:
        environment = {
            **os.environ,
            "GLEITZEIT_TOKEN": self._token,
            "GLEITZEIT_HUB_PORT": str(self._port),
            "GLEITZEIT_HUB_URL": self.hub_url,
            "GLEITZEIT_STORE_PATH": str(self._directory / "gleitzeit.db"),
            "GLEITZEIT_STORE_SYNCHRONOUS": self._synchronous,
            "LOG_LEVEL": "warning",
        }
        log = (self._directory / f"{name}.log").open("ab")
        command = [sys.executable, "-m", "gleitzeitd", *arguments]
        self._processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    async def _ready(self) -> None:
        """A workflow runs: every role is there, and shards have owners."""
        while True:
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            if dead:
                logs = "".join((self._directory / f"{name}.log").read_text() for name in dead)
                raise RuntimeError(f"{', '.join(dead)} ended at once:\n{logs}")
            try:
                async with self.client() as client:
                    await client.run({"name": "ready", "tasks": [{"id": "ready", "method": "echo/ping"}]})
                    return
            except GleitzeitError:
                await asyncio.sleep(0.1)

    def _stop(self) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def memory(self) -> dict[str, float]:
        """Resident memory by daemon, in megabytes."""
        return {
            name: round(psutil.Process(process.pid).memory_info().rss / 1e6, 1)
            for name, process in self._processes.items()
        }

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time used so far, by daemon."""
        used = {name: psutil.Process(process.pid).cpu_times() for name, process in self._processes.items()}
        return {name: times.user + times.system for name, times in used.items()}
