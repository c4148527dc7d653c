"""Every role is killed, paused and made to fail where it hurts most, while a workflow runs through it.

Several sets of daemons run at once, each with one failpoint after the other: most of the time is spent in
waiting for what a fault costs. The ledger's files are read when the daemons have ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from gleitzeitd.client import Client, WorkflowResult
from gleitzeitd.errors import GleitzeitError, StoreError
from gleitzeitd.model.names import TaskId
from tests.daemons import ROOT, Daemons
from tests.failpoints.points import VARIABLE, BadFailpoint, Failpoints, Struck

LANES = 3
"""Sets of daemons at once."""
PAUSE_SECONDS = 2.0
LIMIT_SECONDS = 60.0
"""For one failpoint: from arming it to the end of the workflow, and to all daemons running again."""
LOOK_SECONDS = 0.02
NUMBER_BITS = 48  # as the schema says

ENVIRONMENT = {"GLEITZEIT_PERSISTENCE_GRACE_SECONDS": "1"}
RETRY = {"max_attempts": 3, "base_delay": 0.1, "backoff": "fixed"}
RESULTS: dict[str, dict[str, Any]] = {
    "a": {"text": "a"},
    "b": {"text": "ab"},
    "c": {"text": "ac"},
    "d": {"text": "ad"},
    "e": {"text": "ab ac ad"},
    "p": {"result": 8, "success": True},
}
"""Of each task; Python says more about its own."""


def document() -> Any:
    """A diamond that passes values, and what Python makes of its end. Only a task's own errors need a retry."""

    def echo(task_id: str, text: str) -> dict[str, Any]:
        return {"id": task_id, "method": "echo/echo", "parameters": {"text": text}, "retry": RETRY}

    tasks = [echo("a", "a"), *(echo(each, "${a.text}" + each) for each in "bcd")]
    tasks.append(echo("e", "${b.text} ${c.text} ${d.text}"))
    # Long enough for its start to be told: ends of shorter tasks overtake theirs.
    code = "import time; time.sleep(0.3); result = len(text)"
    python = {"code": code, "context": {"text": "${e.text}"}}
    tasks.append({"id": "p", "method": "python/execute", "parameters": python, "retry": RETRY})
    return {"name": "struck", "tasks": tasks}


@dataclass(frozen=True, slots=True)
class Case:
    """One failpoint in one daemon."""

    daemon: str
    point: str
    action: str
    hit: int = 1
    restart: str = ""
    """The daemon that is killed and started anew, so that the point is reached; else the workflow does it."""

    @property
    def failpoint(self) -> str:
        return f"{self.point}={self.action}@{self.hit}"

    @property
    def name(self) -> str:
        """Of the test and of the workflow."""
        return f"{self.daemon}-{self.point.replace(':', '-')}-{self.action}"


POINTS: dict[str, list[tuple[str, int]]] = {
    "persistence": [
        ("before_commit", 1),
        ("in_commit", 3),
        ("after_commit", 2),
        ("before_send:data_saved", 2),
        ("after_send:data_saved", 3),
        ("before_send:task_completed", 1),
        ("during_claim", 1),
    ],
    "dependency-resolver": [
        ("before_send:save_workflow", 1),
        ("after_send:save_workflow", 1),
        ("before_send:workflow_submitted", 1),
        ("before_send:dependencies_satisfied", 1),
        ("after_send:dependencies_satisfied", 2),
        ("before_send:workflow_completed", 1),
    ],
    "queue-manager": [
        ("before_send:task_available", 1),
        ("after_send:task_available", 1),
        ("before_send:execute_task", 2),
        ("after_send:execute_task", 1),
    ],
    "execution-engine": [
        ("before_send:execute_method", 1),
        ("after_send:execute_method", 2),
        ("before_send:task_started", 1),
        ("before_outbox", 2),
        ("before_send:task_completed", 1),
        ("after_send:task_completed", 2),
    ],
    "provider-echo": [
        ("before_execute", 1),
        ("before_send:method_result", 1),
        ("after_send:method_result", 2),
    ],
    "provider-python": [("before_execute", 1)],
    "protocol-registry": [],
    "hub": [
        ("before_send:save_task", 1),
        ("before_send:execute_task", 1),
        ("after_send:execute_task", 2),
        ("after_send:save_result", 1),
    ],
}
"""Those that a workflow reaches by itself."""
RESTARTED = [
    ("persistence", "during_snapshot", 1, "dependency-resolver"),
    ("dependency-resolver", "during_claim", 1, ""),
    ("dependency-resolver", "during_snapshot", 5, ""),
    ("queue-manager", "during_claim", 1, ""),
    ("queue-manager", "during_snapshot", 5, ""),
    ("protocol-registry", "before_send:provider_found", 1, "execution-engine"),
    ("hub", "during_connect", 3, ""),
    *((each, "during_connect", 1, "") for each in POINTS if each not in ("hub", "provider-python")),
]
DRAINED = [each for each in POINTS if each != "provider-python"]


