"""Faults upon real processes, briefly; and whether the auditor would notice what must not happen.

``./dev chaos`` does the same for as long as one likes.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.audit import Auditor, Execution, read_record
from tests.chaos.faults import CLOSE, CUT, KILL, PAUSE, RESTART, drawn
from tests.chaos.proxy import TO_COMPONENT, TO_HUB, Proxy
from tests.chaos.report import as_json, as_table
from tests.chaos.run import Account, Options, Run
from tests.chaos.workload import Shapes

pytestmark = pytest.mark.alone

SEED = 5
DAEMONS = ["hub", "persistence"]
LINKS = [("persistence", "hub")]


# --- three minutes of it -------------------------------------------------------------------------------


@dataclass
class Past:
    """A run that is over."""

    directory: Path
    account: Account


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """One run for all tests."""
    directory = tmp_path_factory.mktemp("chaos")
    account = asyncio.run(Run(directory, Options(seconds=180, seed=SEED)).run())
    yield Past(directory, account)


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_done_twice_under_faults(past: Past) -> None:
    account = past.account
    print(as_table(account), as_json(account), sep="\n")
    assert not account.all_violations, past.directory
    assert set(account.faults) == {KILL, PAUSE, RESTART, CUT, CLOSE}
    assert account.faults.total() >= 100
    assert account.drained is not None
    assert len(account.plans) == account.findings.finished > 200


def audited(past: Past, directory: Path, damage: str | None = None, record: str = "") -> list[str]:
    """The violations after something was done to a copy of what a run has left."""
    for name in ("gleitzeit.db", "executions.txt"):
        shutil.copy(past.directory / name, directory / name)
    database = directory / "gleitzeit.db"
    if damage is not None:
        with sqlite3.connect(database) as db:
            assert db.execute(damage).rowcount > 0
        db.close()
    with (directory / "executions.txt").open("a") as executions:
        executions.write(record)
    auditor = Auditor(database, read_record(directory / "executions.txt"))
    try:
        return auditor.audit(past.account.plans, past.account.faults.total(), lambda *_: True).violations
    finally:
        auditor.close()


DAMAGES = {
    "a workflow is lost": ("DELETE FROM workflow WHERE serial = 5", "was accepted and does not exist"),
    "a workflow has not ended": ("UPDATE workflow SET state = 'running' WHERE serial = 5", "is running"),
    "a task has another end": (
        "UPDATE task SET state = 'skipped' WHERE id = (SELECT min(id) FROM task WHERE state = 'completed' "
        "AND workflow > 2)",
        "is skipped, expected completed",
    ),
    "a result is another's": (
        "UPDATE value SET value = '{\"value\":1}' WHERE id = (SELECT max(id) FROM value WHERE id % 4 = 1)",
        "has the result",
    ),
    "a feed has a gap": (
        "DELETE FROM feed WHERE id = (SELECT max(id) - 1 FROM feed)",
        "the one before it is",
    ),
    "a task ended twice": (
        "INSERT INTO feed SELECT (SELECT max(id) + 1 FROM feed), workflow, name, audience, 0, 0, 0, task, body "
        "FROM feed WHERE name = 'task_completed' AND workflow > 2 LIMIT 1",
        "the facts that end it are",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", DAMAGES)
def test_the_auditor_sees_it_when(past: Past, tmp_path: Path, what: str) -> None:
    damage, complaint = DAMAGES[what]
    assert any(complaint in each for each in audited(past, tmp_path, damage))


@pytest.mark.slow
def test_the_auditor_sees_executions_that_should_not_be(past: Past, tmp_path: Path) -> None:
    assert not audited(past, tmp_path)
    plan = next(plan for plan in past.account.plans if plan.shape == "chain")
    unknown = audited(past, tmp_path, record=f"begin {plan.workflow_id} s0 99 1 0.5\n")
    assert any("unknown to the ledger" in each for each in unknown)
    twice = audited(past, tmp_path, record=f"begin {plan.workflow_id} s0 1 1 0.5\n" * 2)
    assert any("twice by one process" in each for each in twice)
    many = "".join(f"begin {plan.workflow_id} s0 1 {pid} 0.5\n" for pid in range(2, 100))
    assert any("executions too many" in each for each in audited(past, tmp_path, record=many))


# --- its parts ----------------------------------------------------------------------------------------


def test_one_seed_gives_the_same_faults_and_workflows_again() -> None:
    assert list(drawn(1, 60, 50, DAEMONS, LINKS)) == list(drawn(1, 60, 50, DAEMONS, LINKS))
    assert list(drawn(1, 60, 50, DAEMONS, LINKS)) != list(drawn(2, 60, 50, DAEMONS, LINKS))
    first, second = Shapes(1), Shapes(1)
    assert [first.draw().document for _ in range(20)] == [second.draw().document for _ in range(20)]


def test_a_place_has_one_fault_at_a_time() -> None:
    free_at: dict[tuple[str, str], float] = {}
    for fault in drawn(3, 600, 200, DAEMONS, LINKS):
        place = (fault.target, fault.hub)
        assert fault.at >= free_at.get(place, 0.0)
        free_at[place] = fault.at + fault.seconds


def test_executions_that_did_not_end_are_those_of_a_killed_process(tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.write_text("begin w t 1 7 1.0\nbegin w u 1 7 1.5\nend w t 1 7 2.0 ok\n")
    assert read_record(record) == [
        Execution("w", "t", 1, 7, 1.0, "ok"),
        Execution("w", "u", 1, 7, 1.5, "killed"),
    ]


async def through(work: Callable[[Proxy, asyncio.StreamReader, asyncio.StreamWriter], object]) -> None:
    """Connect to something that echoes, by a proxy."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"a")
        assert await reader.read(10) == b"a"
        async with asyncio.timeout(10):
            await work(proxy, reader, writer)  # type: ignore[misc]
    finally:
        writer.close()
        await proxy.stop()
        server.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("lane", [TO_HUB, TO_COMPONENT])
async def test_what_a_cut_holds_comes_after_it(lane: str) -> None:
    async def work(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.cut("hold", (lane,))
        writer.write(b"b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(10), 0.05)
        proxy.heal()
        assert await reader.read(10) == b"b"

    await through(work)


@pytest.mark.parametrize("lane", [TO_HUB, TO_COMPONENT])
async def test_what_a_cut_swallows_is_lost_and_its_connection_stays_silent(lane: str) -> None:
    async def work(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.cut("swallow", (lane,))
        writer.write(b"b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(10), 0.05)
        proxy.heal()
        writer.write(b"c")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(10), 0.05)
        again, writing = await asyncio.open_connection("127.0.0.1", proxy.port)
        writing.write(b"d")
        assert await again.read(10) == b"d"
        writing.close()

    await through(work)


async def test_a_closed_link_is_noticed_at_both_ends() -> None:
    async def work(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.close()
        with pytest.raises(ConnectionError):
            assert not await reader.read(10)
            raise ConnectionResetError

    await through(work)
