"""gleitzeit drain."""

from __future__ import annotations

import json

import pytest

from gleitzeitd.cli import drain
from gleitzeitd.errors import AnswerTimeout, GleitzeitError
from gleitzeitd.events import Event
from gleitzeitd.events.hub import ComponentInfo
from gleitzeitd.events.operations import ComponentDraining, DrainComponent
from gleitzeitd.model.names import ComponentId, Role
from tests.cli.fake_client import FakeClient, call


def component(name: str, role: Role, load: int = 0) -> ComponentInfo:
    return ComponentInfo(component_id=ComponentId(name), component_type=role, status="healthy", load=load)


SOME = [
    component("engine-a", Role.EXECUTION_ENGINE, 2),
    component("engine-ab", Role.EXECUTION_ENGINE),
    component("python-1", Role.PROVIDER),
]


def client(*answers: tuple[bool, int]) -> FakeClient:
    fake = FakeClient()
    fake.component_list = [*SOME, component("queue-1", Role.QUEUE_MANAGER)]
    fake.answers = [ComponentDraining(draining=draining, load=load) for draining, load in answers]
    return fake


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "LOOK_SECONDS", 0.0)


def test_without_a_name_what_can_be_drained_is_listed() -> None:
    lines = call(client(), "drain").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["engine-a", "engine-ab", "python-1"]
    plain = json.loads(call(client(), "drain", "--json").stdout)
    assert plain["components"][0]["load"] == 2


def test_a_component_is_told_and_what_is_left_is_said() -> None:
    fake = client((True, 2))
    result = call(fake, "drain", "engine-a")
    assert result.exit_code == 0
    assert result.stdout == "engine-a takes nothing new; 2 tasks still there\n"
    assert fake.done == [("drain_component", "engine-a", DrainComponent())]


def test_waiting_ends_when_nothing_runs_there() -> None:
    fake = client((True, 2), (True, 1), (True, 0))
    result = call(fake, "drain", "py", "--wait")
    assert result.stdout == "python-1 takes nothing new, and nothing runs there: it can be stopped\n"
    assert len(fake.done) == 3


def test_waiting_has_an_end_that_the_exit_code_tells() -> None:
    fake = client(*[(True, 1)] * 100_000)
    result = call(fake, "drain", "py", "--wait", "--timeout", "0.01", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "component_id": "python-1",
        "draining": True,
        "load": 1,
        "finished": False,
    }


def test_it_can_be_undone() -> None:
    fake = client((False, 0))
    assert call(fake, "drain", "--undo", "engine-ab").stdout == "engine-ab takes work again\n"
    assert fake.done == [("drain_component", "engine-ab", DrainComponent(undo=True))]
    assert "is about to end" in call(client((True, 0)), "drain", "--undo", "engine-ab").stdout


@pytest.mark.parametrize(
    ("text", "found"), [("engine-a", "engine-a"), ("engine-ab", "engine-ab"), ("p", "python-1")]
)
def test_a_whole_id_or_a_beginning_that_is_nobody_elses_names_one(text: str, found: str) -> None:
    assert drain.the_one(SOME, text).component_id == found


@pytest.mark.parametrize(
    ("text", "said"), [("eng", "may be any of engine-a, engine-ab"), ("pyton-1", "did you mean python-1?")]
)
def test_others_are_refused(text: str, said: str) -> None:
    with pytest.raises(GleitzeitError, match=said.replace("?", "[?]")):
        drain.the_one(SOME, text)


def test_a_provider_that_does_not_know_the_command_is_told_from_one_that_is_away() -> None:
    class Silent(FakeClient):
        async def ask(self, event: Event, *, to: str = "") -> Event:
            raise AnswerTimeout("no answer to drain_component")

    fake = Silent()
    fake.component_list = SOME
    result = call(fake, "drain", "python-1")
    assert result.exit_code == 3
    assert "does not know drain_component" in result.stderr
