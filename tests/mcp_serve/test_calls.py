"""How far a workflow is said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.client import Client
from gleitzeitd.errors import AnswerTimeout, ErrorInfo
from gleitzeitd.events import Event
from gleitzeitd.events.dependency_resolver import SkippedTask, TaskSkipped
from gleitzeitd.events.execution_engine import TaskCompleted, TaskFailed
from gleitzeitd.events.provider import TaskProgress
from gleitzeitd.mcp_serve.allow import AllowList
from gleitzeitd.mcp_serve.calls import OWN, Calls, Progress, Settings, own_schema
from gleitzeitd.mcp_serve.catalogue import Catalogue
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.report import WorkflowReport
from gleitzeitd.providers.schema import check_schema

W = WorkflowId("w")
BROKEN = ErrorInfo(code=-29002, name="TASK_EXECUTION_FAILED", message="it broke")


def completed(task: str) -> Event:
    return TaskCompleted(workflow_id=W, task_id=TaskId(task), attempt=1)


def failed(task: str, retry_in: float | None = None) -> Event:
    return TaskFailed(workflow_id=W, task_id=TaskId(task), attempt=1, error=BROKEN, retry_in=retry_in)


def skipped(*tasks: str) -> Event:
    return TaskSkipped(
        workflow_id=W, tasks=[SkippedTask(task_id=TaskId(each), error=BROKEN) for each in tasks]
    )


def partly(task: str, part: float) -> Event:
    return TaskProgress(workflow_id=W, task_id=TaskId(task), attempt=1, progress=part)


def test_every_end_of_a_task_counts_and_an_attempt_that_is_repeated_does_not() -> None:
    progress = Progress(4)
    assert progress.see(failed("a", retry_in=1.0)) is None
    assert progress.see(completed("a")) == "a: completed"
    assert progress.see(completed("a")) is None
    assert progress.see(failed("b")) == "b: failed"
    assert progress.see(skipped("c", "d")) == "c: skipped"
    assert progress.told == 4


def test_what_a_provider_says_of_its_progress_counts_as_a_part() -> None:
    progress = Progress(2)
    assert progress.see(partly("a", 0.5)) == "a: 50%"
    assert progress.told == 0.5
    assert progress.see(partly("a", 0.2)) is None
    progress.see(completed("a"))
    assert progress.told == 1


EVENTS = st.one_of(
    st.builds(completed, st.sampled_from("abc")),
    st.builds(failed, st.sampled_from("abc"), st.sampled_from([None, 1.0])),
    st.builds(partly, st.sampled_from("abc"), st.floats(-1, 2)),
)


@given(st.lists(EVENTS))
def test_what_is_told_grows_and_never_passes_the_end(events: list[Event]) -> None:
    progress, before = Progress(3), 0.0
    for event in events:
        if progress.see(event) is not None:
            assert before < progress.told <= 3
            before = progress.told


class Silent(Client):
    """A client whose hub has gone, before or after it has taken the workflow."""

    def __init__(self, *, accepts: bool) -> None:
        super().__init__("http://127.0.0.1:9")
        self.accepts = accepts

    async def submit(self, workflow: Any, **_: Any) -> Any:
        if not self.accepts:
            raise AnswerTimeout("no answer to submit_workflow within 10 s")

    async def status(self, workflow_id: str) -> WorkflowReport:
        raise AnswerTimeout("no answer to query_data within 10 s")


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_hub_that_goes_leaves_a_handle_whether_or_not_it_has_answered(
    tmp_path: Path, accepts: bool
) -> None:
    (tmp_path / "w.yaml").write_text("name: W\ntasks: [{id: a, method: echo/ping}]\n")
    client = Silent(accepts=accepts)
    catalogue = Catalogue([tmp_path], AllowList(), client, lambda _: None)
    calls = Calls(client, catalogue, Settings(), lambda _: None)

    async def report(*_: Any) -> None: ...

    answer = await calls.answer("w", {}, "host", report)
    workflow_id = answer.content["workflow_id"]
    assert answer.failed is not accepts
    assert f"{workflow_id} was accepted" in answer.text
    assert ("is not known" in answer.text) is not accepts
    assert "gleitzeit_status" in answer.text
    if not accepts:
        assert answer.content["error"]["code"] == AnswerTimeout.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"workflow_id": "../../etc"}, "WORKFLOW_NOT_FOUND"),
        ({"workflow_id": "w" * 100_000}, "workflow_id: expected at most 200 characters"),
        ({"workflow_id": "w", "wait_seconds": float("nan")}, "wait_seconds: nan is no JSON"),
        ({"workflow_id": "\ud800"}, "workflow_id: text with half a surrogate pair is no JSON"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(arguments: Any, said: str) -> None:
    client = Silent(accepts=True)
    calls = Calls(client, Catalogue([], AllowList(), client, lambda _: None), Settings(), lambda _: None)

    async def report(*_: Any) -> None: ...

    answer = await calls.answer("gleitzeit_result", arguments, "host", report)
    assert answer.failed
    assert said in answer.text


@pytest.mark.parametrize("name", ["gleitzeit_status", "gleitzeit_cancel"])
async def test_many_calls_that_wait_keep_nobody_from_ending_one(name: str) -> None:
    client = Silent(accepts=True)
    catalogue = Catalogue([], AllowList(), client, lambda _: None)
    calls = Calls(client, catalogue, Settings(at_once=0), lambda _: None)

    async def report(*_: Any) -> None: ...

    assert "no answer" in (await calls.answer(name, {"workflow_id": "w"}, "host", report)).text
    assert (
        "try again later"
        in (await calls.answer("gleitzeit_result", {"workflow_id": "w"}, "host", report)).text
    )


def test_our_own_tools_have_schemas_that_can_be_checked() -> None:
    for name in OWN:
        check_schema(own_schema(name))
