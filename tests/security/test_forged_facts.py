"""Who could forge each event of the catalogue, and what stops it: every line is an attack that is made.

An attacker here has a good token of one role, and uses it for what that role may send. What a role may not
send at all, the hub refuses (``test_permissions.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gleitzeitd.errors import ExecutionFailed, NotPermitted, ProviderOverloaded
from gleitzeitd.events import CATALOGUE, Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.model.change import Status
from gleitzeitd.model.ledger import (
    Execution,
    LeaseWish,
    OutputChunk,
    ReadyTask,
    SkippedTask,
    TaskState,
    Verdict,
)
from gleitzeitd.model.names import SHARDS, ComponentId, Role, WorkflowId
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.stores.memory import MemoryStore
from tests.cluster_parts import ran
from tests.security.arena import ENGINE, LONG, NEXT, PROVIDER, SHARD, Arena, Intruder, W
from tests.stores.ledger import AT, OWNED, A, accept, complete, fail, grant, lose, ready, start

ENGINES, PROVIDERS = Role.EXECUTION_ENGINE, Role.PROVIDER
RESOLVERS, QUEUES, REGISTRIES = Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER, Role.PROTOCOL_REGISTRY
ERROR = ExecutionFailed("forged").info()
FORGED = {"n": 666}

Evidence = Callable[[Arena, Intruder], bool]


def stale(arena: Arena, mallory: Intruder) -> bool:
    """The ledger has refused the change, has said so, and has counted it."""
    return mallory.statuses()[-1:] == ["stale"] and arena.refused_by_ledger() > 0


def refused(arena: Arena, mallory: Intruder) -> bool:
    """It was told so, with the number."""
    return mallory.refusals()[-1:] == [NotPermitted.code]


def counted(arena: Arena, mallory: Intruder) -> bool:
    """The ledger has dropped it, and counted it."""
    return arena.refused_by_ledger() > 0


def dropped_by(*components: str) -> Evidence:
    """Whoever got it has dropped it, and counted it."""
    return lambda arena, mallory: all(arena.dropped(each) for each in components)


def ignored(arena: Arena, mallory: Intruder) -> bool:
    """Nobody takes it for anybody else's, and nobody is told."""
    return True


def own_only(arena: Arena, mallory: Intruder) -> bool:
    """Its answer is to its own question."""
    return any(envelope.get("_reply_to") == "mallory" for _, envelope, _ in mallory.heard)


@dataclass(frozen=True)
class Row:
    """One line of the threat model."""

    event: str
    forger: Role
    claim: str
    """What the attacker would have others believe."""
    stopped_by: str
    attack: Callable[[Arena, Intruder], None]
    evidence: Evidence


def says(make: Callable[[Arena], Event], **envelope: Any) -> Callable[[Arena, Intruder], None]:
    def attack(arena: Arena, mallory: Intruder) -> None:
        mallory.say(make(arena), **envelope)

    return attack


def answers(
    victim: str, asked: str, make: Callable[[Arena], Event], **envelope: Any
) -> Callable[[Arena, Intruder], None]:
    """Answer what somebody else was asked."""

    def attack(arena: Arena, mallory: Intruder) -> None:
        mallory.say(make(arena), reply_to=victim, causation_id=arena.last_ask(victim, asked), **envelope)

    return attack


def while_it_asks(
    victim: str, asked: str, make: Callable[[Arena], Event]
) -> Callable[[Arena, Intruder], None]:
    """The same, while the ledger is slow to answer."""

    def attack(arena: Arena, mallory: Intruder) -> None:
        arena.stop("persistence", 8.0)
        before = len(arena.sent[victim])
        assert arena.run_until(
            lambda: any(each.name == asked for each in arena.sent[victim][before:]), arena.now + 7.0
        )
        mallory.say(make(arena), reply_to=victim, causation_id=arena.last_ask(victim, asked))

    return attack


def instead(asked: Event, forged: Event) -> Callable[[Arena, Intruder], None]:
    """A client asks something, and is answered before it is answered."""

    def attack(arena: Arena, mallory: Intruder) -> None:
        arena.ask("question", asked)
        mallory.say(forged, reply_to="client", causation_id=arena.last_ask("client", asked.name))

    return attack


