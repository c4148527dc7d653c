"""No event that a peer may send ends the process that gets it, whatever its fields hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gleitzeitd.events import CATALOGUE, COMPONENTS, RENAMED, Envelope, Event, delivered_names, receivers
from gleitzeitd.machines.base import Context, Machine
from gleitzeitd.machines.client import Client
from gleitzeitd.machines.dependency_resolver import DependencyResolver
from gleitzeitd.machines.execution_engine import ExecutionEngine
from gleitzeitd.machines.persistence import Persistence
from gleitzeitd.machines.protocol_registry import ProtocolRegistry
from gleitzeitd.machines.provider import ProviderMachine
from gleitzeitd.machines.queue_manager import QueueManager
from gleitzeitd.model.ledger import Recovered, ShardRow
from gleitzeitd.model.names import SHARDS, ComponentId, Role, Shard
from gleitzeitd.model.protocol import Protocol
from tests.drive import AT, envelope
from tests.test_catalogue import instances

ME = ComponentId("me")


def machine(role: Role) -> Machine:
    """As it is when it has just begun to work."""
    match role:
        case Role.DEPENDENCY_RESOLVER:
            return DependencyResolver(component_id=ME)
        case Role.QUEUE_MANAGER:
            return QueueManager(component_id=ME)
        case Role.EXECUTION_ENGINE:
            return ExecutionEngine(component_id=ME)
        case Role.PROTOCOL_REGISTRY:
            return ProtocolRegistry(component_id=ME)
        case Role.PROVIDER:
            return ProviderMachine(ME, Protocol(name="p/v1", methods={}), 1, lambda schema, value: [])
        case Role.CLIENT:
            return Client(component_id=ME)
    assert role is Role.PERSISTENCE
    made = Persistence(component_id=ME)
    rows = [ShardRow(shard=Shard(number)) for number in range(SHARDS)]
    made.call_finished("open", Recovered(shards=rows, held=[], waking=[], cancelling=[]), 0.0, AT)
    return made


def deliveries(role: Role) -> list[tuple[str, type[Event]]]:
    """Under which name what can reach a machine."""
    names = [name for name in delivered_names() if role in receivers(name)]
    return sorted(
        ((name, CATALOGUE[sent]) for name in names for sent in _sent_as(name, role)),
        key=lambda found: (found[0], found[1].name),
    )


def _sent_as(name: str, role: Role) -> list[str]:
    sent = set(RENAMED.get(name, ()))
    if name in CATALOGUE and any(r.renamed is None for r in CATALOGUE[name].routes):
        sent.add(name)
    return [each for each in sent if any((r.renamed or each) == name for r in CATALOGUE[each].routes)]


@pytest.mark.parametrize(
    ("role", "name", "cls"),
    [(role, *found) for role in sorted(COMPONENTS) for found in deliveries(role)],
    ids=lambda value: getattr(value, "name", value),
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_machine_survives_any_event(role: Role, name: str, cls: type[Event], data: st.DataObject) -> None:
    subject = machine(role)
    subject.start(0.0, AT)
    for number in range(2):
        event = data.draw(instances(cls))
        fact = event.name if name != event.name else None
        about: Envelope = replace(envelope(event, message_id=f"m{number}"), fact=fact)
        subject.handle(name, event, Context(about, 1.0 + number, AT))
        subject.settle(1.0 + number, AT)
