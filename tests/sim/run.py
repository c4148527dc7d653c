"""One run: a cluster of two hubs and two of every role, random workflows, faults, and an oracle.

The same seed and profile make the same run, event for event; ``digest`` says whether two were the same.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from gleitzeitd import errors
from gleitzeitd.events import Envelope
from gleitzeitd.events.dependency_resolver import CancelWorkflow, SubmitWorkflow, WorkflowRefused
from gleitzeitd.events.persistence import DeleteWorkflow
from gleitzeitd.machines.provider import Work
from gleitzeitd.model.names import WorkflowId
from tests.cluster import Cluster, Node, Violation, graph
from tests.sim.oracle import Oracle, OracleStore
from tests.sim.profiles import AFTER, PROFILES, Faults

PATIENCE = 90.0
"""Seconds after the last fault within which everything has to end."""
QUIET = 6.0
"""Seconds after that, for machines to become empty."""
LAST = 120
"""Deliveries that a transcript shows."""
_DULL = frozenset({"heartbeat", "health_check", "health_status", "claim_shard", "shard_claimed"})


class Simulation(Cluster):
    """The cluster of one run."""

    def __init__(self, seed: int) -> None:
        self.oracle_store = OracleStore()
        super().__init__(seed, store=self.oracle_store)
        self.oracle = Oracle(self, self.oracle_store)
        self.last: deque[tuple[float, str, str, str, str, str]] = deque(maxlen=4000)
        self.heard = hashlib.sha256()
        self.work = self._work

    def _record(self, node: Node, hub: str, name: str, envelope: Any, body: str) -> None:
        source = envelope["_source_component"]
        said = envelope.get("_fact") or name
        self.heard.update(f"{self.now} {source} {node.name} {said} {len(body)}\n".encode())
        if name not in _DULL:
            self.last.append((self.now, source, hub, node.name, said, body))

    def _sent(self, node: Node, name: str, envelope: Envelope, body: str) -> None:
        self.oracle.sent(node, name, envelope, body)

    def _published(self, topic: str, event: Any) -> None:
        self.oracle.published(topic, event)

    def _call(self, node: Node, call_id: str, request: Any) -> None:
        super()._call(node, call_id, request)
        refused = getattr(request, "event", None)
        if isinstance(refused, WorkflowRefused) and refused.error.retryable:
            self.call_later(1.0, self._submit_again, refused.workflow_id)

    def _submit_again(self, workflow_id: WorkflowId) -> None:
        """As a client does that was told to try again later."""
        event = SubmitWorkflow(workflow_id=workflow_id, workflow=self.documents[workflow_id])
        self.ask(f"submit {workflow_id}", event)

    def _work(self, work: Work) -> tuple[float, Any]:
        seconds = self.rng.uniform(0.05, 2.5)
        before = self.executions[work.workflow_id, work.task_id]
        if work.method == "echo/fail" or before < work.parameters.get("fails", 0):
            return seconds, {"error": errors.ExecutionFailed("asked to fail").info()}
        return seconds, {"result": {**work.parameters, "by": sum(self.executions.values())}}

    def transcript(self, last: int = LAST) -> list[str]:
        """The last deliveries: time, from, by which hub, to, what, and about which attempt."""
        lines = []
        for now, source, hub, to, said, body in list(self.last)[-last:]:
            lines.append(f"{now:9.3f}  {source:>12} -{hub[-1]}-> {to:<12} {said} {_about(body)}".rstrip())
        return lines


def _about(body: str) -> str:
    data = json.loads(body)
    task = data.get("task")
    data = {**data, **task} if isinstance(task, dict) else data
    place = "/".join(str(data[key]) for key in ("workflow_id", "task_id", "attempt") if data.get(key))
    some = [
        f"{key}={_short(data[key])}"
        for key in (
            "leases",
            "tasks",
            "task_ids",
            "executions",
            "status",
            "error",
            "kind_of_data",
            "after",
            "feed",
        )
        if data.get(key)
    ]
    return " ".join([place, *some])


def _short(value: Any) -> str:
    if isinstance(value, list):
        parts = [
            f"{v['task_id']}/{v.get('attempt', '')}@{v.get('engine_id', '')}"
            if isinstance(v, dict)
            else str(v)
            for v in value
            if not isinstance(v, dict) or "task_id" in v
        ]
        return ",".join(part.rstrip("/@") for part in parts)
    if isinstance(value, dict):
        return str(value.get("number") or value.get("name") or "")
    return str(value)


@dataclass
class Result:
    """What came of a seed."""

    seed: int
    profile: str
    problem: str | None = None
    crashed: bool = False
    """The problem is an exception of a machine, or of a planted bug itself, and no broken invariant."""
    faults: int = 0
    tasks: int = 0
    again: int = 0
    """Executions beyond one per task."""
    deleted: int = 0
    """Workflows that were deleted."""
    given_up: int = 0
    """Tasks that failed because they were lost too often."""
    deliveries: int = 0
    seconds: float = 0.0
    """From the last fault until everything had ended."""
    digest: str = ""
    told: list[str] = field(default_factory=list)
    """The faults."""
    transcript: list[str] = field(default_factory=list)


def documents(rng: random.Random, number: int) -> list[Any]:
    """Graphs; in some of them a task fails, for ever or a few times."""
    made = []
    for _ in range(number):
        document = graph(rng, rng.randrange(2, 9))
        for task in document["tasks"]:
            chance = rng.random()
            if chance < 0.03:
                task["method"] = "echo/fail"
            if chance < 0.10:
                task["retry"] = {"max_attempts": 3, "base_delay": 0.5}
                task["parameters"]["fails"] = rng.randrange(1, 3)
        made.append(document)
    return made


def run(seed: int, profile_name: str, *, keep: bool = False, last: int = LAST) -> Result:
    """Play one seed; ``keep`` makes a transcript also of what went well."""
    profile = PROFILES[profile_name]
    rng = random.Random(f"{profile_name} {seed}")
    cluster = Simulation(seed)
    faults = Faults(cluster, profile, rng)
    result = Result(seed, profile_name)
    try:
        _play(cluster, faults, rng, result)
    except Violation as problem:
        result.problem = str(problem)
    except Exception as problem:  # a machine that fails is a finding, like any other
        import traceback

        result.crashed = True
        result.problem = f"{type(problem).__name__}: {problem}\n{traceback.format_exc(limit=-6)}"
    result.faults = len(faults.told)
    result.tasks = len(cluster.executions)
    result.again = sum(n - 1 for n in cluster.executions.values())
    result.deleted = len(cluster.oracle_store.deleted)
    rows = cluster.oracle_store.rows.values()
    result.given_up = sum(
        row.error is not None and row.error.name == "PROVIDER_NOT_AVAILABLE" for row in rows
    )
    result.deliveries = sum(cluster.delivered.values())
    result.digest = cluster.heard.hexdigest()
    if result.problem or keep:
        result.told = [f"{at:9.3f}  {what}" for at, what in faults.told]
        result.transcript = cluster.transcript(last)
    return result


def _play(cluster: Simulation, faults: Faults, rng: random.Random, result: Result) -> None:
    profile = faults.profile
    faults.begin()
    cluster.add_all(
        resolvers=2, queue_managers=2, engines=2, providers=2, registries=2, hubs=2, ledger=profile.ledger
    )
    for i, document in enumerate(documents(rng, profile.workflows)):
        at = rng.uniform(0, profile.seconds * 0.7)
        cluster.call_later(at, cluster.submit, f"w{i}", document)
        if rng.random() < 0.15:
            cluster.call_later(at + rng.uniform(0.1, 5.0), _cancel, cluster, f"w{i}")
        if profile.deletes and rng.random() < 0.5:
            cluster.call_later(at + rng.uniform(1.0, 9.0), _delete, cluster, f"w{i}")
    cluster.run(profile.seconds + AFTER + 0.1)
    faults.end()
    began = cluster.now
    everybody = lambda: len(cluster.documents) == profile.workflows and cluster.ended()  # noqa: E731
    if not cluster.run_until(everybody, began + PATIENCE):
        raise Violation(f"not everything has ended {PATIENCE:.0f} s after the last fault: {_open(cluster)}")
    result.seconds = cluster.now - began
    cluster.run(cluster.now + QUIET)
    cluster.oracle.finished(short=profile.short)


def _cancel(cluster: Simulation, workflow_id: str) -> None:
    cluster.oracle.cancelled.add(workflow_id)
    cluster.ask(
        f"cancel {workflow_id}", CancelWorkflow(workflow_id=WorkflowId(workflow_id), reason="not wanted")
    )


def _delete(cluster: Simulation, workflow_id: str) -> None:
    """Whether it has ended or not; but nobody deletes what is not accepted."""
    if not cluster.accepted(workflow_id):
        cluster.call_later(1.0, _delete, cluster, workflow_id)
        return
    answer = cluster.answers.pop(f"delete {workflow_id}", None)
    if answer is None or answer.name == "persistence_error":
        cluster.ask(f"delete {workflow_id}", DeleteWorkflow(workflow_id=WorkflowId(workflow_id)))
        cluster.call_later(1.0, _delete, cluster, workflow_id)


def _open(cluster: Simulation) -> str:
    parts = []
    for workflow_id in cluster.documents:
        counts = dict(Counter(cluster.states(workflow_id).values()))
        parts.append(f"{workflow_id} is {cluster.status(workflow_id) or 'not there'} {counts}")
    return "; ".join(parts)


__all__ = ["Result", "Simulation", "run"]