def cases() -> Iterator[Case]:
    """All of them."""
    for action in ("kill", "stop", "raise", "disk_full"):
        for daemon, points in POINTS.items():
            for point, hit in points:
                if action != "disk_full" or point in ("before_commit", "in_commit"):
                    yield Case(daemon, point, action, hit)
        if action != "disk_full":
            for daemon, point, hit, restart in RESTARTED:
                yield Case(daemon, point, action, hit, restart or daemon)
            for daemon in DRAINED:
                yield Case(daemon, "during_drain", action)


CASES = {case.name: case for case in cases()}


# --- one set of daemons ---------------------------------------------------------------------------------


class Lane:
    """A set of daemons, started again when they die, as systemd would; and what was wrong in each case."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.daemons = Daemons(
            directory,
            providers=("echo", "python"),
            environment=ENVIRONMENT,
            program="tests.failpoints",
            environment_of=lambda name: {VARIABLE: f"@{self._file(name)}"},
        )
        for name in self.daemons.names:
            self._arm(name, "")
        self._stopped_at: dict[str, float] = {}
        self._armed = ""
        self.restarts = 0

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.failpoints"

    def _arm(self, name: str, failpoint: str) -> None:
        new = self._file(name).with_suffix(".new")
        new.write_text(failpoint)
        new.replace(self._file(name))
        self._armed = name if failpoint else ""

    def _strikes(self, case: Case) -> int:
        return self.daemons.log(case.daemon).count(f"failpoint {case.failpoint}\n")

    async def play(self, case: Case, client: Client) -> list[str]:
        """What was wrong."""
        begun = time.monotonic()
        self._arm(case.daemon, case.failpoint)
        workflow = asyncio.create_task(self._workflow(case, client))
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                if case.restart:
                    self.daemons.kill(case.restart)
                    self.daemons.start(case.restart)
                while not (self._all_run() and workflow.done() and self._strikes(case)):
                    await asyncio.sleep(LOOK_SECONDS)
            result = await workflow
        except TimeoutError:
            what = "no end of the workflow" if self._strikes(case) else "the failpoint was not reached"
            states = "" if workflow.done() else await self._states(case, client)
            return [f"{what} after {time.monotonic() - begun:.0f} s {states}"]
        except GleitzeitError as problem:
            return [f"the client was told {type(problem).__name__}: {problem}"]
        finally:
            workflow.cancel()
            self._arm(case.daemon, "")
            self._all_run(at_once=True)
        return list(_wrong_results(result))

    async def _workflow(self, case: Case, client: Client) -> WorkflowResult:
        if case.point == "during_drain":
            await client.submit(document(), workflow_id=case.name)
            self.daemons.processes[case.daemon].terminate()
        while True:
            try:
                return await client.run(document(), workflow_id=case.name)
            except StoreError:  # nothing was accepted, and whoever asked was told so
                if case.action not in ("raise", "disk_full"):
                    raise

    async def _states(self, case: Case, client: Client) -> str:
        try:
            return str([(task.task_id, task.status, task.attempt) for task in await client.tasks(case.name)])
        except GleitzeitError as problem:
            return str(problem)

    def _all_run(self, *, at_once: bool = False) -> bool:
        """Whether nobody is dead or paused; the dead are started, and the paused told to go on in time."""
        well = True
        for name, process in self.daemons.processes.items():
            if process.poll() is not None:
                well = False
                self.restarts += 1
                self._arm(name, "")
                self._stopped_at.pop(name, None)
                self.daemons.start(name)
            elif psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                well = False
                since = self._stopped_at.setdefault(name, time.monotonic())
                if at_once or time.monotonic() - since > PAUSE_SECONDS:
                    del self._stopped_at[name]
                    self.daemons.go_on(name)
        return well


def _wrong_results(result: WorkflowResult) -> Iterator[str]:
    if result.status != "completed":
        yield f"the workflow is {result.status}: {result.error}"
    for task_id, expected in RESULTS.items():
        found = result.tasks[TaskId(task_id)]
        if found.status != "completed" or not _as_expected(found.result, expected):
            yield f"{task_id} is {found.status} with {found.result}, expected {expected}; {found.error}"


def _as_expected(result: Any, expected: dict[str, Any]) -> bool:
    return type(result) is dict and expected.items() <= result.items()


# --- all of them ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """What was wrong, by case, and with the feeds."""

    of: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    feeds: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)


async def play_all(chosen: list[Case], directory: Path) -> Outcome:
    """In lanes, each of which takes the next case when it has ended one."""
    outcome, waiting = Outcome(), deque(chosen)

    async def lane(number: int) -> None:
        place = directory / f"lane-{number}"
        place.mkdir()
        mine = Lane(place)
        played = []
        async with running(mine) as client:
            while waiting:
                case = waiting.popleft()
                begun = time.monotonic()
                outcome.of[case.name] += await mine.play(case, client)
                outcome.seconds[case.name] = time.monotonic() - begun
                with (directory / "cases.log").open("a") as log:
                    log.write(
                        f"{number} {outcome.seconds[case.name]:5.1f} {case.name} {outcome.of[case.name]}\n"
                    )
                played.append(case)
        with closing(sqlite3.connect(place / "gleitzeit.db")) as db:
            for case in played:
                outcome.of[case.name] += _wrong_records(db, case.name)
            outcome.feeds += _wrong_feeds(db)
        outcome.logs.append(place)

    async with asyncio.TaskGroup() as group:
        for number in range(min(LANES, len(chosen))):
            group.create_task(lane(number))
    return outcome


@asynccontextmanager
async def running(lane: Lane) -> Any:
    """The daemons, with a client of theirs."""
    async with lane.daemons as daemons:
        async with daemons.client() as client:
            yield client


def _wrong_records(db: sqlite3.Connection, workflow_id: str) -> Iterator[str]:
    """Each task has ended once, with the right result, and every fact about an attempt is there once."""
    row = db.execute("SELECT serial, state FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
    if row is None:
        yield "the ledger does not know the workflow"
        return
    serial, state = row
    if state != "completed":
        yield f"the ledger has the workflow as {state}"
    tasks = db.execute(
        "SELECT id, task_id, state, attempt FROM task WHERE workflow = ?", (serial,)
    ).fetchall()
    for key, task_id, task_state, _ in tasks:
        found = db.execute("SELECT value FROM value WHERE id = ?", (key * 4 + 1,)).fetchone()
        result = None if found is None else json.loads(found[0])
        if task_state != "completed" or not _as_expected(result, RESULTS[task_id]):
            yield f"the ledger has {task_id} as {task_state} with {result}"
    if len(tasks) != len(RESULTS):
        yield f"the ledger has {len(tasks)} tasks"
    facts: Counter[tuple[str, ...]] = Counter()
    for name, text in db.execute("SELECT name, body FROM feed WHERE workflow = ? ORDER BY id", (serial,)):
        body = json.loads(text)
        facts[name, str(body.get("task_id", "")), str(body.get("attempt", text))] += 1
    for (name, task_id, number), times in facts.items():
        if times > 1:
            yield f"{name} of {task_id or 'the workflow'} {number} is in the feed {times} times"
    ends = Counter(task_id for name, task_id, _ in facts if name == "task_completed")
    if ends != dict.fromkeys(RESULTS, 1):
        yield f"tasks have ended {dict(ends)} times"
    if sum(name == "workflow_completed" for name, _, _ in facts) != 1:
        yield "the end of the workflow is not in the feed once"


def _wrong_feeds(db: sqlite3.Connection) -> Iterator[str]:
    """The numbers of every shard go from 1 to its last one, without a gap."""
    (verdict,) = db.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        yield verdict
    last: dict[int, int] = defaultdict(int)
    for (key,) in db.execute("SELECT id FROM feed ORDER BY id"):
        shard, number = key >> NUMBER_BITS, key & ((1 << NUMBER_BITS) - 1)
        if number != last[shard] + 1:
            yield f"shard {shard}: {number} comes after {last[shard]}"
        last[shard] = number
    for shard, number in db.execute("SELECT shard, number FROM shard"):
        if number != last[shard]:
            yield f"shard {shard} is at {number}, and its feed at {last[shard]}"


# --- the tests ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of all cases whose tests were chosen."""
    tests = {f"{test_a_workflow_survives.__name__}[{name}]": case for name, case in CASES.items()}
    chosen = [tests[item.name] for item in request.session.items if item.name in tests]
    return asyncio.run(play_all(chosen, tmp_path_factory.mktemp("failpoints")))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_workflow_survives(name: str, outcome: Outcome) -> None:
    assert outcome.of[name] == [], outcome.logs


