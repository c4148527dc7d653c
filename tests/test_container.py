"""The container files name every role and provider, and keep what they promise about who can reach what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gleitzeitd.model.names import Role
from gleitzeitd.providers import BUILTIN
from gleitzeitd.roles import ROLES

FOLDER = Path(__file__).resolve().parent.parent / "packaging" / "container"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STAGES = re.split(r"(?m)^FROM \S+ AS (\S+)$", (FOLDER / "Containerfile").read_text())[1:]
TARGETS = dict(zip(STAGES[::2], STAGES[1::2], strict=True))
DEBIAN = FOLDER.parent.parent / "debian" / "control"


def test_there_is_a_target_for_every_role() -> None:
    assert set(TARGETS) == {role.file_name for role in ROLES} | {"common", "cli"}


@pytest.mark.parametrize("role", [each for each in ROLES if each is not Role.PROVIDER])
def test_a_target_runs_its_role_from_its_package(role: Role) -> None:
    text = TARGETS[role.file_name]
    assert f'CMD ["{role.file_name}"]' in text
    assert f"/debs/gleitzeit-{role.file_name}_*.deb" in text


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_ends_as_root(target: str) -> None:
    users = re.findall(r"(?m)^USER (\S+)$", TARGETS[target])
    assert users[-1:] in ([], ["gleitzeit"])
    assert users or target == "cli", "it is the user of the stage that it is made from"


def test_every_role_and_provider_is_part_of_the_system() -> None:
    targets = [service["build"]["target"] for service in SERVICES.values()]
    assert set(targets) == {role.file_name for role in ROLES}
    assert targets.count("execution-engine") == 3
    commands = [service["command"] for service in SERVICES.values() if "command" in service]
    assert sorted(commands) == sorted(["provider", name] for name in BUILTIN)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_only_what_it_has_to(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges"]
    assert service["secrets"] == ["token"]
    assert service["healthcheck"]["test"]


def test_nothing_but_the_hub_listens_and_that_on_the_loopback() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"hub"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["hub"]["ports"])


def test_only_the_hub_and_providers_that_ask_other_servers_have_a_way_out() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    out = {name for name, service in SERVICES.items() if service["networks"] != ["inside"]}
    assert out == {"hub", *(f"provider-{name}" for name in ("grpc", "http", "llm", "mcp"))}


def test_the_base_that_is_described_has_all_that_the_packages_need() -> None:
    named = re.search(r"--include=(\S+)", (FOLDER / "README.md").read_text())
    assert named is not None
    needed = re.findall(r"(python3-[\w-]+) \(>= [\d.]+\) <!nocheck>", DEBIAN.read_text())
    assert needed
    assert set(needed) <= set(named[1].split(","))
