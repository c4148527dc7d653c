"""A set of hosts on one bridge: booted together, with our packages, joined by tokens, and gone at the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self, TypeVar

from tests.system.containers import Container, Stage
from tests.system.host import EXAMPLES, Host
from tests.system.network import Network
from tests.system.progress import say, step

Item = TypeVar("Item")

PORT = 8000
HUB_HOST = "hub"
WORKERS = ("worker-1", "worker-2")
WORKER_PACKAGES = (
    "gleitzeit-common",
    "gleitzeit-execution-engine",
    "gleitzeit-provider-echo",
    "gleitzeit-provider-python",
    "gleitzeit-provider-shell",
)
OPTIONAL = {"gleitzeit-provider-grpc", "gleitzeit-provider-mcp"}
"""What the metapackage does not bring."""
WORKER_PROVIDERS = ("echo", "python", "shell")


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Those that are up now."""

    all: tuple[Host, ...]
    network: Network

    @property
    def hub(self) -> Host:
        """With the hub, and all that decides and keeps: the first."""
        return self.all[0]

    @property
    def workers(self) -> tuple[Host, ...]:
        """With engines and providers."""
        return self.all[1:]


@contextmanager
def booted(image: Path, *names: str) -> Iterator[Hosts]:
    """Hosts with nothing of ours."""
    with ends_when_told_to(), Stage() as stage:
        network = Network(stage, names)
        containers = [
            Container(stage, image, name, network.hosts_file(name), network.namespace(name)) for name in names
        ]
        try:
            with step(f"boot {', '.join(names)}"):
                for container in containers:
                    container.start()
                at_once(Container.wait_for_boot, containers)
            made = tuple(Host(each, network.addresses[each.name]) for each in containers)
            yield Hosts(all=made, network=network)
        finally:
            with step(f"power off {', '.join(names)}"):
                at_once(Container.stop, containers)


def at_once(do: Callable[[Item], Any], items: Iterable[Item]) -> None:
    """Do it with all of them at the same time; the first that fails is raised when all have ended."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(do, items))


def let_shells_keep(host: Host) -> None:
    """Tasks of the protocol shell may write into a directory that stays, as those of :mod:`workflows` do."""
    host.put("/etc/gleitzeit/providers/shell.d/20-kept.toml", '[provider]\nwritable = ["kept"]\n')


def install_all(host: Host, packages: Path) -> None:
    """A whole system on one host, as somebody does who tries it out."""
    let_shells_keep(host)
    names = {file.name.partition("_")[0] for file in packages.glob("*.deb")} - OPTIONAL
    host.apt("install", *host.copy_packages(packages, *sorted(names)))


def install_worker(host: Host, packages: Path) -> None:
    """An engine and providers, on a host that is to work for another one's hub."""
    let_shells_keep(host)
    host.apt("install", *host.copy_packages(packages, *WORKER_PACKAGES))


def install_at_once(hosts: Hosts, packages: Path) -> None:
    """The hub's host and its workers, which do not know of each other yet."""
    at_once(lambda host: (install_all if host is hosts.hub else install_worker)(host, packages), hosts.all)


def open_hub(host: Host) -> None:
    """Let the hub listen on the network too."""
    listen = f"[Socket]\nListenStream={host.address}:{PORT}\n"
    host.put("/etc/systemd/system/gleitzeit-hub.socket.d/listen.conf", listen)
    host.systemctl("daemon-reload")
    host.systemctl("stop", "gleitzeit-hub.socket", "gleitzeit-hub.service")
    host.systemctl("start", "gleitzeit-hub.socket", "gleitzeit-hub.service")


def join(host: Host, hub: Host) -> None:
    """Let its engine and its providers work for the hub on another host, with tokens that are made there."""
    tokens = hub.said("gleitzeit", "token", "create", "--host", host.name)
    host.run("gleitzeitd", "keygen", "--stdin", stdin=tokens)
    setting = f'[connection]\nhub_urls = ["http://{hub.name}:{PORT}"]\n'
    host.put("/etc/gleitzeit/execution-engine.d/10-hub.toml", setting)
    for name in WORKER_PROVIDERS:
        host.put(f"/etc/gleitzeit/providers/{name}.d/10-hub.toml", setting)
    units = ["gleitzeit-execution-engine", *(f"gleitzeit-provider@{name}" for name in WORKER_PROVIDERS)]
    host.systemctl("restart", *units)


@contextmanager
def ends_when_told_to() -> Iterator[None]:
    """SIGTERM as Ctrl-C: what was begun is undone."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def release() -> str:
    """Of Debian, in which this run's hosts are."""
    return os.environ.get("GLEITZEIT_SYSTEM_RELEASE", "trixie")


def _have_joined(hub: Host, hosts: Hosts) -> bool:
    """Whether the hub knows the engine and the providers of every worker."""
    known = [str(each["hostname"]) for each in hub.components()]
    return all(known.count(worker.name) > len(WORKER_PROVIDERS) for worker in hosts.workers)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Three hosts with our packages, at work."""

    hosts: Hosts
    packages: Path
    first_run_seconds: float
    """From the end of apt on a fresh host to the end of the first workflow there."""
    first_run_id: str

    @property
    def hub(self) -> Host:
        """With the hub, and all that decides and keeps; it has an engine and providers too."""
        return self.hosts.hub

    @property
    def workers(self) -> tuple[Host, ...]:
        """With engines and providers."""
        return self.hosts.workers

    @classmethod
    def made_of(cls, hosts: Hosts, packages: Path) -> Self:
        """Install everything, run the first workflow on the first host, and let the others join it."""
        hub = hosts.hub
        with step("apt install on three hosts at once"):
            install_at_once(hosts, packages)
        begun = time.monotonic()
        ran = hub.asked("run", f"{EXAMPLES}/hello.yaml")
        took = time.monotonic() - begun
        say("the first workflow after apt", took)
        with step("the hub listens, and two workers join"):
            at_once(lambda host: open_hub(host) if host is hub else join(host, hub), hosts.all)
            hub.wait_until("all hosts have joined", lambda: _have_joined(hub, hosts), within=20)
        return cls(hosts=hosts, packages=packages, first_run_seconds=took, first_run_id=ran["workflow_id"])


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A host with everything and one worker, for what is done to packages."""

    hosts: Hosts
    packages: Path
    """Those of this version; the hosts begin with the version before it."""

    @classmethod
    def made_of(cls, hosts: Hosts, packages: Path, former: Path) -> Self:
        """Install the version before this one, and let the worker join."""
        (worker,) = hosts.workers
        with step(f"apt install {former.name}"):
            install_at_once(hosts, former)
            open_hub(hosts.hub)
            join(worker, hosts.hub)
        return cls(hosts=hosts, packages=packages)
