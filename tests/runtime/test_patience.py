"""Who is told to come later waits, says why, comes again, and gives up in the end."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import LimitExceeded, StoreError
from gleitzeitd.events.dependency_resolver import WorkflowRefused, WorkflowSubmitted
from gleitzeitd.model.names import WorkflowId
from gleitzeitd.runtime import patience
from gleitzeitd.runtime.patience import Patience

DONE = WorkflowSubmitted(workflow_id=WorkflowId("w"))


def refused(error):
    return WorkflowRefused(workflow_id=WorkflowId("w"), error=error.info(), problems=[])


class Answers:
    """Gives one after the other, and the last one for ever."""

    def __init__(self, *answers):
        self.left = list(answers)
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The clock, on which waiting takes no time."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(patience.asyncio, "sleep", sleep)
    monkeypatch.setattr(patience, "monotonic", lambda: sum(waited))
    return waited


async def test_a_request_is_repeated_until_there_is_room_and_who_waits_is_told(waits):
    told = []
    later = LimitExceeded("it is full", retry_after=2.0)
    answers = Answers(later, refused(later), later, DONE)
    assert await Patience(told.append).through(answers) is DONE
    assert waits == [2.0, 2.0, 2.0]
    assert told == ["it is full; this is repeated for 60 s"] * 3


async def test_the_waits_grow_where_nobody_says_how_long(waits):
    await Patience().through(Answers(*[LimitExceeded("full")] * 6, DONE))
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]


@pytest.mark.parametrize("error", [LimitExceeded("never", retryable=False), StoreError("the disk is full")])
async def test_what_waiting_does_not_help_is_not_repeated(error, waits):
    with pytest.raises(type(error)):
        await Patience().through(Answers(error))
    answer = refused(error)
    assert await Patience().through(Answers(answer)) is answer
    assert not waits


async def test_patience_ends_with_the_last_answer(waits):
    later = LimitExceeded("full", retry_after=5.0)
    answers = Answers(later)
    with pytest.raises(LimitExceeded, match="full"):
        await Patience(seconds=12).through(answers)
    assert answers.asked == 3
    answer = refused(later)
    assert await Patience(seconds=1).through(Answers(answer)) is answer
    assert sum(waits) == 10.0
