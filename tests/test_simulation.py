"""The whole system, many seeds: nothing is lost, nothing happens twice in the records."""

from __future__ import annotations

import random

import pytest

from gleitzeitd.events.dependency_resolver import CancelWorkflow
from gleitzeitd.events.queue_manager import TaskPriorityChanged
from gleitzeitd.machines.provider import Work
from gleitzeitd.model.ledger import CRASH_LIMIT
from gleitzeitd.model.names import TaskId, WorkflowId
from tests.cluster import Cluster, Network, graph, ran

QUICK = 12
"""Seeds of each kind that ``./dev check`` runs."""
ROLES = ("persistence", "registry", "resolver-1", "queue-1", "engine-1", "provider-1")
TWINS = ("resolver-2", "queue-2", "engine-2", "provider-2")


def seeds(number: int) -> list[object]:
    """So many; all but the first few are for the whole of the tests."""
    return [pytest.param(n, marks=[pytest.mark.slow] if n >= QUICK else []) for n in range(number)]


def submit_some(cluster: Cluster, rng: random.Random, workflows: int) -> None:
    for i in range(workflows):
        document = graph(rng, rng.randrange(1, 9))
        cluster.run(cluster.now + rng.random() * 0.5)
        cluster.submit(f"w{i}", document)


def expected(task_id: str, dependencies: dict[str, str]) -> dict[str, object]:
    number = int(task_id[1:])
    return {"n": number, "from": {d: int(d[1:]) for d in dependencies}}


def check_results(cluster: Cluster) -> None:
    for workflow_id, document in cluster.documents.items():
        assert cluster.status(workflow_id) == "completed", cluster.states(workflow_id)
        for task in document["tasks"]:
            result = cluster.result(workflow_id, task["id"])
            assert result == expected(task["id"], task["parameters"]["from"])


