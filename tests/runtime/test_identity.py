from __future__ import annotations

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.names import Role, is_identifier
from gleitzeitd.runtime.identity import make_identity


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
