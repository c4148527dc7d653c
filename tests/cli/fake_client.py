"""A client whose system is a few values, and a runner for commands that use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from click.testing import CliRunner, Result

from gleitzeitd.cli import cli
from gleitzeitd.cli.connection import Session
from gleitzeitd.cli.options import Options
from gleitzeitd.client import Submitted
from gleitzeitd.errors import WorkflowConflict, WorkflowNotFound
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.machines.client import Published
from gleitzeitd.model.report import TaskReport, WorkflowReport, WorkflowResult, workflow_result
from gleitzeitd.plain import Json

AT = "2026-01-31T12:00:0{}Z"


def a_task(task_id: str, status: str = "completed", **more: Any) -> TaskReport:
    return TaskReport(
        **{"task_id": task_id, "name": task_id, "status": status, "protocol": "echo/v1", **more}
    )


def a_workflow(workflow_id: str = "pipeline-1f0a", status: str = "completed", **more: Any) -> WorkflowReport:
    given = {"workflow_id": workflow_id, "name": "Pipeline", "status": status, "submitted_at": AT.format(0)}
    if status not in ("running", "cancelling"):
        given["finished_at"] = AT.format(2)
    return WorkflowReport(**{**given, "tasks": 2, "correlation_id": "c" * 32, **more})


class FakeClient:
    """Has what its test gives it, and notes what it is asked to do."""

    namespace: str | None = None

    def __init__(
        self,
        workflows: Sequence[WorkflowReport] = (),
        tasks: Sequence[TaskReport] = (),
        *,
        results: dict[str, Json] | None = None,
        events: Sequence[Published] = (),
        problem: Exception | None = None,
        embedded: bool = False,
    ) -> None:
        self.workflows = list(workflows)
        self._tasks = list(tasks)
        self.results = results or {}
        self.events = list(events)
        self.problem = problem
        self.embedded = embedded
        self.chunks: dict[str, Any] = {}
        self.done: list[tuple[Any, ...]] = []
        self.component_list: list[h.ComponentInfo] = []
        self.protocol_list = r.ProtocolList(protocols=[], providers=[])
        self.trace_data = h.TraceData(records=[])
        self.answers: list[Event] = []
        self.document: Json = None

    async def progress(self, workflow_id: str) -> d.StatusResponse:
        report = await self.status(workflow_id)
        return d.StatusResponse(
            workflow_id=report.workflow_id, status=report.status, counts={"active": report.tasks}
        )

    async def status(self, workflow_id: str) -> WorkflowReport:
        for each in self.workflows:
            if each.workflow_id == workflow_id:
                return each
        raise WorkflowNotFound(f"{workflow_id}: no such workflow")

    async def list(self, *, limit: int | None = None, **wanted: Any) -> Any:
        self.done.append(("list", wanted))
        return self.workflows[:limit]

    async def tasks(self, workflow_id: str) -> Any:
        return self._tasks

    async def result(self, workflow_id: str) -> WorkflowResult:
        return workflow_result(await self.status(workflow_id), self._tasks, self.results)

    async def output(self, workflow_id: str, task_ids: Sequence[str] = ()) -> Any:
        return {key: chunks for key, chunks in self.chunks.items() if not task_ids or key in task_ids}

    async def run(
        self,
        document: Json,
        *,
        workflow_id: str,
        inputs: dict[str, Json],
        on_event: Callable[[Published], None],
        on_submitted: Callable[[Submitted], None],
    ) -> WorkflowResult:
        self.done.append(("run", inputs))
        self.document = document
        if self.problem is not None:
            raise self.problem
        on_submitted(Submitted(d.WorkflowSubmitted(workflow_id=workflow_id)))  # type: ignore[arg-type]
        for each in self.events:
            on_event(each)
        self.workflows = [a_workflow(workflow_id, each.status) for each in self.workflows]
        return await self.result(workflow_id)

    async def submit(self, document: Json, *, workflow_id: str, inputs: dict[str, Json]) -> Submitted:
        if self.problem is not None:
            raise self.problem
        return Submitted(d.WorkflowSubmitted(workflow_id=workflow_id))  # type: ignore[arg-type]

    async def history(self, workflow_id: str, after: int = 0) -> AsyncIterator[Published]:
        for each in self.events:
            yield each

    async def watch(self, workflow_id: str, after: int = 0) -> AsyncIterator[Published]:
        for each in self.events:
            yield each

    async def cancel(self, workflow_id: str, reason: str = "") -> p.DataSaved:
        self.done.append(("cancel", workflow_id, reason))
        return p.DataSaved(status="ok")

    async def delete(self, workflow_id: str) -> p.DataSaved:
        self.done.append(("delete", workflow_id))
        if (await self.status(workflow_id)).status == "running":
            raise WorkflowConflict(f"{workflow_id} is running: cancel it first, and wait for its end")
        return p.DataSaved(status="ok")

    async def resolve(self, *what: Any, attempt: int) -> p.DataSaved:
        self.done.append(("resolve", *what, attempt))
        return p.DataSaved(status="ok")

    async def set_priority(self, *what: Any) -> p.DataSaved:
        self.done.append(("priority", *what))
        return p.DataSaved(status="ok")

    async def ask(self, event: Event, *, to: str = "") -> Event:
        self.done.append((event.name, to, event))
        return self.answers.pop(0)

    async def components(self) -> Any:
        if self.problem is not None:
            raise self.problem
        return self.component_list

    async def protocols(self) -> r.ProtocolList:
        return self.protocol_list

    async def trace(self, correlation: str | None, **what: Any) -> h.TraceData:
        self.done.append(("trace", correlation))
        return self.trace_data


def call(client: FakeClient, *arguments: str) -> Result:
    """Run a command with it."""

    @asynccontextmanager
    async def connect(options: Options, *, works: bool) -> AsyncIterator[Session]:
        yield Session(client, options, client.embedded)  # type: ignore[arg-type]

    options = Options(environment={}, config_files=(), connect=connect)
    return runner().invoke(cli, list(arguments), obj=options)


def runner() -> CliRunner:
    """One that keeps the two streams apart, which click before 8.2 has to be told."""
    try:
        return CliRunner(mix_stderr=False)  # type: ignore[call-arg]
    except TypeError:
        return CliRunner()