def epoch(arena: Arena, role: Role = RESOLVERS) -> int:
    """The real one: it is a small number."""
    return int(ran(arena.store.open()).shards[SHARD].epoch(role))


def execution(arena: Arena) -> Execution:
    return Execution(
        workflow_id=W,
        task_id=NEXT,
        attempt=1,
        engine_id=ENGINE,
        method="echo/echo",
        protocol="echo/v1",
        parameters=FORGED,
        correlation_id="e" * 32,
    )


def claim(role: Role, incarnation: str) -> Callable[[Arena], Event]:
    return lambda _: p.ClaimShard(role=role, incarnation=incarnation)


def _saves_a_workflow(arena: Arena, mallory: Intruder) -> None:
    document = ran(arena.store.workflow(W)).document
    mallory.say(
        p.SaveWorkflow(workflow_id=WorkflowId("w-2"), digest="d", workflow=document, epoch=epoch(arena))
    )
    assert arena.status("w-2") == ""


def _takes_all_shards(arena: Arena, mallory: Intruder) -> None:
    """The hub believes who serves a shard; what is then decided for it, the ledger does not."""
    mallory.say(h.ServeShards(shards={str(shard): 10**9 for shard in range(SHARDS)}))
    arena.run(arena.now + 10.0)
    mallory.say(h.ServeShards(shards={}))


def _takes_the_call(arena: Arena, mallory: Intruder) -> None:
    mallory.say(v.ExecuteMethod(**arena.attempt(), method="echo/echo", parameters=FORGED), reply_to=PROVIDER)
    arena.run(arena.now + 4.0)


def _ends_a_call(arena: Arena, mallory: Intruder) -> None:
    mallory.say(v.CancelMethod(**arena.attempt()), reply_to=PROVIDER)
    mallory.say(v.CancelMethod(**arena.attempt(NEXT)), reply_to=PROVIDER)
    arena.nodes[PROVIDER].cancelled.clear()  # the simulation knows nothing of callers


