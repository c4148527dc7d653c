from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.access import Grant, UserRole, in_namespace
from gleitzeitd.model.document import read
from gleitzeitd.model.names import is_identifier
from gleitzeitd.runtime.submission import id_for, namespace_in, new_workflow_id
from gleitzeitd.runtime.tokens import KeyRing

DOCUMENT = {
    "name": "Nightly run",
    "tasks": [{"id": "a", "method": "python/execute", "parameters": {"code": "1"}}],
}


@given(st.text())
def test_an_id_that_is_made_is_one_and_is_in_its_namespace(name: str) -> None:
    for namespace in (None, "team-a"):
        made = new_workflow_id(name, namespace)
        assert is_identifier(made)
        assert in_namespace(made, namespace)


def test_only_an_id_that_is_made_gets_the_namespace() -> None:
    reading = read(DOCUMENT)
    assert id_for(reading, None, "team-a").startswith("team-a:nightly-run-")
    assert id_for(reading, "mine", "team-a") == "mine"


def test_the_namespace_is_read_from_the_token() -> None:
    ring = KeyRing.make()
    for namespace in (None, "team-a"):
        token = ring.issue(Grant(subject="s", user=UserRole.VIEWER, namespace=namespace), now=1000.0)
        assert namespace_in(token) == namespace


@pytest.mark.parametrize(
    "token", [None, "", "x", "a.b.c", "e30.e30.x", "e30.eyJucyI6IDd9.x", "e30.eyJucyI6ICIgIn0.x"]
)
def test_what_is_no_token_of_ours_says_no_namespace(token: str | None) -> None:
    assert namespace_in(token) is None
