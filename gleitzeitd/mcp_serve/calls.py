"""One call, from its arguments to its answer.

A call is submitted under a new id and then waited for. Nothing that happens to the waiting happens to the
workflow: it goes on when the host has cancelled its request, when the time that it is waited for is over,
and when the hub is away. Only ``gleitzeit_cancel`` ends one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from gleitzeitd.client import Client, Published, WorkflowReport, new_workflow_id
from gleitzeitd.errors import (
    AnswerTimeout,
    GleitzeitError,
    HubUnreachable,
    MethodNotSupported,
    NotPermitted,
    ParameterInvalid,
    ProviderOverloaded,
    WorkflowInvalid,
    WorkflowNotFound,
)
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import provider as v
from gleitzeitd.mcp_serve import answers
from gleitzeitd.mcp_serve.answers import Answer
from gleitzeitd.mcp_serve.catalogue import Catalogue
from gleitzeitd.mcp_serve.tools import NAME_LIMIT as TOOL_NAME_LIMIT
from gleitzeitd.mcp_serve.tools import Tool, WorkflowTool
from gleitzeitd.model.names import NAME_LIMIT, is_identifier
from gleitzeitd.model.problem import Problem
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.providers.schema import not_json
from gleitzeitd.providers.schema import problems as broken

Report = Callable[[float, float, str], Awaitable[None]]
"""Told how far a call is: what is done, of what in all, and in words."""

_HANDLE: dict[str, Json] = {
    "type": "string",
    "minLength": 1,
    "maxLength": NAME_LIMIT,
    "description": "As the call has answered it.",
}
OWN: Mapping[str, tuple[str, dict[str, Json]]] = {
    answers.RESULT: (
        "Wait for a workflow that a call has started, and get its result, or that of one of its tasks.",
        {
            "workflow_id": _HANDLE,
            "task": {"type": "string", "description": "The id of a task; otherwise the last ones."},
            "wait_seconds": {
                "type": "number",
                "minimum": 0,
                "description": "How long to wait; at most, and if not given, as long as for a call.",
            },
        },
    ),
    answers.STATUS: (
        "How a workflow that a call has started stands: how many tasks have ended, and what it waits for.",
        {"workflow_id": _HANDLE},
    ),
    answers.CANCEL: (
        "End a workflow that a call has started: nothing more of it runs.",
        {"workflow_id": _HANDLE, "reason": {"type": "string"}},
    ),
}
"""Our own tools: what each is for, and its arguments, of which the first has to be there."""


def own_schema(name: str) -> dict[str, Json]:
    """JSON Schema of the arguments of one of our own tools."""
    return {
        "type": "object",
        "properties": dict(OWN[name][1]),
        "required": ["workflow_id"],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How calls are answered."""

    patience: float = 30.0
    """Seconds that a call is waited for."""
    at_once: int = 200
    """Calls that are waited for at the same time; more are refused."""


@dataclass(slots=True)
class Progress:
    """How far a workflow is, by what is heard of it; what is told only ever grows."""

    total: int
    told: float = 0.0
    _ended: set[str] = field(default_factory=set)
    _parts: dict[str, float] = field(default_factory=dict)

    def see(self, event: Event) -> str | None:
        """What to tell of it, if it has come further."""
        said = self._apply(event)
        now = len(self._ended) + sum(part for task, part in self._parts.items() if task not in self._ended)
        if said is None or now <= self.told:
            return None
        self.told = min(now, float(self.total))
        return said

    def _apply(self, event: Event) -> str | None:
        match event:
            case e.TaskCompleted(task_id=task_id):
                self._ended.add(task_id)
                return f"{task_id}: completed"
            case e.TaskFailed(task_id=task_id, retry_in=None):
                self._ended.add(task_id)
                return f"{task_id}: failed"
            case d.TaskSkipped(tasks=tasks) if tasks:
                self._ended.update(each.task_id for each in tasks)
                return f"{tasks[0].task_id}: skipped"
            case v.TaskProgress(task_id=task_id, progress=part, message=message):
                self._parts[task_id] = max(0.0, min(part, 0.99))
                return f"{task_id}: {message or f'{part:.0%}'}"
            case _:
                return None


