"""Waits with an end, doubts and verdicts, and retries by error, through the whole system in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gleitzeitd import errors
from gleitzeitd.events.dependency_resolver import ResolveTask
from gleitzeitd.machines.provider import Work
from gleitzeitd.model.ledger import Verdict
from gleitzeitd.model.names import TaskId, WorkflowId
from tests.cluster import Cluster, ran

Answer = tuple[float, dict[str, Any]]


def one(**task: Any) -> dict[str, Any]:
    return {"tasks": [{"id": "a", "method": "echo/echo", "parameters": {"n": 1}, **task}]}


def system(work: Callable[[Work], Answer] | None = None, **roles: int) -> Cluster:
    cluster = Cluster(1)
    cluster.add_all(**roles)
    if work is not None:
        cluster.work = work
    return cluster


def task_of(cluster: Cluster, name: str = "a") -> Any:
    return next(row for row in ran(cluster.store.tasks(WorkflowId("w"), -1, 99)) if row.task_id == name)


def until(cluster: Cluster, status: str, within: float = 30.0) -> None:
    """Run until the task has it."""
    found = cluster.run_until(lambda: cluster.states("w").get("a") == status, cluster.now + within)
    assert found, cluster.states("w")


def ended(cluster: Cluster, status: str, within: float) -> float:
    """When the workflow has ended, in seconds from the beginning; nothing is left of it."""
    assert cluster.run_until(cluster.ended, within), "\n".join(cluster.trace[-40:])
    at = cluster.now
    assert cluster.status("w") == status
    cluster.run(cluster.now + 5)
    cluster.check()
    assert cluster.nodes["persistence"].machine.figures()["timeouts_armed"] == 0
    return at


def restart(cluster: Cluster, name: str = "persistence") -> None:
    cluster.kill(name)
    cluster.run(cluster.now + 0.5)
    cluster.restart(name)


def takes(seconds: float) -> Callable[[Work], Answer]:
    return lambda work: (seconds, {"result": work.parameters})


# --- the queue ------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_what_waits_too_long_in_the_queue_has_failed_and_a_restart_arms_it_in_full(restarted: bool) -> None:
    cluster = system(providers=0)
    cluster.submit("w", one(timeouts={"queued": 10}, retry={"max_attempts": 3}))
    until(cluster, "queued")
    cluster.run(cluster.now + 8)
    if restarted:
        restart(cluster)
    at = ended(cluster, "failed", 60)
    assert (18 < at < 21) if restarted else (10 < at < 12), at
    assert str(task_of(cluster).error) == "[TASK_TIMEOUT] waited in the queue longer than 10 s"


def test_what_is_taken_in_time_does_not_fail_later() -> None:
    cluster = system(takes(30))
    cluster.submit("w", one(timeouts={"queued": 2, "start": 2}))
    assert ended(cluster, "completed", 60) > 30


# --- the start ------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_what_an_engine_does_not_start_goes_to_another(restarted: bool) -> None:
    cluster = system(engines=2)
    cluster.submit("w", one(timeouts={"start": 1}))
    until(cluster, "assigned")
    holder = task_of(cluster).owner
    cluster.kill(holder)  # its lease would go on for longer
    if restarted:
        restart(cluster)
    ended(cluster, "completed", 60)
    lost = [e.reason for e in cluster.published["w"] if e.name == "task_lost"]
    assert lost == ["not started within 1 s"]
    assert task_of(cluster).owner != holder


# --- silence --------------------------------------------------------------------------------------


def test_the_limit_of_silence_reaches_the_provider_and_its_end_can_be_tried_again() -> None:
    heard: list[float | None] = []

    def work(given: Work) -> Answer:
        heard.append(given.silence)
        late = errors.TaskTimeout("neither output nor progress").info()
        return (7, {"error": late}) if given.attempt == 1 else (1, {"result": "spoke"})

    cluster = system(work)
    cluster.submit("w", one(timeouts={"silence": 7}, retry={"max_attempts": 2, "base_delay": 1}))
    ended(cluster, "completed", 60)
    assert heard == [7.0, 7.0]
    assert task_of(cluster).failures == 1


# --- a workflow's time ----------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_a_workflow_whose_time_is_over_has_failed_and_nothing_of_it_runs(restarted: bool) -> None:
    cluster = system(takes(500))
    document = one()
    document["tasks"].append({"id": "b", "method": "echo/echo", "dependencies": ["a"]})
    cluster.submit("w", {**document, "timeout": 10})
    until(cluster, "running")
    cluster.run(6)
    if restarted:
        restart(cluster)
    at = ended(cluster, "failed", 60)
    assert (16 < at < 19) if restarted else (10 < at < 13), at
    assert cluster.states("w") == {"a": "cancelled", "b": "cancelled"}
    row = ran(cluster.store.workflow(WorkflowId("w")))
    assert str(row.error) == "[WORKFLOW_TIMEOUT] it took longer than its timeout of 10 s"
    assert [e.error.code for e in cluster.published["w"] if e.name == "workflow_failed"] == [-28004]


def test_a_ledger_that_restarts_while_a_late_workflow_is_being_cancelled_still_knows_why() -> None:
    cluster = system(takes(500))
    cluster.submit("w", {**one(), "timeout": 5})
    until(cluster, "running")
    assert cluster.run_until(lambda: cluster.status("w") == "cancelling", 20)
    restart(cluster)
    ended(cluster, "failed", 60)


def test_a_workflow_that_is_done_in_time_is_forgotten_by_its_timer() -> None:
    cluster = system()
    cluster.submit("w", {**one(), "timeout": 5})
    assert ended(cluster, "completed", 5) < 5


# --- tasks that must not run twice ----------------------------------------------------------------


def busy(cluster: Cluster) -> list[str]:
    """The engines that hold a task."""
    return [name for name in ("engine-1", "engine-2") if cluster.nodes[name].machine.load()]


def lost_while_running(victim: str, **task: Any) -> Cluster:
    cluster = system(takes(20))
    cluster.submit("w", one(on_lost="ask", **task))
    until(cluster, "running")
    cluster.run(cluster.now + 1)
    cluster.kill(victim)
    until(cluster, "unknown")
    return cluster


@pytest.mark.parametrize("victim", ["engine-1", "provider-1"])
def test_a_task_that_must_not_run_twice_waits_for_an_operator(victim: str) -> None:
    cluster = lost_while_running(victim)
    cluster.restart(victim)
    cluster.run(cluster.now + 60)
    assert cluster.states("w") == {"a": "unknown"}
    assert cluster.executions["w", "a"] == 1
    assert [e.attempt for e in cluster.published["w"] if e.name == "task_unknown"] == [1]


@pytest.mark.parametrize(
    ("verdict", "status", "runs", "result"),
    [
        (Verdict.RERUN, "completed", 2, {"n": 1}),
        (Verdict.DONE, "completed", 1, {"paid": True}),
        (Verdict.FAIL, "failed", 1, None),
    ],
)
def test_the_workflow_goes_on_as_the_operator_says(
    verdict: Verdict, status: str, runs: int, result: Any
) -> None:
    cluster = lost_while_running("engine-1")
    cluster.restart("engine-1")
    restart(cluster)
    cluster.run(cluster.now + 25)  # the provider ends what nobody waits for any more
    order = ResolveTask(
        workflow_id=WorkflowId("w"), task_id=TaskId("a"), verdict=verdict, attempt=1, result={"paid": True}
    )
    for number in (1, 2):
        cluster.ask(f"resolve {number}", order)
        assert cluster.run_until(lambda n=number: f"resolve {n}" in cluster.answers, cluster.now + 10)
    assert [cluster.answers[f"resolve {n}"].status for n in (1, 2)] == ["ok", "duplicate"]
    ended(cluster, status, cluster.now + 60)
    assert cluster.executions["w", "a"] == runs
    assert cluster.result("w", "a") == result


def test_an_engine_that_dies_before_the_ledger_knows_of_the_start_has_begun_nothing() -> None:
    cluster = system(takes(3), engines=2)
    cluster.submit("w", one(on_lost="ask"))
    assert cluster.run_until(lambda: bool(busy(cluster)), 30)
    cluster.kill("persistence")  # starts are not noted now
    (holder,) = busy(cluster)
    cluster.run(cluster.now + 3)
    assert not cluster.executions
    cluster.kill(holder)
    cluster.restart("persistence")
    ended(cluster, "completed", cluster.now + 60)
    assert cluster.executions["w", "a"] == 1


@pytest.mark.parametrize("seed", range(25))
def test_a_task_that_must_not_run_twice_never_does_whatever_is_killed(seed: int) -> None:
    cluster = Cluster(seed)
    cluster.add_all(engines=2, providers=2)
    cluster.work = takes(1.5)
    documents = [f"w{n}" for n in range(4)]
    for name in documents:
        cluster.submit(name, one(on_lost="ask", retry={"max_attempts": 3}))
    cluster.run_until(lambda: bool(busy(cluster)), 30)
    for _ in range(3):
        victims = ["persistence", cluster.rng.choice(["queue-1", "engine-1", "engine-2", "provider-1"])]
        for victim in victims[cluster.rng.randrange(2) :]:
            cluster.run(cluster.now + cluster.rng.choice([0.0, 0.003, 0.3]))
            cluster.kill(victim)
        cluster.run(cluster.now + cluster.rng.choice([0.01, 1.0, 4.0]))
        for victim in ("persistence", victims[1]):
            if not cluster.nodes[victim].alive:
                cluster.restart(victim)
    cluster.run(cluster.now + 90)
    for name in documents:
        assert cluster.executions[name, "a"] <= 1, cluster.trace[-60:]
        assert cluster.states(name)["a"] in ("completed", "unknown")
        if cluster.states(name)["a"] == "completed":
            assert cluster.executions[name, "a"] == 1


# --- retries by error -----------------------------------------------------------------------------


def test_a_retry_waits_as_long_as_the_service_asks() -> None:
    begun: list[float] = []

    def work(given: Work) -> Answer:
        begun.append(cluster.now)
        busy = errors.RateLimited("slow down", retry_after=20.0).info()
        return (0.1, {"error": busy}) if given.attempt == 1 else (0.1, {"result": None})

    cluster = system(work)
    cluster.submit("w", one(retry={"max_attempts": 2, "base_delay": 1}))
    ended(cluster, "completed", 60)
    assert 20 < begun[1] - begun[0] < 22


@pytest.mark.parametrize(
    ("policy", "runs"),
    [
        ({"on": ["TASK_TIMEOUT"]}, 1),
        ({"never_on": ["RATE_LIMIT_EXCEEDED"]}, 1),
        ({"on": ["RATE_LIMIT_EXCEEDED"]}, 3),
    ],
)
def test_a_task_runs_again_after_the_errors_that_its_retry_names(policy: Any, runs: int) -> None:
    busy = errors.RateLimited("slow down").info()
    cluster = system(lambda work: (0.1, {"error": busy}))
    cluster.submit("w", one(retry={"max_attempts": 3, "base_delay": 0.1, **policy}))
    ended(cluster, "failed", 60)
    assert cluster.executions["w", "a"] == runs
