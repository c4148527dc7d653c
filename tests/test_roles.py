"""The table of roles, and the files that are shipped for them."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from gleitzeitd.__main__ import run
from gleitzeitd.model.names import Role
from gleitzeitd.providers import BUILTIN
from gleitzeitd.roles import COMPONENTS, ROLES
from gleitzeitd.runtime import assembly
from gleitzeitd.runtime.identity import make_identity

SHIPPED = Path(__file__).parent.parent / "config"
ASSEMBLED = [role for role, spec in ROLES.items() if spec.assembly is not None]


def printed(*arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert run([*arguments, "--print-config"], {}) == 0
    return out.getvalue()


def test_every_role_but_the_client_is_in_the_table() -> None:
    assert set(ROLES) == set(Role) - {Role.CLIENT}


@pytest.mark.parametrize("role", ASSEMBLED)
def test_a_role_is_built_from_its_defaults(role: Role) -> None:
    spec = ROLES[role]
    assert spec.assembly is not None
    made = spec.assembly()
    assert tuple(made.sections) == spec.sections
    me = make_identity(role)
    built = made.build(made.defaults(), me)
    assert built.machine.role is role
    assert built.machine.component_id == me.component_id


@pytest.mark.parametrize("name", BUILTIN)
def test_a_provider_is_built_from_its_defaults(name: str) -> None:
    made = assembly.provider(name)
    assert tuple(made.sections) == ROLES[Role.PROVIDER].sections
    built = made.build(made.defaults(), make_identity(Role.PROVIDER))
    assert built.machine.role is Role.PROVIDER
    assert built.performer is not None


def test_no_two_roles_have_a_section_in_common() -> None:
    names = [name for spec in ROLES.values() for name in (*spec.sections,)] + list(COMPONENTS)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("role", [role for role in ROLES if role is not Role.PROVIDER])
def test_the_shipped_file_of_a_role_is_what_it_prints(role: Role) -> None:
    file = SHIPPED / f"{role.file_name}.toml"
    assert file.read_text(encoding="utf-8") == printed(role.file_name), "./dev reference writes it"


@pytest.mark.parametrize("name", BUILTIN)
def test_the_shipped_file_of_a_provider_is_what_it_prints(name: str) -> None:
    file = SHIPPED / "providers" / f"{name}.toml"
    assert file.read_text(encoding="utf-8") == printed("provider", name), "./dev reference writes it"


def test_no_other_file_is_shipped() -> None:
    expected = {f"{role.file_name}.toml" for role in ROLES if role is not Role.PROVIDER}
    expected |= {f"providers/{name}.toml" for name in BUILTIN}
    assert {str(file.relative_to(SHIPPED)) for file in SHIPPED.rglob("*.toml")} == expected


@pytest.mark.parametrize("role", ["hub", "persistence", "queue-manager"])
def test_a_shipped_file_is_accepted_by_its_role(role: str) -> None:
    assert run([role, "--check-config", "--config", str(SHIPPED / f"{role}.toml")], {}) == 0