@pytest.mark.slow
def test_the_feed_of_every_shard_is_dense_afterwards(outcome: Outcome) -> None:
    assert outcome.feeds == []
    slowest = sorted(outcome.seconds.items(), key=lambda each: -each[1])[:8]
    print(f"{sum(outcome.seconds.values()):.0f} s in {len(outcome.seconds)} cases; slowest: {slowest}")


@pytest.mark.parametrize(
    ("failpoints", "message"),
    [
        ("before_comit=kill", "no point 'before_comit', did you mean before_commit"),
        ("before_commit=explode", "no action 'explode', expected one of kill, stop, raise"),
        ("before_commit", "expected point=action@n"),
        ("before_send=kill", "before_send has an event"),
        ("in_commit:data_saved=kill", "in_commit has no event"),
        ("before_send:data_save=kill", "no event 'data_save', did you mean data_saved"),
        ("before_send:save_tasks=kill", "no event 'save_tasks', did you mean save_task"),
        ("after_commit=disk_full", "disk_full is for before_commit and in_commit"),
        ("in_commit=delay", "expected delay:SECONDS"),
        ("in_commit=delay:nan", "expected 0 to 3600 seconds"),
        ("in_commit=kill@0", "expected the number of a hit"),
        ("in_commit=kill;@/nowhere", "expected point=action@n"),
        ("@/nowhere", "there is no such file"),
    ],
)
def test_what_cannot_be_struck_is_said(failpoints: str, message: str) -> None:
    with pytest.raises(BadFailpoint, match=re.escape(message)):
        Failpoints(failpoints)


