"""The whole system, many seeds: nothing is lost, nothing happens twice in the records."""

from __future__ import annotations

import random

import pytest

from gleitzeitd.model.ledger import CRASH_LIMIT
from tests.cluster import Cluster, Network, graph

ROLES = ("persistence", "registry", "resolver-1", "queue-1", "engine-1", "provider-1")
TWINS = ("resolver-2", "queue-2", "engine-2", "provider-2")


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


@pytest.mark.parametrize("seed", range(60))
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


@pytest.mark.parametrize("seed", range(70))
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


@pytest.mark.parametrize("seed", range(70))
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
