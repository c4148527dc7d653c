"""gleitzeit components, protocols, providers and queues."""

from __future__ import annotations

import json

import pytest

from gleitzeitd.cli.system import shards_text
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events.hub import ComponentInfo
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.model.protocol import Method, Protocol
from tests.cli.fake_client import FakeClient, call

ENGINE = ComponentInfo(
    component_id=ComponentId("engine-1"),
    component_type=Role.EXECUTION_ENGINE,
    status="draining",
    load=3,
    version="5.0.0",
    hostname="node-1",
    connected_seconds=5.0,
    metrics={"cpu_percent": 12.4, "memory_bytes": 50 * 2**20, "open_files": 9, "uptime_seconds": 90.0},
)
QUEUE = ComponentInfo(
    component_id=ComponentId("queue-1"),
    component_type=Role.QUEUE_MANAGER,
    status="healthy",
    shards=[0, 1, 2, 7],
    metrics={"cpu_percent": 1.0, "waiting": 7, "by_protocol": {"echo/v1": 7}},
)
ECHO = Protocol(
    name="echo/v1",
    description="For trying out.",
    methods={
        "echo/wait": Method(
            description="Let time pass.",
            parameters={
                "type": "object",
                "properties": {
                    "seconds": {"type": "number", "description": "How long."},
                    "names": {"type": "array", "items": {"type": "string"}, "default": []},
                    "mode": {"enum": ["a", "b"]},
                    "any": {},
                },
                "required": ["seconds"],
            },
            returns={"type": ["object", "null"]},
        )
    },
)


def client() -> FakeClient:
    fake = FakeClient()
    fake.component_list = [ENGINE, QUEUE]
    provider = r.ProviderInfo(
        component_id=ComponentId("engine-1"), protocol="echo/v1", capacity=4, health="ok"
    )
    fake.protocol_list = r.ProtocolList(protocols=[ECHO], providers=[provider])
    return fake


def words(*arguments: str) -> list[list[str]]:
    return [line.split() for line in call(client(), *arguments).output.splitlines()]


def test_components_have_their_figures() -> None:
    assert words("components")[1] == (
        "engine-1 execution_engine draining 3 12 % 50 MiB 9 1 min node-1 5.0.0".split()
    )
    plain = json.loads(call(client(), "components", "--json").stdout)
    assert plain["components"][1]["shards"] == [0, 1, 2, 7]


@pytest.mark.parametrize(
    ("shards", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 7], "0-2 7"), (list(range(16)), "all")]
)
def test_shards_are_shown_as_ranges(shards: list[int], text: str) -> None:
    assert shards_text(shards) == text


def test_providers_show_load_and_capacity() -> None:
    assert words("providers")[1] == ["engine-1", "echo/v1", "3", "4", "ok", "node-1"]


def test_queues_show_the_figures_of_their_managers() -> None:
    assert words("queues") == [
        ["QUEUE", "MANAGER", "SHARDS", "WAITING", "BY", "PROTOCOL"],
        ["queue-1", "0-2", "7", "7", "echo/v1", "7"],
    ]


@pytest.mark.parametrize("name", ["components", "protocols", "providers", "queues", "status"])
def test_what_runs_without_a_hub_is_not_taken_for_one(name: str) -> None:
    fake = client()
    assert "no hub is set" not in call(fake, name).stderr
    fake.embedded = True
    assert "no hub is set" in call(fake, name).stderr
    assert not call(fake, name, "--json").stderr


def test_nobody_there_comes_with_the_command_that_helps() -> None:
    assert "gleitzeitd provider" in call(FakeClient(), "providers").output
    assert "gleitzeitd queue-manager" in call(FakeClient(), "queues").output