ROWS = [
    # --- an engine
    Row("task_started", ENGINES, "another's attempt runs in a provider of mine", "the ledger: it is leased to another",
        says(lambda a: e.TaskStarted(**a.attempt(), provider_id=ComponentId("mine"))), stale),
    Row("task_completed", ENGINES, "another's attempt has my result", "the ledger: it is leased to another",
        says(lambda a: e.TaskCompleted(**a.attempt(), result=FORGED)), stale),
    Row("task_completed", ENGINES, "a task that nobody runs is done", "the ledger: it is leased to nobody",
        says(lambda a: e.TaskCompleted(**a.attempt(NEXT), result=FORGED)), stale),
    Row("task_completed", ENGINES, "it is engine-1 that says so", "the hub stamps who sends",
        says(lambda a: e.TaskCompleted(**a.attempt(), result=FORGED), source_component=ENGINE), stale),
    Row("task_failed", ENGINES, "another's attempt has failed", "the ledger: it is leased to another",
        says(lambda a: e.TaskFailed(**a.attempt(), error=ERROR)), stale),
    Row("task_failed", ENGINES, "another's attempt is handed back", "the ledger: it is leased to another",
        says(lambda a: e.TaskFailed(**a.attempt(), error=ProviderOverloaded("x").info())), stale),
    Row("heartbeat_response", ENGINES, "I hold another's attempt, and he does not",
        "the ledger: an inventory speaks for its sender alone",
        says(lambda a: h.HeartbeatResponse(inventory=[[W, LONG, 1]])), ignored),
    Row("request_next_task", ENGINES, "so many tasks have come from queue-1",
        "queue managers count for each engine by itself",
        says(lambda a: q.RequestNextTask(slots=0, received={ComponentId("queue-1"): 10**6})), ignored),
    Row("capacity_update", ENGINES, "the engine is draining", "it is about its sender",
        says(lambda a: e.CapacityUpdate(slots=0, draining=True)), ignored),
    Row("execute_method", ENGINES, "the call of another is mine: its answer goes to me",
        "the provider: a call is its engine's", _takes_the_call, own_only),
    Row("cancel_method", ENGINES, "the call of another is to end, and its next one not to begin",
        "the provider: a call is its engine's", _ends_a_call, own_only),
    # --- a provider
    Row("method_result", PROVIDERS, "a call to another has my result",
        "the engine's link: it was asked of another provider",
        answers(ENGINE, "execute_method", lambda a: v.MethodResult(**a.attempt(), result=FORGED)), dropped_by(ENGINE)),
    Row("method_result", PROVIDERS, "a call to another has my result, unasked",
        "the engine: it has called another provider",
        says(lambda a: v.MethodResult(**a.attempt(), result=FORGED), reply_to=ENGINE), ignored),
    Row("method_result", PROVIDERS, "this answers what the engine asks of the ledger",
        "the engine's link: it is no answer to that",
        while_it_asks(ENGINE, "task_completed", lambda a: v.MethodResult(**a.attempt(), result=FORGED)), dropped_by(ENGINE)),
    Row("provider_error", PROVIDERS, "a call to another has failed",
        "the engine's link: it was asked of another provider",
        answers(ENGINE, "execute_method", lambda a: v.ProviderError(**a.attempt(), error=ERROR)), dropped_by(ENGINE)),
    Row("register_provider", PROVIDERS, "the provider has no room any more", "the registry: it is about its sender",
        says(lambda a: r.RegisterProvider(protocol="echo/v1", capacity=0)), own_only),
    Row("health_status", PROVIDERS, "the provider is not well", "the registry: it is about its sender",
        says(lambda a: r.HealthStatus(health="forged"), reply_to="registry"), ignored),
    Row("register_protocol", PROVIDERS, "the protocol has other methods",
        "what has been accepted is not checked again; the change is noted",
        says(lambda a: r.RegisterProtocol(protocol=Protocol(name="echo/v1", methods={}))), own_only),
    Row("task_output", PROVIDERS, "the attempt in another provider writes this",
        "the watcher: the ledger has named another provider",
        says(lambda a: v.TaskOutput(**a.attempt(), chunks=[OutputChunk(stream="stdout", text="forged")])),
        lambda a, m: not [x for x in a.published[W] if isinstance(x, v.TaskOutput)]),
    Row("task_progress", PROVIDERS, "the attempt in another provider is nearly done",
        "the watcher: the ledger has named another provider",
        says(lambda a: v.TaskProgress(**a.attempt(), progress=0.99)),
        lambda a, m: not [x for x in a.published[W] if isinstance(x, v.TaskProgress)]),
    # --- a resolver
    Row("save_workflow", RESOLVERS, "this was submitted", "the ledger: the shard is another's",
        _saves_a_workflow, stale),
    Row("workflow_analyzed", RESOLVERS, "a task is ready, with my parameters", "the ledger: the shard is another's",
        says(lambda a: d.WorkflowAnalyzed(
            workflow_id=W, tasks=[ReadyTask(task_id=NEXT, parameters=FORGED)], epoch=epoch(a))), stale),
    Row("dependencies_satisfied", RESOLVERS, "a task is ready, with my parameters",
        "the ledger: the shard is another's",
        says(lambda a: d.DependenciesSatisfied(
            workflow_id=W, tasks=[ReadyTask(task_id=NEXT, parameters=FORGED)], epoch=epoch(a))), stale),
    Row("task_skipped", RESOLVERS, "a task cannot run", "the ledger: the shard is another's",
        says(lambda a: d.TaskSkipped(
            workflow_id=W, tasks=[SkippedTask(task_id=NEXT, error=ERROR, failed=True)], epoch=epoch(a))), stale),
    Row("workflow_completed", RESOLVERS, "the workflow has ended", "the ledger: the shard is another's",
        says(lambda a: d.WorkflowCompleted(workflow_id=W, epoch=epoch(a))), stale),
    Row("workflow_failed", RESOLVERS, "the workflow has failed", "the ledger: the shard is another's",
        says(lambda a: d.WorkflowFailed(workflow_id=W, error=ERROR, epoch=epoch(a))), stale),
    Row("workflow_cancelled", RESOLVERS, "the workflow was cancelled", "the ledger: the shard is another's",
        says(lambda a: d.WorkflowCancelled(workflow_id=W, epoch=epoch(a))), stale),
    Row("cancel_workflow", RESOLVERS, "a client wants it cancelled", "the ledger: the shard is another's",
        says(lambda a: d.CancelWorkflow(workflow_id=W)), stale),
    Row("resolve_task", RESOLVERS, "an operator has said that it is done", "the ledger: the shard is another's",
        says(lambda a: d.ResolveTask(workflow_id=W, task_id=LONG, verdict=Verdict.DONE, result=FORGED)), stale),
    Row("check_dependencies", RESOLVERS, "the workflow is to be looked at", "it reads what the ledger has",
        says(lambda a: d.CheckDependencies(workflow_id=W)), ignored),
    Row("execution_blocked", RESOLVERS, "nothing of it can run", "the ledger: the shard is another's",
        says(lambda a: d.ExecutionBlocked(workflow_id=W, task_ids=[NEXT], count=1, reason="forged")), counted),
    Row("claim_shard", RESOLVERS, "I am the resolver that owns the shards",
        "the ledger: a claim is made in one's own name",
        says(claim(RESOLVERS, "resolver-1.1")), refused),
    Row("claim_shard", RESOLVERS, "I am a queue manager", "the ledger: the hub has stamped the role",
        says(claim(QUEUES, "mallory.1")), refused),
    Row("serve_shards", RESOLVERS, "all shards are mine", "the ledger: they are others', who look for what they missed",
        _takes_all_shards, ignored),
    Row("data_saved", RESOLVERS, "the ledger has deleted the workflow",
        "the client's link: it was asked of the ledger",
        instead(p.DeleteWorkflow(workflow_id=W), p.DataSaved(status="ok")),
        lambda a, m: a.dropped("client") == 1 and not isinstance(a.answers.get("question"), p.DataSaved)),
    Row("persistence_error", RESOLVERS, "the ledger is broken", "the client's link: it was asked of the ledger",
        instead(p.DeleteWorkflow(workflow_id=W), p.PersistenceError(error=ERROR)),
        dropped_by("client")),
    Row("workflow_submitted", RESOLVERS, "the ledger's answer to a resolver is this", "the hub: a resolver gets no such",
        answers("resolver-1", "workflow_analyzed", lambda a: d.WorkflowSubmitted(workflow_id=W)), refused),
    Row("workflow_refused", RESOLVERS, "what was asked of the ledger is refused", "the client's link: it is no answer",
        instead(p.QueryData(kind_of_data="workflow", workflow_id=W), d.WorkflowRefused(workflow_id=W, error=ERROR)),
        dropped_by("client")),
    Row("status_response", RESOLVERS, "what was asked of the ledger is this", "the client's link: it is no answer",
        instead(p.QueryData(kind_of_data="workflow", workflow_id=W), d.StatusResponse(workflow_id=W, status="forged")),
        dropped_by("client")),
    # --- a queue manager
    Row("task_available", QUEUES, "the task is leased to my engine", "the ledger: the shard is another's",
        says(lambda a: q.TaskAvailable(owned_shard=SHARD, epoch=epoch(a, QUEUES), leases=[
            LeaseWish(workflow_id=W, task_id=NEXT, attempt=0, engine_id=ComponentId("mallory"))])), stale),
    Row("execute_task", QUEUES, "the engine has this attempt, with my parameters",
        "the engine: the ledger has named another owner of the shard",
        says(lambda a: q.ExecuteTask(task=execution(a)), reply_to=ENGINE),
        lambda a, m: a.nodes[ENGINE].machine.figures().get("orders_dropped") == 1),
    Row("task_priority_changed", QUEUES, "an operator wants another priority", "the ledger: the shard is another's",
        says(lambda a: q.TaskPriorityChanged(workflow_id=W, priority=1)), stale),
    Row("claim_shard", QUEUES, "I am the queue manager that owns the shards",
        "the ledger: a claim is made in one's own name", says(claim(QUEUES, "queue-1.1")), refused),
    Row("execution_blocked", QUEUES, "nothing of it can run", "the ledger: the shard is another's",
        says(lambda a: d.ExecutionBlocked(workflow_id=W, task_ids=[NEXT], count=1, reason="forged")), counted),
    Row("data_saved", QUEUES, "the resolver has cancelled it", "the client's link: it was asked of a resolver",
        instead(d.QueryStatus(workflow_id=W), p.DataSaved(status="ok")),
        dropped_by("client")),
    # --- a registry
    Row("provider_found", REGISTRIES, "this answers what the engine asks of the ledger",
        "the engine's link: it is no answer to that",
        while_it_asks(ENGINE, "task_completed", lambda a: r.ProviderFound(providers=[])), dropped_by(ENGINE)),
    Row("provider_found", REGISTRIES, "this answers a call", "the engine's link: it is no answer to that",
        answers(ENGINE, "execute_method", lambda a: r.ProviderFound(providers=[])), dropped_by(ENGINE)),
    Row("protocol_list", REGISTRIES, "this answers what the resolver asks of the ledger",
        "the resolver's link: it is no answer to that",
        while_it_asks("resolver-1", "claim_shard", lambda a: r.ProtocolList(protocols=[], providers=[])),
        dropped_by("resolver-1")),
]  # fmt: skip

