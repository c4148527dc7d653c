"""What a token grants."""

from __future__ import annotations

import pytest

from gleitzeitd.model.access import Grant, UserRole, full_grant, in_namespace
from gleitzeitd.model.names import Role


@pytest.mark.parametrize("more", list(UserRole))
@pytest.mark.parametrize("less", list(UserRole))
def test_each_role_of_a_user_includes_those_before_it(more: UserRole, less: UserRole) -> None:
    order = ["viewer", "submitter", "operator", "admin"]
    assert more.includes(less) is (order.index(more.value) >= order.index(less.value))


def test_a_grant_admits_the_roles_that_it_names_and_no_other() -> None:
    engine = Grant(subject="host-1", components=frozenset({Role.EXECUTION_ENGINE}))
    assert engine.admits(Role.EXECUTION_ENGINE)
    assert not engine.admits(Role.PERSISTENCE)
    assert not engine.admits(Role.CLIENT)
    assert not engine.allows(UserRole.VIEWER)


def test_a_user_connects_as_a_client_only_and_does_what_his_role_includes() -> None:
    grant = Grant(subject="ada", user=UserRole.SUBMITTER)
    assert [role for role in Role if grant.admits(role)] == [Role.CLIENT]
    assert grant.allows(UserRole.VIEWER) and grant.allows(UserRole.SUBMITTER)
    assert not grant.allows(UserRole.OPERATOR)


def test_nobody_may_be_a_hub() -> None:
    assert not full_grant("everybody").admits(Role.HUB)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("*", "anything", True),
        ("*@host-1", "provider-python@host-1", True),
        ("*@host-1", "provider-python@host-11", False),
        ("engine-?", "ENGINE-1", False),
    ],
)
def test_names_of_components_match_the_pattern_letter_by_letter(
    pattern: str, name: str, covered: bool
) -> None:
    assert Grant(subject="x", names=pattern).covers_name(name) is covered


def test_a_namespace_covers_the_ids_that_begin_with_it_and_a_colon() -> None:
    grant = Grant(subject="x", user=UserRole.SUBMITTER, namespace="team-a")
    assert grant.covers_workflow("team-a:nightly")
    assert not grant.covers_workflow("team-ab:nightly")
    assert not grant.covers_workflow("team-a")
    assert in_namespace("whatever", None)
