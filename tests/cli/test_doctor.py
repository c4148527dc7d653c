"""gleitzeit doctor: every finding has a level, and every bad one a remedy."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gleitzeitd import __version__
from gleitzeitd.cli import checks_host as here
from gleitzeitd.cli import checks_system as there
from gleitzeitd.cli import cli
from gleitzeitd.cli.checks import Finding
from gleitzeitd.cli.host import Unit
from gleitzeitd.cli.options import Options
from gleitzeitd.errors import HubUnreachable
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events.hub import ComponentInfo
from gleitzeitd.model.names import SHARDS, ComponentId, Role
from tests.certificates import Authority
from tests.cli.fake_client import FakeClient, a_task, a_workflow, call, runner

OURS = [role for role in Role if role is not Role.CLIENT]


def component(role: Role, name: str = "", **more: Any) -> ComponentInfo:
    given: dict[str, Any] = {"status": "healthy", "version": __version__, "hostname": "host-a"}
    if role in there.OWNERS:
        given["shards"] = list(range(SHARDS))
    return ComponentInfo(
        component_id=ComponentId(name or f"{role.value}-1"), component_type=role, **{**given, **more}
    )


def system() -> list[ComponentInfo]:
    return [component(role) for role in OURS]


def client(components: list[ComponentInfo] | None = None) -> FakeClient:
    fake = FakeClient()
    fake.component_list = system() if components is None else components
    provider = r.ProviderInfo(component_id=ComponentId("p"), protocol="echo/v1", capacity=4, health="ok")
    fake.protocol_list = r.ProtocolList(protocols=[], providers=[provider])
    return fake


def bad(findings: Any) -> list[tuple[str, str]]:
    found: list[Finding] = [each for each in findings if each.level != "ok"]
    assert all(each.remedy for each in found)
    return [(each.level, each.text) for each in found]


@pytest.fixture(autouse=True)
def _no_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gleitzeitd.cli.host.BOOTED", tmp_path / "not booted")


def test_a_system_in_which_all_is_well_has_no_problem() -> None:
    result = call(client(), "doctor")
    assert result.exit_code == 0, result.output
    assert "problem" not in result.stdout
    assert f"all run {__version__}" in result.stdout
    plain = json.loads(call(client(), "doctor", "--json").stdout)
    assert plain["healthy"] is True
    assert {each["about"] for each in plain["findings"]} >= {"units", "token", "hub", "components", "work"}


def test_a_missing_role_is_a_problem_and_the_exit_code_says_so() -> None:
    less = [each for each in system() if each.component_type is not Role.QUEUE_MANAGER]
    result = call(client(less), "doctor")
    assert result.exit_code == 1
    assert "problem components" in result.stdout
    assert "no queue manager is connected" in result.stdout
    assert "try: systemctl start gleitzeit-queue-manager" in result.stdout
    assert result.stdout.endswith("1 problem\n")


def test_no_hub_is_a_finding_and_no_error() -> None:
    fake = client()
    fake.problem = HubUnreachable("refused")
    result = call(fake, "doctor")
    assert result.exit_code == 1
    assert "cannot be reached: refused" in result.stdout
    assert not result.stderr


@pytest.mark.parametrize(
    ("unit", "level"),
    [
        (Unit(name="u.service", active="active", enabled="enabled"), None),
        (Unit(name="u.service", active="inactive", enabled="disabled"), None),
        (Unit(name="u.service", active="inactive", enabled="enabled", kind="oneshot"), None),
        (Unit(name="u.service", active="inactive", enabled="enabled", kind="notify"), "problem"),
        (Unit(name="u.service", active="inactive", enabled="enabled", conditions_hold=False), "warning"),
        (Unit(name="u.service", active="failed", result="watchdog"), "problem"),
        (Unit(name="u.service", active="activating", sub="auto-restart", enabled="enabled"), "problem"),
        (Unit(name="u.service", active="active", restarts=2), "warning"),
        (Unit(name="u.service", active="active", status="0 running; hub connected"), None),
        (Unit(name="u.service", active="active", status="not connected to the hub (refused); 0"), "problem"),
        (Unit(name="u.service", active="active", status="nothing can be kept: full; 4 leases"), "problem"),
    ],
)
def test_units_that_should_run_are_looked_at(unit: Unit, level: str | None) -> None:
    found = bad(here.units([unit], booted=True))
    assert [each[0] for each in found] == ([] if level is None else [level])


def test_a_unit_that_has_failed_says_why_and_one_that_reloads_is_active() -> None:
    status = "cannot go on: it is bad. Do x"
    failed = Unit(name="u.service", active="failed", result="exit-code", status=status)
    (why,) = bad(here.units([failed], booted=True))
    assert why[1] == "u.service has failed (exit-code): cannot go on: it is bad"
    (found,) = here.units([Unit(name="u.service", active="reloading")], booted=True)
    assert found.text == "1 service active, none failed"


def test_a_class_is_looked_for_where_its_unit_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "moonish.py").write_text(
        "from gleitzeitd.providers import MethodProvider\n\n\n"
        "class Moon(MethodProvider):\n    protocol_name = 'moon/v1'\n"
        "    async def phase(self) -> str:\n        return 'full'\n"
    )
    (tmp_path / "providers").mkdir()
    file = tmp_path / "providers" / "moon.toml"
    file.write_text('[provider]\nmodule = "moonish:Moon"\n')
    monkeypatch.setattr("gleitzeitd.plan.config_files", lambda *_, **__: [file])
    assert "there is no module moonish" in bad(here.configuration({}, tmp_path))[0][1]
    assert not bad(here.configuration({"PYTHONPATH": str(tmp_path / "venv")}, tmp_path))
    assert str(tmp_path / "venv") not in sys.path


def test_a_broken_file_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("[hub]\nprot = 1\n")
    monkeypatch.setattr("gleitzeitd.plan.config_files", lambda *_, **__: [file])
    found = bad(here.configuration({}, tmp_path))
    assert len(found) == 1
    assert f"{file}:2: hub.prot: unknown key, did you mean port?" in found[0][1]


def test_a_database_of_another_user_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gleitzeit.db"
    sqlite3.connect(file).close()
    log = file.with_name("gleitzeit.db-wal")
    log.touch()
    monkeypatch.setattr(here, "configured_database", lambda _: file)
    assert not bad(here.database(Options()))
    real = Path.stat
    other = os.stat_result((0o100600, 0, 0, 1, 12345, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda path, **more: other if path == log else real(path, **more))
    (found,) = bad(here.database(Options()))
    assert (found[0], str(log) in found[1]) == ("problem", True)


def test_a_hub_of_this_host_that_is_not_used_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "invocation:gleitzeit-hub.service"
    monkeypatch.setattr("gleitzeitd.cli.host.HUB_RUNS", runs)
    options = Options(
        environment={"XDG_STATE_HOME": str(tmp_path)}, config_files=(), installed_token=tmp_path / "token"
    )
    assert "warning hub" in runner().invoke(cli, ["doctor"], obj=options).stdout
    runs.symlink_to("0123")
    result = runner().invoke(cli, ["doctor"], obj=options)
    assert f"this host runs a hub, which is not used since {tmp_path / 'token'} is missing" in result.stdout


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (2**40, 2**41, "ok"),
        (2**29, 2**31, "ok"),
        (2**29, 2**40, "warning"),
        (2**20, 2**24, "problem"),
    ],
)
def test_a_disk_that_is_nearly_full_is_noticed(free: int, total: int, level: str) -> None:
    assert [each.level for each in here.disk(Path("/x"), free, total)] == [level]


def test_a_silent_component_and_one_that_drains_are_named() -> None:
    engine = component(Role.EXECUTION_ENGINE)
    found = bad(there.states([replace(engine, heartbeat_age=9.0), replace(engine, status="draining")]))
    assert [each[0] for each in found] == ["problem", "warning"]


def test_shards_without_an_owner_are_a_problem() -> None:
    less = component(Role.QUEUE_MANAGER, shards=[0, 1])
    assert bad(there.shards([less])) == [("problem", "14 of 16 shards have no queue manager")]


def test_the_older_of_two_versions_is_named_with_its_hosts() -> None:
    old, new = (component(Role.HUB, version=version) for version in ("5.9.0", "5.10.0"))
    (found,) = there.versions([replace(old, hostname="host-b"), new])
    assert (found.level, "host-b" in found.remedy) == ("warning", True)
    assert "of version 5.9.0, others of 5.10.0" in found.text


def test_a_clock_that_differs_is_a_warning_for_its_host() -> None:
    good = component(Role.HUB, clock_offset=0.002)
    late = component(Role.PROVIDER, clock_offset=-90.0, hostname="host-b")
    assert bad(there.clocks([good, late])) == [
        ("warning", "the clock of host-b is 1 min 30 s behind the hub's")
    ]
    assert [each.level for each in there.clocks([good])] == ["ok"]


def test_tasks_that_nobody_can_run_are_a_problem() -> None:
    queue = component(Role.QUEUE_MANAGER, metrics={"by_protocol": {"echo/v1": 1, "ftp/v1": 2}})
    assert bad(there.unserved([queue], {"echo/v1"})) == [
        ("problem", "2 tasks waiting for ftp/v1, which no provider serves")
    ]


def test_leases_of_an_engine_that_is_gone_and_lost_tasks_are_named() -> None:
    tasks = [a_task("a", "running", engine="engine-9"), a_task("b", "unknown"), a_task("c", "running")]
    found = bad(there.held_up(a_workflow("w", "running"), tasks, {"engine-1"}))
    assert [each[0] for each in found] == ["warning", "problem"]
    assert "engine-9" in found[0][1]


def test_certificates_are_looked_at_two_weeks_before_they_expire(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    hub = authority.certificate("hub")
    said = "\n".join(f'{key} = "{file}"' for key, file in (
        ("certificate_file", hub.certificate), ("key_file", hub.key), ("ca_file", authority.file),
    ))  # fmt: skip
    (tmp_path / "hub.toml").write_text(f"[security]\n{said}\n")

    def found(days: float) -> list[tuple[str, str]]:
        return bad(here.tls({}, time.time() + days * 86400, tmp_path))

    assert [level for level, _ in found(0)] == ["warning", "warning"]
    assert f"{hub.certificate}: expires on" in found(0)[0][1]
    assert [level for level, _ in found(3)] == ["problem", "problem"]
    assert "has expired" in found(3)[0][1]
    assert list(here.tls({}, time.time(), tmp_path / "nothing")) == []
    hub.key.chmod(0o644)
    assert any("open to every user" in text for _, text in found(0))
