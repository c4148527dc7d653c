"""The Python client: submit workflows, watch them, read what became of them.

    async with Client(hub_urls=["http://localhost:8000"]) as client:
        result = await client.run("pipeline.yaml", inputs={"day": "monday"})
        print(result.status, result.tasks["report"].result)

A client is a component as any other: it speaks with the hub, and comes back by itself when the hub was
away. Every request has a deadline; until then it is repeated. Nothing depends on the client staying: a
workflow that was submitted goes on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TypeVar

from gleitzeitd.errors import (
    AnswerTimeout,
    GleitzeitError,
    HubUnreachable,
    WorkflowConflict,
    WorkflowInvalid,
    WorkflowNotFound,
)
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import Effects
from gleitzeitd.machines.client import Client as ClientMachine
from gleitzeitd.machines.client import Published
from gleitzeitd.machines.feed import read_entry
from gleitzeitd.model.ledger import OutputChunk, Verdict
from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import ComponentId, TaskId, WorkflowId
from gleitzeitd.model.report import (
    Blocking,
    TaskReport,
    TaskResult,
    WorkflowReport,
    WorkflowResult,
    read_item,
    workflow_result,
)
from gleitzeitd.model.workflow import Priority
from gleitzeitd.plain import Json, from_plain
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.connection import LinkSettings
from gleitzeitd.runtime.conversation import Desk, Stream, as_exception
from gleitzeitd.runtime.identity import client_identity
from gleitzeitd.runtime.patience import Patience
from gleitzeitd.runtime.submission import Source, Submitted, checked, id_for, namespace_in, new_workflow_id
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tls import Trust, trust_in

__all__ = [
    "Blocking",
    "Client",
    "Published",
    "Submitted",
    "TaskReport",
    "TaskResult",
    "Trust",
    "WorkflowReport",
    "WorkflowResult",
    "new_workflow_id",
    "trust_in",
]

DEFAULT_HUB = "http://localhost:8000"
ANSWER_SECONDS = 30.0
"""How long a request waits for its answer, unless told otherwise."""
CONNECT_SECONDS = 10.0
"""How long the first connection may take."""
CLOSE_SECONDS = 2.0
"""How long leaving may take."""
PAGE = 500
"""Items read at once."""
RESULTS_PAGE = 100
"""Results and outputs read at once: they can be large."""
OnEvent = Callable[[Published], None]
E = TypeVar("E", bound=Event)

_ENDINGS = (d.WorkflowCompleted, d.WorkflowFailed, d.WorkflowCancelled)


class Client:
    """One connection to the system, by way of one or more hubs."""

    def __init__(
        self,
        hub_urls: str | Sequence[str] = DEFAULT_HUB,
        token: str | None = None,
        name: str = "client",
        *,
        timeout: float = ANSWER_SECONDS,
        connect_timeout: float = CONNECT_SECONDS,
        on_waiting: Callable[[str], None] | None = None,
        trust: Trust | None = None,
        limits: WorkflowLimits = LIMITS,
    ) -> None:
        """``timeout`` is a request's, in seconds. ``on_waiting`` is told why an answer takes long. ``trust``
        is for hubs that speak TLS: ``trust_in(ca="ca.pem")``; without it, this host has to know their CA.
        ``limits`` are those of workflows; the resolver that accepts them has its own.
        """
        self.limits, self.namespace = limits, namespace_in(token)
        self.hub_urls = [hub_urls] if isinstance(hub_urls, str) else list(hub_urls)
        self.timeout = timeout
        self._connect_timeout = connect_timeout
        self._desk = Desk(on_waiting, self._silence)
        self._patience = Patience(on_waiting)
        identity = client_identity(name)
        self._machine = ClientMachine(identity.component_id)
        self._component = Component(
            self._machine,
            identity,
            hub_urls=self.hub_urls,
            token=token,
            performer=self._desk,
            settings=LinkSettings(shutdown_seconds=CLOSE_SECONDS),
            trust=trust,
        )
        self._tasks = Tasks()
        self._running: asyncio.Task[None] | None = None
        self._requests = 0

    # --- connection ---------------------------------------------------------------------------

    async def __aenter__(self) -> Client:
        """Connect.

        Raises:
            HubUnreachable: no hub of these URLs answers in time; TlsFailed if that is a matter of TLS.
            NotAuthenticated: the hub does not accept the token.
        """
        try:
            self._running = self._tasks.spawn(self._run(), name="client")
            accepted = self._tasks.spawn(self._accepted(), name="client: registration")
            await asyncio.wait({self._running, accepted}, return_when=asyncio.FIRST_COMPLETED)
            if not accepted.done():
                await self._running
            problem = await accepted
            if problem is not None:
                raise problem
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave. Requests that still wait fail."""
        self._desk.close(HubUnreachable("the client was closed"))
        if self._running is not None:
            self._component.stop()
            await asyncio.wait({self._running}, timeout=CLOSE_SECONDS)
        await self._tasks.cancel()

    async def _run(self) -> None:
        try:
            await self._component.run()
        except GleitzeitError as problem:
            self._desk.close(problem)

    async def _accepted(self) -> GleitzeitError | None:
        try:
            await self._component.registered(self._connect_timeout)
        except GleitzeitError as problem:
            return problem
        return None

    def _hubs(self) -> str:
        return ", ".join(self.hub_urls)

    def _silence(self) -> str:
        return "" if self._component.link.is_registered() else f"the hub at {self._hubs()} cannot be reached"

    def _perform(self, effects: Effects) -> None:
        self._component.perform(effects)

    # --- requests -----------------------------------------------------------------------------

    async def ask(self, event: Event, timeout: float | None = None, *, to: str = "") -> Event:  # noqa: ASYNC109
        """Send any command that a client may send (to the component ``to``, if it is for one), and wait for
        its answer. Where the system has no room for it now, it is asked again after a while, for a minute.

        Raises:
            AnswerTimeout: the message says what was awaited, and which component is missing, if one is.
            HubUnreachable: the connection was lost for good.
            GleitzeitError: the answer was an error.
        """
        seconds = self.timeout if timeout is None else timeout
        return await self._patience.through(lambda: self._ask_once(event, seconds, to))

    async def _ask_once(self, event: Event, timeout: float, to: str) -> Event:  # noqa: ASYNC109
        self._requests += 1
        request_id = f"request {self._requests}"
        answer = self._desk.expect(request_id)
        try:
            self._perform(self._machine.ask(request_id, event, ComponentId(to) if to else None))
            async with asyncio.timeout(timeout):
                return await answer
        except (TimeoutError, asyncio.CancelledError) as problem:
            self._perform(self._machine.forget(request_id))
            if not isinstance(problem, TimeoutError):
                raise
            because = self._desk.missing(request_id) or self._silence()
            raise AnswerTimeout(
                f"no answer to {event.name} within {timeout:g} s{': ' + because if because else ''}"
            ) from None
        finally:
            self._desk.forget(request_id)

    async def _ask_for(self, kind: type[E], event: Event) -> E:
        answer = await self.ask(event)
        if not isinstance(answer, kind):
            raise GleitzeitError(f"{event.name} was answered by {answer.name}, not by {kind.name}")
        return answer

    async def _pages(
        self, query: Callable[[Json], p.QueryData], after: Json = None
    ) -> AsyncGenerator[Json, None]:
        while True:
            page = await self._ask_for(p.DataRetrieved, query(after))
            for item in page.items:
                yield item
            if page.next is None:
                return
            after = page.next

    async def _saved(
        self, event: d.CancelWorkflow | d.ResolveTask | q.TaskPriorityChanged | p.DeleteWorkflow
    ) -> p.DataSaved:
        saved = await self._ask_for(p.DataSaved, event)
        if saved.status == "missing":
            raise WorkflowNotFound(f"{event.workflow_id}: {saved.message or 'no such workflow'}")
        if saved.status not in ("ok", "duplicate"):
            raise WorkflowConflict(f"{event.workflow_id}: {saved.message or saved.status}")
        return saved

    # --- submitting ---------------------------------------------------------------------------

    async def submit(
        self,
        workflow: Source,
        *,
        workflow_id: str | None = None,
        inputs: Mapping[str, Json] | None = None,
    ) -> Submitted:
        """Have a workflow run; return as soon as it is durable.

        Submitting the same again under the same ``workflow_id`` (or the document's ``id``) has no effect.

        Raises:
            WorkflowInvalid: nothing runs; ``problems`` says why.
            WorkflowConflict: another workflow has this id.
        """
        document, reading = await asyncio.to_thread(checked, workflow, self.limits)
        return await self._submit(document, id_for(reading, workflow_id, self.namespace), inputs or {})

    async def _submit(self, document: Json, workflow_id: WorkflowId, inputs: Mapping[str, Json]) -> Submitted:
        command = d.SubmitWorkflow(workflow_id=workflow_id, workflow=document, inputs=dict(inputs))
        answer = await self.ask(command)
        if isinstance(answer, d.WorkflowRefused):
            if answer.error.code == WorkflowInvalid.code:
                raise WorkflowInvalid(answer.error.message, answer.problems)
            raise as_exception(answer.error)
        if not isinstance(answer, d.WorkflowSubmitted):
            raise GleitzeitError(f"submit_workflow was answered by {answer.name}")
        return Submitted(answer)

    async def run(
        self,
        workflow: Source,
        *,
        workflow_id: str | None = None,
        inputs: Mapping[str, Json] | None = None,
        on_event: OnEvent | None = None,
        on_submitted: Callable[[Submitted], None] | None = None,
    ) -> WorkflowResult:
        """Submit, follow to the end, and read the results; a failed workflow is a result as well.

        ``on_event`` sees every fact about the workflow in order, and the output of its tasks as it comes.
        Cancelling this call leaves the workflow running.

        Raises:
            WorkflowInvalid: nothing ran.
        """
        document, reading = await asyncio.to_thread(checked, workflow, self.limits)
        identifier = id_for(reading, workflow_id, self.namespace)
        # Watched before it is submitted: output is volatile, and nothing of it should be missed.
        async with self._stream(identifier) as stream:
            submitted = await self._submit(document, identifier, inputs or {})
            if on_submitted is not None:
                on_submitted(submitted)
            async with aclosing(_until_the_end(stream)) as events:
                async for published in events:
                    if on_event is not None:
                        on_event(published)
        return await self.result(identifier)

    # --- looking ------------------------------------------------------------------------------

    async def status(self, workflow_id: str) -> WorkflowReport:
        """One workflow, with what blocks it.

        Raises:
            WorkflowNotFound: it is unknown.
        """
        query = p.QueryData(kind_of_data="workflow", workflow_id=WorkflowId(workflow_id))
        page = await self._ask_for(p.DataRetrieved, query)
        if not page.items:
            raise WorkflowNotFound(f"{workflow_id}: no such workflow")
        return read_item(WorkflowReport, page.items[0], "workflow")

    async def tasks(self, workflow_id: str) -> Sequence[TaskReport]:
        """Its tasks, in document order; none for an unknown workflow."""

        def query(after: Json) -> p.QueryData:
            return p.QueryData(
                kind_of_data="tasks", workflow_id=WorkflowId(workflow_id), after=after, limit=PAGE
            )

        return [read_item(TaskReport, item, "task") async for item in self._pages(query)]

    async def result(self, workflow_id: str) -> WorkflowResult:
        """A workflow with the results of its tasks so far.

        Raises:
            WorkflowNotFound: it is unknown.
        """
        workflow = await self.status(workflow_id)
        tasks = await self.tasks(workflow_id)
        results = await self._values("results", workflow_id, ())
        return workflow_result(workflow, tasks, results)

    async def output(
        self, workflow_id: str, task_ids: Sequence[str] = ()
    ) -> Mapping[str, Sequence[OutputChunk]]:
        """What these tasks wrote in their last attempt that has ended; all tasks, if none is named."""
        found = await self._values("output", workflow_id, task_ids)
        return {
            task_id: [from_plain(OutputChunk, chunk, "output") for chunk in chunks or ()]
            for task_id, chunks in found.items()
        }

    async def _values(self, kind: str, workflow_id: str, task_ids: Sequence[str]) -> dict[str, Json]:
        def query(after: Json) -> p.QueryData:
            return p.QueryData(
                kind_of_data=kind,
                workflow_id=WorkflowId(workflow_id),
                task_ids=[*task_ids],
                after=after,
                limit=RESULTS_PAGE,
            )

        return {task_id: value async for task_id, value in self._pages(query)}

    async def watch(self, workflow_id: str, after: int = 0) -> AsyncGenerator[Published, None]:
        """Everything about a workflow, from the feed entry after ``after`` on, until it has ended.

        Raises:
            WorkflowNotFound: it is unknown, or was deleted before its end was heard of.
        """
        if (await self.status(workflow_id)).has_ended:
            async for published in self.history(workflow_id, after):
                yield published
            return
        stream = self._stream(workflow_id, after, exists=True)
        async with stream, aclosing(_until_the_end(stream)) as events:
            async for published in events:
                yield published

    async def history(self, workflow_id: str, after: int = 0) -> AsyncGenerator[Published, None]:
        """What is known to have happened to a workflow by now; nothing for an unknown one."""

        def query(last: Json) -> p.QueryData:
            return p.QueryData(
                kind_of_data="history", workflow_id=WorkflowId(workflow_id), after=last, limit=PAGE
            )

        async for item in self._pages(query, after):
            entry = read_entry(item)
            yield Published(entry.event, entry.correlation_id)

    async def follow(self, topic: str) -> AsyncGenerator[Published, None]:
        """What happens from now on under ``components``, ``queues``, or ``*`` (everything); it never ends."""
        async with self._stream(topic) as stream:
            async for published in stream:
                yield published

    def _stream(self, topic: str, after: int = 0, *, exists: bool = False) -> Stream:
        return Stream(self._desk, topic, after, self._machine, self._perform, exists=exists)

    async def components(self) -> Sequence[h.ComponentInfo]:
        """Who is connected to the hub; the hub itself comes first."""
        return (await self._ask_for(h.ComponentList, h.ListComponents())).components

    async def protocols(self) -> r.ProtocolList:
        """Which protocols exist, and who serves them."""
        return await self._ask_for(r.ProtocolList, r.ListProtocols())

    async def trace(
        self, correlation: str | None = None, *, event: str | None = None, limit: int = 1000
    ) -> h.TraceData:
        """The last events that went through the hub, oldest first."""
        return await self._ask_for(
            h.TraceData, h.QueryTrace(correlation=correlation, event=event, limit=limit)
        )

    async def progress(self, workflow_id: str) -> d.StatusResponse:
        """How far a workflow is, from the memory of its resolver: cheap, however many tasks it has."""
        return await self._ask_for(d.StatusResponse, d.QueryStatus(workflow_id=WorkflowId(workflow_id)))

    async def check(self, workflow_id: str) -> d.StatusResponse:
        """Have the workflow's resolver look at it again, from the ledger."""
        return await self._ask_for(d.StatusResponse, d.CheckDependencies(workflow_id=WorkflowId(workflow_id)))

    # --- changing -----------------------------------------------------------------------------

    async def cancel(self, workflow_id: str, reason: str = "") -> p.DataSaved:
        """Run nothing more of a workflow, and end what runs; ``duplicate`` if it was being cancelled already.

        Raises:
            WorkflowNotFound: it is unknown.
            WorkflowConflict: it has ended.
        """
        return await self._saved(d.CancelWorkflow(workflow_id=WorkflowId(workflow_id), reason=reason))

    async def delete(self, workflow_id: str) -> p.DataSaved:
        """Keep nothing of a finished workflow any more; ``duplicate`` if there is no such workflow.

        Raises:
            WorkflowConflict: it has not finished: cancel it first.
        """
        return await self._saved(p.DeleteWorkflow(workflow_id=WorkflowId(workflow_id)))

    async def set_priority(
        self, workflow_id: str, priority: Priority, task_ids: Sequence[str] = ()
    ) -> p.DataSaved:
        """Change the priority of these tasks; without any, of all that do not run yet."""
        return await self._saved(
            q.TaskPriorityChanged(
                workflow_id=WorkflowId(workflow_id),
                priority=int(priority),
                task_ids=[TaskId(each) for each in task_ids],
            )
        )

    async def resolve(
        self, workflow_id: str, task_id: str, verdict: Verdict, result: Json = None, *, attempt: int = 0
    ) -> p.DataSaved:
        """Say what became of a task that is unknown; ``attempt`` is the one judged, 0 the current one.

        Raises:
            WorkflowConflict: it is not unknown (any more).
        """
        w, t = WorkflowId(workflow_id), TaskId(task_id)
        judged = d.ResolveTask(workflow_id=w, task_id=t, verdict=verdict, attempt=attempt, result=result)
        return await self._saved(judged)

    # The last one, since from here on the name means the method.

    async def list(
        self, *, status: str | None = None, name_contains: str | None = None, limit: int | None = None
    ) -> Sequence[WorkflowReport]:
        """Workflows, newest first, without their inputs and documents; at most ``limit``."""

        def query(after: Json) -> p.QueryData:
            return p.QueryData(
                kind_of_data="workflows",
                after=after,
                limit=PAGE if limit is None else min(limit, PAGE),
                status=status,
                name_contains=name_contains,
            )

        found = []
        async with aclosing(self._pages(query)) as pages:
            async for item in pages:
                found.append(read_item(WorkflowReport, item, "workflow"))
                if len(found) == limit:
                    break
        return found


async def _until_the_end(stream: Stream) -> AsyncGenerator[Published, None]:
    async for published in stream:
        yield published
        if isinstance(published.event, _ENDINGS):
            return
