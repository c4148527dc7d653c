"""What a machine says, as records; and that nothing else changes."""

from __future__ import annotations

import pytest

from gleitzeitd import errors
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import Ask, Effects, Machine, Note, Reply, SetTimer, Tell
from gleitzeitd.machines.narrator import _WORDS, Narrator, told
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId
from tests.drive import envelope

W, A = WorkflowId("w"), TaskId("a")
TIMES = {"started_at": "2026-01-01T00:00:00.000Z", "finished_at": "2026-01-01T00:00:01.500Z"}


class Says(Machine):
    """Says what it is given."""

    role = Role.PROVIDER
    component_id = ComponentId("p")

    def __init__(self, effects: Effects) -> None:
        self.effects = effects

    def settle(self, now: float, at: str) -> Effects:
        return self.effects


def test_a_note_comes_behind_what_was_said_and_has_its_correlation() -> None:
    done = v.MethodResult(workflow_id=W, task_id=A, attempt=1, result={"secret": 1}, **TIMES)
    reply = Reply(done, envelope(done))
    effects: Effects = [SetTimer("x", 1.0), reply, Tell(q.EnqueueTask(workflow_id=W, tasks=[]))]
    narrated = Narrator(Says(effects)).settle(0.0, "")
    [note] = [effect for effect in narrated if isinstance(effect, Note)]
    assert narrated[1:3] == [reply, note]
    assert [effect for effect in narrated if effect is not note] == effects
    assert (note.level, note.message) == ("info", "call done")
    assert note.fields == {
        "workflow_id": W,
        "task_id": A,
        "attempt": 1,
        "seconds": 1.5,
        "correlation_id": reply.to.correlation_id,
    }


def test_what_says_nothing_of_interest_is_passed_on_as_it_is() -> None:
    effects: Effects = [SetTimer("x", 1.0)]
    assert Narrator(Says(effects)).settle(0.0, "") is effects


@pytest.mark.parametrize(
    ("error", "level", "message"),
    [
        (errors.TaskTimeout("x"), "notice", "task failed"),
        (errors.ProviderOverloaded("x"), "info", "task handed back"),
    ],
)
def test_a_task_that_is_handed_back_has_not_failed(error: errors.TaskError, level: str, message: str) -> None:
    event = e.TaskFailed(workflow_id=W, task_id=A, attempt=1, error=error.info())
    note = told(Role.EXECUTION_ENGINE, event)
    assert note is not None
    assert (note.level, note.message, note.fields["error"]) == (level, message, error.info())


def test_a_failure_is_told_by_the_engine_and_another_attempt_by_the_ledger() -> None:
    error = errors.TaskTimeout("x").info()
    assert told(Role.PERSISTENCE, e.TaskFailed(workflow_id=W, task_id=A, attempt=1, error=error)) is None
    again = e.TaskFailed(workflow_id=W, task_id=A, attempt=1, error=error, retry_in=0.5)
    note = told(Role.PERSISTENCE, again)
    assert note is not None
    assert (note.message, note.fields["seconds"]) == ("task is tried again", 0.5)
    assert told(Role.CLIENT, again) is None


def test_times_that_cannot_be_read_are_left_out() -> None:
    event = e.TaskCompleted(workflow_id=W, task_id=A, attempt=1, result=None, started_at="", finished_at="x")
    note = told(Role.EXECUTION_ENGINE, event)
    assert note is not None
    assert note.fields == {"workflow_id": W, "task_id": A, "attempt": 1}


def test_a_narrator_is_asked_whatever_its_machine_is_asked() -> None:
    public = {name for name in vars(Machine) if not name.startswith("_")}
    assert public - {"role", "component_id"} <= vars(Narrator).keys()
    assert Role.HUB not in _WORDS


def test_an_ask_is_told_once_it_is_made() -> None:
    started = e.TaskStarted(workflow_id=W, task_id=A, attempt=1, provider_id=ComponentId("p-1"))
    machine = Says([Ask("k", started, correlation_id="c" * 32)])
    machine.role = Role.EXECUTION_ENGINE  # type: ignore[misc]
    *_, note = Narrator(machine).settle(0.0, "")
    assert isinstance(note, Note)
    assert note.fields["provider"] == "p-1"
    assert note.fields["correlation_id"] == "c" * 32
