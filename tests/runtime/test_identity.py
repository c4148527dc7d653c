from __future__ import annotations

import os
from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.names import Role, is_identifier
from gleitzeitd.runtime.identity import make_identity, own_unit


def test_a_configured_name_is_kept_and_every_start_has_a_later_epoch() -> None:
    first = make_identity(Role.QUEUE_MANAGER, "qm@host-1")
    second = make_identity(Role.QUEUE_MANAGER, "qm@host-1")
    assert first.component_id == second.component_id == "qm@host-1"
    assert second.epoch > first.epoch


def test_without_one_it_is_made_of_role_host_and_chance() -> None:
    one, other = make_identity(Role.PROVIDER, label="provider-python"), make_identity(Role.PROVIDER)
    assert one.component_id.startswith("provider-python-")
    assert other.component_id.startswith("provider-")
    assert one.component_id != make_identity(Role.PROVIDER, label="provider-python").component_id
    assert is_identifier(one.component_id)


def test_a_host_with_an_odd_name_still_gets_an_identifier(monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in ("", "höst with spaces", "x" * 500):
        monkeypatch.setattr("socket.gethostname", lambda odd=odd: odd)
        assert is_identifier(make_identity(Role.HUB).component_id)


def test_a_name_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(ConfigError, match="connection.component_id: expected letters"):
        make_identity(Role.HUB, "two words")


def test_a_process_of_a_unit_has_the_same_name_at_every_start() -> None:
    first = make_identity(Role.PROVIDER, unit="gleitzeit-provider@python")
    second = make_identity(Role.PROVIDER, unit="gleitzeit-provider@python")
    assert first.component_id == second.component_id
    assert first.component_id.startswith("provider-python-")
    assert second.epoch > first.epoch
    assert is_identifier(first.component_id)
    assert make_identity(Role.PROVIDER, "mine", unit="gleitzeit-provider@python").component_id == "mine"


def test_only_the_main_process_of_a_unit_is_its_own(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("1:cpu:/\n0::/gleitzeit.slice/gleitzeit-provider@python.service\n")
    ours = {"SYSTEMD_EXEC_PID": str(os.getpid())}
    assert own_unit(ours, groups) == "gleitzeit-provider@python"
    assert own_unit({"SYSTEMD_EXEC_PID": "1"}, groups) == ""
    assert own_unit({}, groups) == ""
    groups.write_text("0::/user.slice/session-1.scope\n")
    assert own_unit(ours, groups) == ""
    assert own_unit(ours, tmp_path / "absent") == ""