class Calls:
    """The calls of one server."""

    def __init__(
        self, client: Client, catalogue: Catalogue, settings: Settings, tell: Callable[[str], None]
    ) -> None:
        """``tell`` is told about every call, without its arguments."""
        self._client = client
        self._catalogue = catalogue
        self.settings = settings
        self._tell = tell
        self._waiting = 0

    async def answer(self, name: str, arguments: dict[str, Json], host: str, report: Report) -> Answer:
        """Call the tool of this name for the host of this name and version; errors are answers as well."""
        try:
            # Whoever wants to know how calls stand, or to end some, is heard all the same.
            quick = name in (answers.STATUS, answers.CANCEL)
            if self._waiting >= self.settings.at_once and not quick:
                raise ProviderOverloaded(f"{self._waiting} calls are being waited for: try again later")
            self._waiting += 1
            try:
                if name in OWN:
                    return await self._own(name, arguments, report)
                tools = await self._catalogue.tools()
                if name not in tools:
                    raise self._unknown(name, tools)
                return await self._call(tools[name], arguments, host, report)
            finally:
                self._waiting -= 1
        except WorkflowInvalid as problem:
            return answers.refused(problem, problem.problems)
        except GleitzeitError as problem:
            return answers.refused(problem)

    def _unknown(self, name: str, tools: Collection[str]) -> GleitzeitError:
        forbidden = self._catalogue.why_not(name)
        if forbidden is not None:
            self._tell(f"refused: {forbidden}")
            return NotPermitted(forbidden)
        name = name[: 2 * TOOL_NAME_LIMIT]
        return MethodNotSupported(f"there is no tool {name!r}{did_you_mean(name, [*tools, *OWN])}")

    # --- workflows and methods ----------------------------------------------------------------

    async def _call(self, tool: Tool, arguments: dict[str, Json], host: str, report: Report) -> Answer:
        problems = tool.problems(arguments)
        if problems:
            return _refused(tool, problems)
        workflow_id = new_workflow_id(tool.name, self._client.namespace)
        try:
            await self._client.submit(
                tool.marked(arguments, host), workflow_id=workflow_id, inputs=tool.inputs(arguments)
            )
        except (AnswerTimeout, HubUnreachable) as problem:
            return _unanswered(problem, workflow_id)
        self._tell(f"{tool.name}: {workflow_id} was submitted for {host}")
        await report(0, tool.steps, f"submitted as {workflow_id}")
        return await self._waited_for(workflow_id, tool.steps, self.settings.patience, report)

    async def _waited_for(
        self, workflow_id: str, steps: int, seconds: float, report: Report, task: str = ""
    ) -> Answer:
        """What became of a workflow that is known to be durable, or how it stands after so long."""
        try:
            ended = await self._followed(workflow_id, steps, seconds, report)
            workflow = await self._client.status(workflow_id)
            if ended or workflow.has_ended:
                return answers.ended(workflow, await self._client.result(workflow_id), task)
            counts = (await self._client.progress(workflow_id)).counts
        except (AnswerTimeout, HubUnreachable) as problem:
            return answers.unseen(workflow_id, problem)
        return answers.going(workflow, counts, seconds)

    async def _followed(self, workflow_id: str, steps: int, seconds: float, report: Report) -> bool:
        """Whether it has ended within so many seconds."""
        progress = Progress(steps)
        try:
            async with asyncio.timeout(seconds), aclosing(self._client.watch(workflow_id)) as events:
                async for published in events:
                    await _tell_progress(progress, published, report)
        except TimeoutError:
            return False
        return True

    # --- our own ------------------------------------------------------------------------------

    async def _own(self, name: str, arguments: dict[str, Json], report: Report) -> Answer:
        if stray := not_json(arguments):
            return _invalid(name, [Problem(path=stray[0], message=f"{stray[1]} is no JSON")])
        found = broken(own_schema(name), arguments)
        if found:
            return _invalid(name, [Problem(path=one.path, message=one.message) for one in found])
        workflow_id = str(arguments["workflow_id"])
        if not is_identifier(workflow_id):
            raise WorkflowNotFound(f"{workflow_id!r}: no workflow has such an id")
        workflow = await self._permitted(workflow_id)
        if name == answers.STATUS:
            return answers.standing(workflow, (await self._client.progress(workflow_id)).counts)
        if name == answers.CANCEL:
            await self._client.cancel(workflow_id, str(arguments.get("reason") or f"{name} was called"))
            self._tell(f"{workflow_id} is cancelled")
            return answers.cancelling(await self._client.status(workflow_id))
        seconds = min(float(arguments.get("wait_seconds", self.settings.patience)), self.settings.patience)
        task = str(arguments.get("task", ""))
        return await self._waited_for(workflow_id, workflow.tasks, seconds, report, task)

    async def _permitted(self, workflow_id: str) -> WorkflowReport:
        """The workflow, if it came from a tool that is served here.

        Raises:
            WorkflowNotFound: there is none.
            NotPermitted: it came otherwise.
        """
        workflow = await self._client.status(workflow_id)
        if not await self._catalogue.permits(answers.origin(workflow)):
            raise NotPermitted(f"{workflow_id} was not started by a tool of this server")
        return workflow


async def _tell_progress(progress: Progress, published: Published, report: Report) -> None:
    said = progress.see(published.event)
    if said is not None:
        await report(progress.told, progress.total, said)


def _refused(tool: Tool, problems: list[Problem]) -> Answer:
    if isinstance(tool, WorkflowTool):
        listed = "; ".join(map(str, problems))
        return answers.refused(WorkflowInvalid(f"{tool.name}: {listed}", problems), problems)
    return _invalid(tool.name, problems)


def _invalid(name: str, problems: list[Problem]) -> Answer:
    return answers.refused(ParameterInvalid(f"{name}: {'; '.join(map(str, problems))}"), problems)


def _unanswered(problem: GleitzeitError, workflow_id: str) -> Answer:
    kind = type(problem)
    text = f"{problem}. Whether {workflow_id} was accepted is not known: {answers.STATUS} tells it later"
    return answers.refused(kind(text), workflow_id=workflow_id)
