"""The catalogue is complete, consistent, survives the wire, and does not change by accident.

``tests/catalogue.json`` is what other versions and foreign clients rely on. ``./dev reference`` writes it again
from the declarations; whoever changes it says in the changelog what becomes of those.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gleitzeitd
from gleitzeitd.events import (
    CATALOGUE,
    RENAMED,
    WIRE,
    Delivery,
    Envelope,
    Event,
    Kind,
    Route,
    To,
    delivered_names,
    receivers,
)
from gleitzeitd.events.codec import (
    decode_body,
    encode_body,
    envelope_from_plain,
    envelope_to_plain,
    flatten,
    unflatten,
)
from gleitzeitd.machines.base import Machine
from gleitzeitd.machines.client import Client
from gleitzeitd.machines.dependency_resolver import DependencyResolver
from gleitzeitd.machines.execution_engine import ExecutionEngine
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.persistence import Persistence
from gleitzeitd.machines.protocol_registry import ProtocolRegistry
from gleitzeitd.machines.provider import ProviderMachine
from gleitzeitd.machines.queue_manager import QueueManager
from gleitzeitd.model.names import Role
from gleitzeitd.plain import from_plain

SNAPSHOT = Path(__file__).parent / "catalogue.json"

PROMISED = """
    register_component component_registered registration_refused component_disconnected heartbeat
    heartbeat_response no_components_available list_components component_list submit_workflow analyze_workflow
    workflow_submitted workflow_analyzed check_dependencies dependencies_satisfied execution_blocked
    enqueue_task task_enqueued request_next_task task_available task_priority_changed queue_stats_changed
    execute_task cancel_task task_started task_completed task_failed capacity_update find_provider
    provider_found register_protocol protocol_registered register_provider provider_registered initialize
    shutdown health_check health_status execute_method method_result provider_error save_workflow save_task
    save_result data_saved persistence_error query_data data_retrieved query_status status_response
    cancel_workflow workflow_completed workflow_failed workflow_cancelled task_progress task_output task_lost
    cancel_method claim_shard subscribe unsubscribe batch
