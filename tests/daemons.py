"""Real daemons on loopback, each in its own process, with a database of their own.

    async with Daemons(tmp_path, twice={"queue-manager", "execution-engine"}) as daemons:
        async with daemons.client() as client: ...
        daemons.kill("execution-engine")

Used by the end-to-end tests, by the benchmarks, and by the tests with faults.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType

import psutil

from gleitzeitd.client import Client
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.model.access import full_grant
from gleitzeitd.runtime.tokens import KeyRing

ROLES = (
    "persistence",
    "protocol-registry",
    "dependency-resolver",
    "queue-manager",
    "execution-engine",
)
ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 30.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemons:
    """One hub or more, and processes of all other roles, as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        providers: Collection[str] = ("echo",),
        modules: Mapping[str, str] | None = None,
        twice: Collection[str] = (),
        hubs: int = 1,
        hub_urls_of: Callable[[str], list[str]] | None = None,
        environment: dict[str, str] | None = None,
        ready_method: str = "echo/ping",
        program: str = "gleitzeitd",
        environment_of: Callable[[str], Mapping[str, str]] | None = None,
    ) -> None:
        """``modules`` are providers of our own, ``MODULE:CLASS`` by name; ``twice`` names the roles (and
        providers, as ``provider-echo``) of which two are started. ``hub_urls_of`` says by which addresses a
        daemon goes to the hubs, if not directly. ``ready_method`` needs no parameters. ``program`` is the
        module that is run, and ``environment_of`` says what only the daemon of a name finds in its environment.
        """
        self.directory = directory
        self.ready_seconds = 0.0
        self._keys = directory / "gleitzeit.keys"
        ring = KeyRing.make()
        ring.write(self._keys)
        self.token = ring.issue(full_grant("test"), now=time.time())
        self.ports = {("hub" if n == 0 else f"hub-{n + 1}"): free_port() for n in range(hubs)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._arguments: dict[str, list[str]] = {name: ["hub"] for name in self.ports}
        wanted = {role: [role] for role in ROLES}
        wanted |= {f"provider-{name}": ["provider", name] for name in providers}
        wanted |= {
            f"provider-{name}": ["provider", name, "--module", spec] for name, spec in (modules or {}).items()
        }
        for name, arguments in wanted.items():
            for each in [name, f"{name}-2"] if name in twice else [name]:
                self._arguments[each] = arguments
        self._hub_urls_of = hub_urls_of or (lambda _: self.hub_urls)
        self._environment = environment or {}
        self._ready_method = ready_method
        self._program = program
        self._environment_of = environment_of or (lambda _: {})

    @property
    def names(self) -> list[str]:
        """Of all daemons, the hubs first."""
        return list(self._arguments)

    @property
    def port(self) -> int:
        """Of the first hub."""
        return self.ports["hub"]

    @property
    def hub_url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def hub_urls(self) -> list[str]:
        """Of all hubs."""
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    def environment(self) -> dict[str, str]:
        """What daemons and clients need to find each other."""
        return {
            **os.environ,
            "GLEITZEIT_TOKEN": self.token,
            "GLEITZEIT_KEYS_FILE": str(self._keys),
            "GLEITZEIT_HUB_PORT": str(self.port),
            "GLEITZEIT_HUB_URL": ",".join(self.hub_urls),
            "GLEITZEIT_SQLITE_PATH": str(self.directory / "gleitzeit.db"),
            "LOG_LEVEL": "info",
            **self._environment,
        }

    def client(self) -> Client:
        """A client of these daemons."""
        return Client(hub_urls=self.hub_urls, token=self.token, name="client")

    async def __aenter__(self) -> Daemons:
        started = time.monotonic()
        for name in self._arguments:
            self.start(name)
        try:
            await asyncio.wait_for(self.ready(), READY_SECONDS)
            self.ready_seconds = round(time.monotonic() - started, 2)
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
        command = [sys.executable, "-m", self._program, *self._arguments[name]]
        environment = {**self.environment(), "COMPONENT_ID": name, **self._environment_of(name)}
        if name in self.ports:
            environment["GLEITZEIT_HUB_PORT"] = str(self.ports[name])
        else:
            environment["GLEITZEIT_HUB_URL"] = ",".join(self._hub_urls_of(name))
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """Without a warning."""
        self.processes[name].kill()
        self.processes[name].wait()

    def pause(self, name: str) -> None:
        """It does nothing, keeps its connections, and knows nothing of it, until it is told to go on."""
        self.processes[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """After a pause."""
        self.processes[name].send_signal(signal.SIGCONT)

    def terminate(self, name: str) -> int:
        """As systemd does; the exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(STOP_SECONDS)

    def log(self, name: str) -> str:
        """What a daemon has written so far."""
        return (self.directory / f"{name}.log").read_text()

    async def ready(self) -> None:
        """Wait until a workflow runs through all of them."""
        trial = {"name": "ready", "tasks": [{"id": "ready", "method": self._ready_method}]}
        expected = len(self._arguments) - len(self.ports) + 1  # a hub knows of no other
        while True:
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead:
                raise RuntimeError("\n".join(f"{name} ended at once:\n{self.log(name)}" for name in dead))
            try:
                async with self.client() as client:
                    if len(await client.components()) >= expected:
                        await client.run(trial)
                        return
            except GleitzeitError as problem:
                last = str(problem)
                assert last
            await asyncio.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """End all of them, the hub last."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
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
