"""What arrives at the service manager's socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gleitzeitd.runtime import systemd
from gleitzeitd.runtime.systemd import Notifier, report
from gleitzeitd.runtime.tasks import Tasks


class Manager:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self.received: list[str] = []

    def all(self) -> list[str]:
        while True:
            try:
                self.received += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return self.received

    async def until(self, line: str) -> None:
        async with asyncio.timeout(5):
            while line not in self.all():
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


class Process:
    """A process as it reports itself."""

    def __init__(self) -> None:
        self.ready = False
        self.healthy = True
        self.status = "starting"

    async def reporting(self, notifier: Notifier, tasks: Tasks) -> None:
        work = report(
            notifier, ready=lambda: self.ready, status=lambda: self.status, healthy=lambda: self.healthy
        )
        tasks.spawn(work, name="report")


async def test_ready_is_said_once_and_only_when_it_is_true(manager: Manager) -> None:
    process, tasks, notifier = Process(), Tasks(), Notifier(manager.environment)
    await process.reporting(notifier, tasks)
    await manager.until("STATUS=starting")
    assert "READY=1" not in manager.all()
    assert "EXTEND_TIMEOUT_USEC=30000000" in manager.all()  # waiting for a hub is no failed start
    process.ready = True
    await manager.until("READY=1")
    await tasks.cancel()
    assert manager.all().count("READY=1") == 1
    assert manager.all()[-2:] == ["STOPPING=1", "STATUS=stopping"]
    notifier.close()
    notifier.close()


async def test_the_status_is_sent_when_it_has_changed_and_on_one_line(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "TICK", 0.01)
    process, tasks, notifier = Process(), Tasks(), Notifier(manager.environment)
    process.ready, process.status = True, "3 ready\n  tasks"
    await process.reporting(notifier, tasks)
    await manager.until("STATUS=3 ready tasks")
    process.status = "4 ready tasks"
    await manager.until("STATUS=4 ready tasks")
    await tasks.cancel()
    assert manager.all().count("STATUS=3 ready tasks") == 1
    notifier.close()


async def test_the_watchdog_is_fed_only_while_all_is_well(manager: Manager) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())}
    process, tasks, notifier = Process(), Tasks(), Notifier(environment)
    process.ready = True
    await process.reporting(notifier, tasks)
    await manager.until("WATCHDOG=1")
    process.healthy = False
    await asyncio.sleep(0)
    fed = manager.all().count("WATCHDOG=1")
    process.status = "not well"
    await manager.until("STATUS=not well")
    assert manager.all().count("WATCHDOG=1") <= fed + 1
    await tasks.cancel()
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),  # another process's
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_that_of_this_process(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environment).watchdog_seconds == seconds


def test_without_systemd_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier({})
    notifier.send("READY=1")
    notifier.close()
    unreachable = Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"})
    unreachable.send("READY=1")
    unreachable.close()


def test_an_abstract_socket_is_found(tmp_path: Path) -> None:
    manager = Manager(f"\0gleitzeit-test-{os.getpid()}-{tmp_path.name}")
    notifier = Notifier(manager.environment)
    notifier.send("READY=1", "STATUS=here")
    assert manager.all() == ["READY=1", "STATUS=here"]
    notifier.close()
    manager.close()


def test_the_environment_of_the_process_is_read(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environment["NOTIFY_SOCKET"])
    notifier = Notifier(os.environ)
    notifier.send("READY=1")
    assert manager.all() == ["READY=1"]
    notifier.close()