TRUSTED = {
    "provider_registered": "registries are believed who serves what: a wrong word costs a call, which fails",
    "protocol_registered": "registries are believed what a protocol is",
    "initialize": "a provider registers again",
    "shutdown": "a registry may take providers out of service: the next one brings them back",
    "health_check": "a provider says how it is",
    "queue_stats_changed": "figures about its sender",
    "task_enqueued": "shown to watchers, and nothing else",
    "component_draining": "answers a drain, which is directed: see data_saved for answers of others",
    "configuration_reloaded": "about its sender, for the audit",
    "audit_noted": "what was refused, for the audit; of a resolver's own clients",
    "find_provider": "a question",
    "query_owners": "a question",
    "list_protocols": "a question",
    "query_data": "a question; of whom a namespace confines, see test_namespaces.py",
}
"""What a role may say about what it does not hold, and why that changes no workflow."""

CLIENTS = {
    name for name, cls in CATALOGUE.items() if any(cls.link or Role.CLIENT in each.senders for each in cls.routes)
}  # fmt: skip
"""What clients send is a matter of their user's role: test_permissions.py."""
FROM_THE_TRUSTED = {
    name
    for name, cls in CATALOGUE.items()
    if {role for each in cls.routes for role in each.senders} <= {Role.HUB, Role.PERSISTENCE}
}
"""The hub and the ledger are what everybody else is judged by."""