@pytest.mark.parametrize("seed", seeds(60))
def test_every_workflow_completes_once_when_nothing_fails(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(seed)
    two = 1 + seed % 2
    cluster.add_all(resolvers=two, queue_managers=two, engines=two, providers=two)
    submit_some(cluster, rng, 4)
    assert cluster.run_until(cluster.ended, 60), "\n".join(cluster.trace[-50:])
    cluster.run(cluster.now + 3)
    cluster.check()
    check_results(cluster)
    assert set(cluster.executions.values()) == {1}, "a task ran twice, though nothing failed"


@pytest.mark.parametrize("seed", seeds(55))
def test_no_workflow_is_lost_when_daemons_are_killed_and_restarted(seed: int) -> None:
    rng = random.Random(1000 + seed)
    cluster = Cluster(seed)
    two = 1 + seed % 2
    cluster.add_all(resolvers=two, queue_managers=two, engines=two, providers=two)
    submit_some(cluster, rng, 4)
    victims = ROLES if two == 1 else ROLES + TWINS
    workers = 0
    for _ in range(4):
        cluster.run(cluster.now + rng.random() * 1.5)
        if rng.random() < 0.2:
            cluster.kill_hub("hub", down=rng.choice([0.1, 1.0, 3.0]))
            continue
        name = rng.choice(victims)
        workers += name.startswith(("engine", "provider"))
        if workers < CRASH_LIMIT or not name.startswith(("engine", "provider")):
            cluster.kill(name)
            cluster.run(cluster.now + rng.choice([0.01, 0.3, 2.0, 5.0]))
            cluster.restart(name)
    assert cluster.run_until(cluster.ended, cluster.now + 90), "\n".join(cluster.trace[-50:])
    cluster.run(cluster.now + 3)
    cluster.check()
    check_results(cluster)


@pytest.mark.parametrize("seed", seeds(55))
def test_lost_and_repeated_messages_cost_time_and_nothing_else(seed: int) -> None:
    rng = random.Random(2000 + seed)
    cluster = Cluster(seed, Network(loss=0.02, duplicates=0.02, delay=0.02))
    cluster.add_all(resolvers=2, queue_managers=2, engines=2, providers=2)
    submit_some(cluster, rng, 3)
    assert cluster.run_until(cluster.ended, cluster.now + 120), "\n".join(cluster.trace[-50:])
    cluster.network = Network()
    cluster.run(cluster.now + 10)
    cluster.check()
    check_results(cluster)
    assert all(n == 1 for n in cluster.attempts.values()), "one attempt was executed twice"


def faults(cluster: Cluster, rng: random.Random, victims: tuple[str, ...], times: int) -> None:
    """Kill and restart; engines and providers at most so often that no task is given up for it."""
    workers = 0
    for _ in range(times):
        cluster.run(cluster.now + rng.random() * 0.7)
        name = rng.choice(victims)
        workers += name.startswith(("engine", "provider"))
        if workers < CRASH_LIMIT or not name.startswith(("engine", "provider")):
            cluster.kill(name)
            cluster.run(cluster.now + rng.choice([0.01, 0.3, 2.0]))
            cluster.restart(name)


def calm(cluster: Cluster) -> None:
    """From here on nothing fails, and everything ends."""
    cluster.network = Network()
    assert cluster.run_until(cluster.ended, cluster.now + 120), "\n".join(cluster.trace[-50:])
    cluster.run(cluster.now + 10)
    cluster.check()


@pytest.mark.parametrize("seed", seeds(25))
def test_a_cancelled_workflow_ends_and_nothing_of_it_begins_any_more(seed: int) -> None:
    """That nothing begins is checked by the cluster at every lease, order and call."""
    rng = random.Random(3000 + seed)
    cluster = Cluster(seed, Network(loss=0.02, duplicates=0.02, delay=0.01))
    cluster.add_all(resolvers=2, queue_managers=2, engines=2, providers=2)
    submit_some(cluster, rng, 4)
    cluster.run(cluster.now + rng.random())
    for workflow_id in ("w0", "w1"):
        cluster.ask(
            f"cancel {workflow_id}", CancelWorkflow(workflow_id=WorkflowId(workflow_id), reason="enough")
        )
    faults(cluster, rng, ROLES + TWINS, 3)
    calm(cluster)
    for workflow_id in ("w0", "w1"):
        answer = cluster.answers[f"cancel {workflow_id}"]
        if answer.status == "missing":  # it overtook the submission
            continue
        expected_status = {"ok": "cancelled", "duplicate": "cancelled", "stale": "completed"}[answer.status]
        assert cluster.status(workflow_id) == expected_status
        assert set(cluster.states(workflow_id).values()) <= {"completed", "cancelled"}
    for workflow_id in ("w2", "w3"):
        assert cluster.status(workflow_id) == "completed"


RETRY = {"max_attempts": 3, "backoff": "fixed", "base_delay": 0.1, "jitter": False}
FAILING = {
    "name": "one branch fails",
    "tasks": [
        {"id": "start", "method": "echo/echo"},
        {"id": "fails", "method": "echo/fail", "dependencies": ["start"], "retry": RETRY},
        {"id": "next", "method": "echo/echo", "dependencies": ["fails"]},
        {"id": "last", "method": "echo/echo", "dependencies": ["next"]},
        {"id": "other", "method": "echo/echo", "dependencies": ["start"]},
        {"id": "more", "method": "echo/echo", "dependencies": ["other"]},
    ],
}


@pytest.mark.parametrize("seed", seeds(20))
def test_a_failing_branch_is_tried_as_often_as_allowed_and_the_others_finish(seed: int) -> None:
    rng = random.Random(4000 + seed)
    quiet = seed % 2 == 0
    cluster = Cluster(seed, Network() if quiet else Network(loss=0.02, duplicates=0.02))
    cluster.add_all(resolvers=2, queue_managers=2, engines=2, providers=2)
    cluster.submit("w", FAILING)
    if not quiet:
        faults(cluster, rng, ("persistence", "resolver-1", "queue-1", "engine-1"), 3)
    calm(cluster)
    assert cluster.status("w") == "failed"
    assert cluster.states("w") == {
        "start": "completed",
        "fails": "failed",
        "next": "skipped",
        "last": "skipped",
        "other": "completed",
        "more": "completed",
    }
    (row,) = [row for row in ran(cluster.store.tasks(WorkflowId("w"), -1, 99)) if row.task_id == "fails"]
    assert row.failures == 3
    if quiet:
        assert cluster.executions["w", "fails"] == 3
    assert cluster.executions["w", "next"] == cluster.executions["w", "last"] == 0


@pytest.mark.parametrize("seed", seeds(10))
def test_workflows_with_the_same_task_ids_do_not_touch_each_other(seed: int) -> None:
    cluster = Cluster(seed, Network(loss=0.02, duplicates=0.02))
    cluster.add_all(resolvers=2, queue_managers=2, engines=2, providers=2)
    for workflow_id in ("good", "bad", "gone"):
        method = "echo/fail" if workflow_id == "bad" else "echo/echo"
        tasks = [
            {"id": "a", "method": "echo/echo", "parameters": {"n": workflow_id}},
            {"id": "b", "method": method, "parameters": {"n": "${a.n}"}},
            {"id": "c", "method": "echo/echo", "parameters": {"n": "${b.n}"}},
        ]
        cluster.submit(workflow_id, {"name": workflow_id, "tasks": tasks})
    assert cluster.run_until(lambda: cluster.accepted("gone"), 30)
    cluster.ask("cancel", CancelWorkflow(workflow_id=WorkflowId("gone"), reason="enough"))
    calm(cluster)
    assert [cluster.status(w) for w in ("good", "bad")] == ["completed", "failed"]
    assert cluster.status("gone") in ("cancelled", "completed")
    assert [cluster.result("good", task) for task in "abc"] == [{"n": "good"}] * 3
    assert cluster.states("bad") == {"a": "completed", "b": "failed", "c": "skipped"}


@pytest.mark.parametrize("seed", seeds(5))
def test_a_task_of_higher_priority_overtakes_those_that_wait(seed: int) -> None:
    cluster = Cluster(seed)
    cluster.add_all()
    begun: list[str] = []

    def work(request: Work) -> tuple[float, dict[str, object]]:
        begun.append(request.task_id)
        return 1.0, {"result": None}

    cluster.work = work
    cluster.submit(
        "w", {"name": "wide", "tasks": [{"id": f"t{n}", "method": "echo/echo"} for n in range(12)]}
    )
    assert cluster.run_until(lambda: len(begun) == 4, 30)
    cluster.ask(
        "hurry", TaskPriorityChanged(workflow_id=WorkflowId("w"), priority=4, task_ids=[TaskId("t11")])
    )
    calm(cluster)
    assert cluster.answers["hurry"].status == "ok"
    assert begun[4] == "t11"
    assert [task for task in begun if task != "t11"] == [f"t{n}" for n in range(11)]