""".split()
"""Every name that is known outside; none of them may ever go away."""

# --- complete and consistent ----------------------------------------------------------------------


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_name_exists(name: str) -> None:
    assert name in CATALOGUE or name in delivered_names()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_event_has_a_sender_and_a_receiver(name: str) -> None:
    routes = CATALOGUE[name].routes
    assert routes
    for route in routes:
        assert route.senders, f"{name}: nobody sends it to {route.to.value}"
        assert route.roles or route.to in (To.HUB, To.EVERYBODY, To.WATCHERS), f"{name}: nobody gets it"


@pytest.mark.parametrize("name", sorted(RENAMED))
def test_a_delivery_is_renamed_to_a_name_of_its_own_or_of_a_command(name: str) -> None:
    assert name not in CATALOGUE or CATALOGUE[name].kind is Kind.COMMAND
    assert RENAMED[name] <= CATALOGUE.keys()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_replies_go_to_whoever_asked(name: str) -> None:
    if CATALOGUE[name].kind is Kind.REPLY:
        assert {route.to for route in CATALOGUE[name].routes} & {To.COMPONENT, To.HUB}


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_event_says_what_it_means(name: str) -> None:
    doc = CATALOGUE[name].__doc__ or ""
    assert doc and not doc.startswith(CATALOGUE[name].__name__ + "(")  # what dataclasses make up


MACHINES: dict[Role, type[Machine]] = {
    Role.HUB: Hub,
    Role.DEPENDENCY_RESOLVER: DependencyResolver,
    Role.QUEUE_MANAGER: QueueManager,
    Role.EXECUTION_ENGINE: ExecutionEngine,
    Role.PROTOCOL_REGISTRY: ProtocolRegistry,
    Role.PERSISTENCE: Persistence,
    Role.PROVIDER: ProviderMachine,
    Role.CLIENT: Client,
}


@pytest.mark.parametrize("role", sorted(Role))
def test_a_machine_handles_exactly_what_its_role_receives(role: Role) -> None:
    machine = MACHINES[role]
    handled = {name.removeprefix("on_") for name in dir(machine) if name.startswith("on_")}
    assert handled == {name for name in delivered_names() if role in receivers(name)}


def _made_by_the_package() -> set[str]:
    """Names of classes that are called somewhere outside the catalogue, and of facts that the ledger publishes."""
    package = Path(gleitzeitd.__file__).parent
    made: set[str] = set()
    for path in package.rglob("*.py"):
        if path.parent.name == "events":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                made.add(node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id)
            if isinstance(node, ast.IfExp):
                made |= {each.attr for each in (node.body, node.orelse) if isinstance(each, ast.Attribute)}
            if isinstance(node, ast.Constant) and node.value in CATALOGUE:
                made.add(CATALOGUE[node.value].__name__)
    return made


MADE = _made_by_the_package()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_something_of_ours_sends_every_event(name: str) -> None:
    assert CATALOGUE[name].__name__ in MADE, f"{name} is declared, and nobody sends it"


def _asked_by_the_package() -> set[str]:
    """Names of the classes whose instances stand in an ``Ask``, in a variable that does, or are what a
    method gives that is called there.
    """
    functions = [
        node
        for path in (Path(gleitzeitd.__file__).parent / "machines").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    given = {
        function.name: {each.attr for each in ast.walk(function.returns) if isinstance(each, ast.Attribute)}
        for function in functions
        if function.returns is not None
    }
    asked = {name for function in functions for name in _asked_by(function)}
    return {each for name in asked for each in given.get(name, ()) or {name}}


def _asked_by(function: ast.FunctionDef) -> set[str]:
    nodes = list(ast.walk(function))
    made = {
        target.id: node.value.func.attr
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.func, ast.Attribute)
    }
    asks = [
        node.args[1]
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Ask"
        if len(node.args) > 1
    ]
    direct = {
        each.func.attr for each in asks if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)
    }
    return direct | {made[each.id] for each in asks if isinstance(each, ast.Name) and each.id in made}


def test_what_is_asked_is_declared_so() -> None:
    asked = _asked_by_the_package()
    assert {"ExecuteMethod", "SaveWorkflow", "TaskAvailable", "QueryData", "FindProvider"} <= asked
    told = [n for n, cls in CATALOGUE.items() if cls.__name__ in asked and cls.delivery is Delivery.TELL]
    assert not told, f"asked, and declared to be told: {told}"


# --- through the wire -----------------------------------------------------------------------------

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    Any: JSON,
    str: TEXT,
    bool: st.booleans(),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    types.NoneType: st.none(),
}


def bare(hint: Any) -> Any:
    """The type below all NewTypes."""
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    return hint


def values(hint: Any) -> st.SearchStrategy[Any]:
    """What a field with this type hint may hold."""
    hint = bare(hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    if origin in (types.UnionType, typing.Union):
        return st.one_of([values(one) for one in inner])
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin is list:
        return st.lists(values(inner[0]), max_size=3)
    if origin is tuple:
        return st.lists(values(inner[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, values(inner[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    assert dataclasses.is_dataclass(hint), f"no strategy for {hint!r}"
    return instances(typing.cast("type", hint))


def instances(cls: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{field.name: values(hints[field.name]) for field in dataclasses.fields(cls)})


IDENTIFIER = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)
ENVELOPES = st.builds(
    Envelope,
    message_id=IDENTIFIER,
    correlation_id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    source_component=IDENTIFIER,
    timestamp=TEXT,
    causation_id=st.none() | IDENTIFIER,
    reply_to=st.none() | IDENTIFIER,
    shard=st.none() | st.integers(0, 15),
    topic=st.none() | IDENTIFIER,
)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
@settings(max_examples=15)  # of each event
@given(data=st.data(), envelope=ENVELOPES)
def test_every_event_survives_both_forms_of_the_wire(
    name: str, data: st.DataObject, envelope: Envelope
) -> None:
    event: Event = data.draw(instances(CATALOGUE[name]))
    body = encode_body(event)
    assert decode_body(name, envelope, body) == event
    flat = json.loads(json.dumps(flatten(envelope, body)))
    found, text = unflatten(name, flat, lambda given: from_plain(Envelope, given))
    assert found == envelope
    assert decode_body(name, found, text) == event
    for renamed in {route.renamed for route in CATALOGUE[name].routes if route.renamed}:
        assert decode_body(renamed, dataclasses.replace(envelope, fact=name), body) == event


@given(envelope=ENVELOPES)
def test_every_envelope_survives_the_wire(envelope: Envelope) -> None:
    assert envelope_from_plain(json.loads(json.dumps(envelope_to_plain(envelope))), "x") == envelope


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_no_field_looks_like_a_part_of_the_envelope(name: str) -> None:
    assert not [f.name for f in dataclasses.fields(CATALOGUE[name]) if f.name.startswith("_")]


# --- the snapshot ---------------------------------------------------------------------------------


def snapshot() -> dict[str, Any]:
    """The catalogue as JSON: events by name, and the records that their fields hold."""
    records: dict[str, dict[str, str]] = {}
    events = {
        name: {
            "kind": cls.kind.value,
            "delivery": cls.delivery.value,
            "routes": [_route(route) for route in cls.routes],
            "answers": sorted(cls.answers),
            "fields": _fields(cls, records),
        }
        for name, cls in sorted(CATALOGUE.items())
    }
    wire = {"oldest": WIRE.oldest, "newest": WIRE.newest}
    return {"wire": wire, "events": events, "records": dict(sorted(records.items()))}


def _route(route: Route) -> str:
    to = route.to.name.lower()
    roles = ", ".join(sorted(route.roles))
    renamed = f" as {route.renamed}" if route.renamed else ""
    by = f" by {route.by.value}" if route.by is not None else ""
    return f"{', '.join(sorted(route.senders))}{by} -> {to}{f' of {roles}' if roles else ''}{renamed}"


def _fields(cls: type, records: dict[str, dict[str, str]]) -> dict[str, str]:
    hints = typing.get_type_hints(cls)
    return {
        field.name: _shown(hints[field.name], records) + ("" if _required(field) else ", optional")
        for field in dataclasses.fields(cls)
    }


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _shown(hint: Any, records: dict[str, dict[str, str]]) -> str:
    """A type in words; a record is shown by its name, and entered in ``records``."""
    hint = bare(hint)
    origin, inner = typing.get_origin(hint), [_shown(one, records) for one in typing.get_args(hint)]
    if hint is Any:
        return "json"
    if origin in (types.UnionType, typing.Union):
        return " | ".join(inner)
    if origin in (list, tuple):
        return f"list[{inner[0]}]"
    if origin is dict:
        return f"dict[{inner[1]}]"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + " ".join(str(member.value) for member in hint)
    if dataclasses.is_dataclass(hint):
        record = typing.cast("type", hint)
        if record.__name__ not in records:
            records[record.__name__] = {}  # before its fields: a record may hold itself
            records[record.__name__] = _fields(record, records)
        return record.__name__
    return "null" if hint is types.NoneType else getattr(hint, "__name__", str(hint))


@pytest.mark.parametrize("part", ["wire", "events", "records"])
def test_the_catalogue_is_the_one_that_others_rely_on(part: str) -> None:
    kept = json.loads(SNAPSHOT.read_text(encoding="utf-8"))[part]
    live = snapshot()[part]
    changed = sorted(name for name in kept.keys() | live.keys() if kept.get(name) != live.get(name))
    assert not changed, f"changed: {', '.join(changed)}; if that is meant, run ./dev reference"


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(snapshot(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
