"""Whoever is confined to a namespace sees and touches the workflows of it, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import NotPermitted
from gleitzeitd.events import CATALOGUE, Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import Call, Context, Machine, Reply, Send, SetTimer
from gleitzeitd.machines.members import Members
from gleitzeitd.machines.namespaces import trespass, within
from gleitzeitd.machines.persistence import Requests
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.ledger import Verdict
from gleitzeitd.model.names import Role, TaskId, WorkflowId
from tests.drive import AT, delivered_name, envelope
from tests.security.hub_net import Net, delivered, errors
from tests.test_hostile_events import machine

THEIRS, OURS = WorkflowId("team-b:w"), WorkflowId("team-a:w")
NOT_QUITE = ("team-a", "team-ab:w", "w", "team-a_w", "Team-a:w", " team-a:w", "team-b:team-a:w", "")


def commands(workflow_id: str) -> list[tuple[Role, Event]]:
    """Everything that a client can ask about one workflow, and of whom."""
    about: dict[str, Any] = {"workflow_id": WorkflowId(workflow_id)}
    kinds = ("workflow", "tasks", "results", "output", "history", "snapshot")
    return [
        (Role.DEPENDENCY_RESOLVER, d.SubmitWorkflow(**about, workflow={})),
        (Role.DEPENDENCY_RESOLVER, d.CancelWorkflow(**about)),
        (Role.DEPENDENCY_RESOLVER, d.ResolveTask(**about, task_id=TaskId("t"), verdict=Verdict.DONE)),
        (Role.DEPENDENCY_RESOLVER, d.CheckDependencies(**about)),
        (Role.DEPENDENCY_RESOLVER, d.QueryStatus(**about)),
        (Role.QUEUE_MANAGER, q.TaskPriorityChanged(**about, priority=1)),
        (Role.PERSISTENCE, p.DeleteWorkflow(**about)),
        *((Role.PERSISTENCE, p.QueryData(**about, kind_of_data=kind)) for kind in kinds),
    ]


def handled(subject: Machine, event: Event, namespace: str | None) -> list[Any]:
    name = delivered_name(subject, event)
    made = envelope(
        event, source="client", namespace=namespace, fact=event.name if name != event.name else None
    )
    return subject.handle(name, event, Context(made, 1.0, AT))


def test_every_command_about_a_workflow_is_tried_here() -> None:
    about = {
        name for name, cls in CATALOGUE.items()
        if any(Role.CLIENT in each.senders for each in cls.routes)
        and "workflow_id" in getattr(cls, "__dataclass_fields__", {})
    }  # fmt: skip
    assert about == {event.name for _, event in commands("w")}


@pytest.mark.parametrize(
    ("role", "event"), commands(THEIRS), ids=lambda each: getattr(each, "name", str(each))
)
def test_a_command_about_anothers_workflow_is_refused_by_its_number_and_does_nothing(
    role: Role, event: Event
) -> None:
    subject = machine(role)
    refusal = next(each for each in handled(subject, event, "team-a") if isinstance(each, Reply))
    answer = refusal.event
    assert isinstance(
        answer, d.WorkflowRefused if isinstance(event, d.SubmitWorkflow) else p.PersistenceError
    )
    assert answer.error.code == NotPermitted.code
    assert "expected an id that begins with 'team-a:'" in answer.error.message
    assert "found 'team-b:w'" in answer.error.message
    assert not [each for each in subject.settle(1.0, AT) if not isinstance(each, SetTimer)]
    assert answer.name in type(event).answers, "whoever asks has to hear it"


def test_the_journal_hears_of_each_trespasser_once() -> None:
    subject = machine(Role.DEPENDENCY_RESOLVER)
    event = d.QueryStatus(workflow_id=THEIRS)
    assert [len(handled(subject, event, "team-a")) for _ in range(3)] == [2, 1, 1]


@pytest.mark.parametrize("workflow_id", NOT_QUITE)
def test_what_only_looks_like_a_namespace_is_none_of_it(workflow_id: str) -> None:
    for _, event in commands(workflow_id):
        assert trespass(event, "team-a") is not None


@given(st.text(), st.text(alphabet="abc-", min_size=1, max_size=4))
def test_an_id_is_of_a_namespace_if_and_only_if_it_begins_with_it_and_a_colon(
    text: str, namespace: str
) -> None:
    event = d.QueryStatus(workflow_id=WorkflowId(text))
    assert (trespass(event, namespace) is None) == (text[: len(namespace) + 1] == f"{namespace}:")
    assert trespass(d.QueryStatus(workflow_id=WorkflowId(f"{namespace}:{text}")), namespace) is None
    assert trespass(event, None) is None


@pytest.mark.parametrize(("role", "event"), commands(OURS), ids=lambda each: getattr(each, "name", str(each)))
def test_a_command_about_a_workflow_of_ones_own_namespace_is_carried_out(role: Role, event: Event) -> None:
    with_it, without = (handled(machine(role), event, namespace) for namespace in ("team-a", None))
    assert [type(each) for each in with_it] == [type(each) for each in without]


@pytest.mark.parametrize("kind", ["feed", "snapshot", "tasks", "history", "workflow", "nonsense"])
def test_nothing_is_read_of_all_workflows_but_their_list(kind: str) -> None:
    subject = machine(Role.PERSISTENCE)
    query = p.QueryData(kind_of_data=kind, shard_number=3, audience=Role.DEPENDENCY_RESOLVER)
    answer = next(each for each in handled(subject, query, "team-a") if isinstance(each, Reply))
    assert answer.event.error.code == NotPermitted.code


@pytest.mark.parametrize("prefix", ["", "t", "team-a", "team-b:", "team-a:", "team-a:x"])
def test_a_list_holds_what_is_within(prefix: str) -> None:
    subject = machine(Role.PERSISTENCE)
    query = p.QueryData(kind_of_data="workflows", id_prefix=prefix)
    (call,) = handled(subject, query, "team-a")
    assert isinstance(call, Call)
    assert isinstance(call.request, Requests.Read)
    assert call.request.query.id_prefix == (prefix if prefix.startswith("team-a:") else "team-a:")
    assert within(query, None) == query


# --- the hub


def hub(user: UserRole = UserRole.ADMIN) -> Net:
    net = Net()
    net.client("a", user, "team-a")
    net.client("all", UserRole.VIEWER)
    return net


def test_the_hub_refuses_at_once_what_says_itself_that_it_is_about_others() -> None:
    net = hub()
    net.join("resolver-1", Role.DEPENDENCY_RESOLVER)
    net.send("resolver-1", "serve_shards", {"shards": {"3": 1}})
    effects = net.send("a", "query_status", {"workflow_id": THEIRS}, _topic=THEIRS, _shard=3)
    assert errors(effects) == [NotPermitted.code]
    assert not delivered(effects)
    lying = net.send("a", "query_status", {"workflow_id": THEIRS}, _topic=OURS, _shard=3)
    assert delivered(lying), "its receiver looks at what it is about"
    assert net.envelope["_namespace"] == "team-a"


@pytest.mark.parametrize("topic", [THEIRS, *NOT_QUITE, "team-*", "x:*"])
def test_workflows_of_others_are_not_watched(topic: str) -> None:
    net = hub()
    effects = net.send("a", "subscribe", {"topics": [OURS, topic]})
    assert errors(effects) == [NotPermitted.code]
    assert not net.hub.members.watchers(OURS), "nothing of it holds"


def watching(net: Net, topic: str) -> list[str]:
    return sorted(member.component_id for member in net.hub.members.watchers(topic))


def test_who_watches_everything_gets_what_is_in_the_namespace() -> None:
    net = hub()
    net.client("a-2", UserRole.VIEWER, "team-a")
    net.client("b", UserRole.VIEWER, "team-b")
    for name in ("a", "a-2", "b", "all"):
        assert not errors(net.send(name, "subscribe", {"topics": ["*"]}))
    net.send("a-2", "subscribe", {"topics": [OURS]})
    assert watching(net, OURS) == ["a", "a-2", "all"]
    assert watching(net, THEIRS) == ["all", "b"]
    assert watching(net, "team-a") == watching(net, "w") == watching(net, "queues") == ["all"]
    net.send("a", "unsubscribe", {"topics": ["*"]})
    assert watching(net, OURS) == ["a-2", "all"]
    net.hub.disconnected("@a-2", "gone")
    assert watching(net, OURS) == ["all"]
    net.send("all", "unsubscribe", {"topics": ["*"]})
    assert watching(net, THEIRS) == ["b"]
    assert watching(net, OURS) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a-2", "b", "all"]), st.sampled_from(["*", "own"]), st.booleans())
    )
)
def test_watchers_are_those_that_a_simple_model_names(steps: list[tuple[str, str, bool]]) -> None:
    net = hub()
    net.client("a-2", UserRole.VIEWER, "team-a")
    net.client("b", UserRole.VIEWER, "team-b")
    spaces = {"a": "team-a", "a-2": "team-a", "b": "team-b", "all": None}
    model: set[tuple[str, str]] = set()
    for name, topic, on in steps:
        said = topic if topic == "*" else f"{spaces[name] or 'x'}:w"
        net.send(name, "subscribe" if on else "unsubscribe", {"topics": [said]})
        (model.add if on else model.discard)((name, said))
    for topic in ("team-a:w", "team-b:w", "x:w", "team-a:other", "queues"):
        wanted = {name for name, said in model if said == topic}
        wanted |= {
            n for n, s in model if s == "*" and (spaces[n] is None or topic.startswith(f"{spaces[n]}:"))
        }
        assert watching(net, topic) == sorted(wanted)


def test_the_trace_is_shown_of_one_chain_only() -> None:
    net = hub()
    assert errors(net.send("a", "query_trace", {})) == [NotPermitted.code]
    assert not errors(net.send("a", "query_trace", {"correlation": "c" * 32}))
    assert not errors(net.send("all", "query_trace", {}))


def test_the_list_of_components_shows_a_namespace_figures_alone() -> None:
    net = hub()
    net.join("engine-1", Role.EXECUTION_ENGINE)
    net.send("engine-1", "heartbeat_response", {"metrics": {"running": 2, "note": THEIRS, "by": {THEIRS: 1}}})
    shown = {}
    for name in ("a", "all"):
        (answer,) = [each.event for each in net.send(name, "list_components") if isinstance(each, Send)]
        assert isinstance(answer, h.ComponentList)
        shown[name] = next(each.metrics for each in answer.components if each.component_id == "engine-1")
    assert shown == {"a": {"running": 2}, "all": {"running": 2, "note": THEIRS, "by": {THEIRS: 1}}}


def test_nobody_watching_costs_nothing() -> None:
    assert Members().watchers(OURS) == []
    assert r.ListProtocols().topic() is None