def test_every_event_of_the_catalogue_is_accounted_for() -> None:
    told = {row.event for row in ROWS} | TRUSTED.keys() | CLIENTS | FROM_THE_TRUSTED
    assert told >= CATALOGUE.keys(), CATALOGUE.keys() - told
    assert {row.event for row in ROWS} <= CATALOGUE.keys()


def test_every_forger_has_a_role_that_may_send_the_event() -> None:
    for row in ROWS:
        assert any(row.forger in each.senders for each in CATALOGUE[row.event].routes), row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.forger}: {row.event}: {row.claim}")
def test_what_is_forged_has_no_effect_on_a_workflow(row: Row) -> None:
    arena = Arena()
    mallory = arena.intruder(row.forger)
    before = arena.states(W)
    row.attack(arena, mallory)
    now = arena.states(W)
    assert now[NEXT] in ("pending", *(["completed"] if now[LONG] == "completed" else []), "queued", "running")
    arena.run(arena.now + 0.5)
    assert row.evidence(arena, mallory), (row.stopped_by, mallory.heard, before)
    arena.finish()
    assert row.evidence(arena, mallory), (row.stopped_by, mallory.heard)
    assert arena.executions[W, LONG] == (2 if row.event == "execute_method" else 1)


def test_results_for_an_attempt_after_its_lease_has_moved_are_stale() -> None:
    store = MemoryStore()
    ran(store.open())
    lost = [*OWNED, accept(), ready("a"), grant("a"), start("a"), lose("a")]
    ran(store.commit([*lost, grant("a", attempt=1, engine=ComponentId("engine-2"))], AT))
    for late in (
        start("a"),
        complete("a", result=FORGED),
        fail("a"),
        complete("a", attempt=2, result=FORGED),
    ):
        (outcome,) = ran(store.commit([late], AT))
        assert outcome.status is Status.STALE, late
    assert ran(store.tasks(W, -1, 9))[0].state is TaskState.LEASED
    assert ran(store.results(W, [A])) == {}
