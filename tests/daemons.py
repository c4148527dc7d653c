"""Real daemons on loopback, each in its own process, with a database of their own.

    async with Daemons(tmp_path, twice={"queue-manager", "execution-engine"}) as daemons:
        async with daemons.client() as client: ...
        daemons.kill("execution-engine")

Used by the end-to-end tests and by the benchmarks.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

import psutil

from gleitzeitd.client import Client
from gleitzeitd.errors import GleitzeitError

ROLES = (
    "persistence",
    "protocol-registry",
    "dependency-resolver",
    "queue-manager",
    "execution-engine",
)
READY_SECONDS = 30.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemons:
    """The hub and processes of all other roles, as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        providers: Collection[str] = ("echo",),
        twice: Collection[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """``twice`` names the roles of which two are started."""
        self.directory = directory
        self.token = secrets.token_urlsafe(24)
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._arguments: dict[str, list[str]] = {"hub": ["hub"]}
        for role in ROLES:
            for name in [role, f"{role}-2"] if role in twice else [role]:
                self._arguments[name] = [role]
        for provider in providers:
            self._arguments[f"provider-{provider}"] = ["provider", provider]
        self._environment = environment or {}

    @property
    def hub_url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What daemons and clients need to find each other."""
        return {
            **os.environ,
            "GLEITZEIT_TOKEN": self.token,
            "GLEITZEIT_HUB_PORT": str(self.port),
            "GLEITZEIT_HUB_URL": self.hub_url,
            "GLEITZEIT_SQLITE_PATH": str(self.directory / "gleitzeit.db"),
            "LOG_LEVEL": "info",
            **self._environment,
        }

    def client(self) -> Client:
        """A client of these daemons."""
        return Client(hub_urls=[self.hub_url], token=self.token, name="client")

    async def __aenter__(self) -> Daemons:
        for name in self._arguments:
            self.start(name)
        try:
            await asyncio.wait_for(self.ready(), READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str) -> None:
        """Start a daemon, or start it again."""
        command = [sys.executable, "-m", "gleitzeitd", *self._arguments[name]]
        environment = {**self.environment(), "COMPONENT_ID": name}
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """Without a warning."""
        self.processes[name].kill()
        self.processes[name].wait()

    def terminate(self, name: str) -> int:
        """As systemd does; the exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(STOP_SECONDS)

    def log(self, name: str) -> str:
        """What a daemon has written so far."""
        return (self.directory / f"{name}.log").read_text()

    async def ready(self) -> None:
        """Wait until a workflow runs through all of them."""
        echo = {"name": "ready", "tasks": [{"id": "ready", "method": "echo/ping"}]}
        while True:
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead:
                raise RuntimeError("\n".join(f"{name} ended at once:\n{self.log(name)}" for name in dead))
            try:
                async with self.client() as client:
                    if len(await client.components()) >= len(self._arguments):
                        await client.run(echo)
                        return
            except GleitzeitError as problem:
                last = str(problem)
                assert last
            await asyncio.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """End all of them, the hub last."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def memory(self) -> dict[str, float]:
        """Resident memory by daemon, in megabytes."""
        return {
            name: round(psutil.Process(process.pid).memory_info().rss / 1e6, 1)
            for name, process in self.processes.items()
        }

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time used so far, by daemon."""
        used = {name: psutil.Process(process.pid).cpu_times() for name, process in self.processes.items()}
        return {name: times.user + times.system for name, times in used.items()}