def test_a_daemon_does_not_start_with_a_failpoint_that_is_wrong() -> None:
    command = [sys.executable, "-m", "tests.failpoints", "persistence", "--check-config"]
    ended = subprocess.run(  # noqa: S603
        command,
        env={**os.environ, VARIABLE: "nowhere=kill"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"{VARIABLE}: 'nowhere=kill': there is no point 'nowhere'")


def test_a_failpoint_strikes_at_its_hit_and_never_again(capfd: pytest.CaptureFixture[str]) -> None:
    points = Failpoints("before_send:data_saved=raise@3; before_outbox=raise")
    points.hit("before_send", "data_saved")
    points.hit("before_send", "shard_claimed")
    points.hit("before_send", "data_saved")
    with pytest.raises(Struck, match="before_send:data_saved=raise@3"):
        points.hit("before_send", "data_saved")
    points.hit("before_send", "data_saved")
    assert capfd.readouterr().err == "failpoint before_send:data_saved=raise@3\n"


def test_another_file_arms_other_failpoints(tmp_path: Path) -> None:
    file, new = tmp_path / "failpoints", tmp_path / "new"
    file.write_text("")
    points = Failpoints(f"@{file}")
    points.hit("before_outbox")
    new.write_text("before_outbox=raise")
    new.replace(file)
    with pytest.raises(Struck):
        points.hit("before_outbox")


def test_a_daemon_whose_file_becomes_wrong_ends_at_once(tmp_path: Path) -> None:
    file = tmp_path / "failpoints"
    file.write_text("")
    code = (
        "import sys; from pathlib import Path; from tests.failpoints.points import Failpoints\n"
        "file = Path(sys.argv[1]); points = Failpoints(f'@{file}')\n"
        "new = file.with_suffix('.new'); new.write_text('nowhere=kill'); new.replace(file)\n"
        "points.hit('before_outbox')"
    )
    command = [sys.executable, "-c", code, str(file)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert (ended.returncode, ended.stderr.count("there is no point 'nowhere'")) == (2, 1)
