"""Carries out what the ledger's machine asks for: commits, and reads that become pages.

A page is bounded by its weight, not only by its length, so that no frame outgrows what a connection
may carry.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gleitzeitd.errors import GleitzeitError, MalformedData, StoreError
from gleitzeitd.events.audit import AuditRetrieved, QueryAudit
from gleitzeitd.events.codec import dumps
from gleitzeitd.events.persistence import DataRetrieved, QueryData
from gleitzeitd.machines.audit import ReadAudit
from gleitzeitd.machines.base import Request
from gleitzeitd.machines.feed import entry_of
from gleitzeitd.machines.persistence import Requests
from gleitzeitd.machines.retention import Find, Sweep
from gleitzeitd.model.ledger import Audience, TaskRow, WorkflowRow
from gleitzeitd.model.names import SHARDS, Role, Shard, TaskId, WorkflowId, is_identifier, shard_of
from gleitzeitd.model.report import Blocking, TaskReport, WorkflowReport
from gleitzeitd.plain import Json, from_plain, to_plain
from gleitzeitd.runtime.clock import earlier, utc_now
from gleitzeitd.runtime.performer import Finished, Performer
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.stores.base import AuditQuery, Recovered, Store

log = logging.getLogger(__name__)

PAGE_BYTES = 1_000_000
"""What a page of values may weigh, unless its first item alone is heavier."""
PAGE_TASKS = 5000
"""Tasks in the workflows of one snapshot page, unless its first workflow alone has more."""
AUDIT_AT_ONCE = 5000
"""Records of the audit that go in one step."""
_STEP = 50


@dataclass(frozen=True, slots=True)
class _Page:
    items: list[Json]
    next: Json = None
    number: int = 0
    horizon: int = 0
    known: bool = True


class LedgerPerformer(Performer):
    """One store, opened before the ledger takes part and closed after it has left."""

    def __init__(self, store: Store, clock: Callable[[], str] = utc_now) -> None:
        """``clock`` is the wall clock, ISO 8601 UTC."""
        self._store = store
        self._clock = clock
        self._recovered: Recovered | None = None
        self._tasks = Tasks()
        self._kinds: dict[str, Callable[[QueryData, list[Json]], Awaitable[_Page]]] = {
            "workflow": self._workflow,
            "workflows": self._workflows,
            "tasks": self._task_page,
            "results": self._results,
            "output": self._output,
            "history": self._history,
            "feed": self._feed,
            "snapshot": self._snapshot,
        }

    async def start(self, finished: Finished) -> None:
        """Open the store.

        Raises:
            StoreLocked, StoreCorrupt: this process cannot be the ledger.
        """
        await super().start(finished)
        self._recovered = await self._store.open()

    async def stop(self) -> None:
        """What runs is finished first: an answer that was promised after a commit is not taken back."""
        await self._tasks.cancel()
        await self._store.close()

    def perform(self, call_id: str, request: Request) -> None:
        self._tasks.spawn(self._perform(call_id, request), name=call_id)

    async def _perform(self, call_id: str, request: Request) -> None:
        try:
            answer: object = await self.answer(request)
        except GleitzeitError as problem:
            answer = problem
        except Exception as problem:  # the boundary of the store: whoever waits for the answer gets one
            if not isinstance(request, Requests.Read | ReadAudit):
                answer = problem  # ends the ledger, which cannot know what has been kept
            else:  # what one of them asks must not keep everybody else out
                log.error("a query could not be read", exc_info=problem)
                answer = StoreError(f"the query could not be read: {type(problem).__name__}")
        self.finished(call_id, answer)

    async def answer(self, request: Request) -> object:
        match request:
            case Requests.Open():
                assert self._recovered is not None, "start() comes first"
                return self._recovered
            case Requests.Commit(changes):
                return await self._store.commit(changes, self._clock())
            case Requests.Read(query, blocked):
                page = await self._read(query, blocked)
                return DataRetrieved(
                    items=page.items,
                    next=page.next,
                    number=page.number,
                    horizon=page.horizon,
                    known=page.known,
                )
            case Find():
                return await self._due(request)
            case Sweep():
                return await self._sweep(request)
            case ReadAudit(query):
                return await self._audit(query)
        raise AssertionError(f"no rule for {request!r}")

    async def _due(self, find: Find) -> list[WorkflowId]:
        now = self._clock()
        spare = earlier(now, find.spare_seconds)
        before = "" if find.keep_seconds is None else min(spare, earlier(now, find.keep_seconds))
        return await self._store.finished(before=before, keep=find.keep, spare=spare, limit=find.limit)

    async def _sweep(self, sweep: Sweep) -> int:
        now, seconds = self._clock(), sweep.audit_seconds
        rows = await self._store.sweep(sweep.rows, earlier(now, sweep.forget_seconds))
        before = "" if seconds is None else earlier(now, seconds)
        return rows + await self._store.trim_audit(before=before, keep=sweep.audit_keep, limit=AUDIT_AT_ONCE)

    async def _audit(self, query: QueryAudit) -> AuditRetrieved:
        wish = query.wish
        page = await self._store.audit(
            AuditQuery(
                after=query.after or 0,
                before=query.before,
                newest_first=query.after is None,
                since=wish.since,
                subject=wish.subject,
                action=wish.action,
                object=wish.object,
                outcome=wish.outcome,
                limit=query.limit,
            )
        )
        return AuditRetrieved(
            records=page.records,
            more=len(page.records) == query.limit,
            last=page.last,
            horizon=page.horizon,
            anchor=page.anchor,
        )

    async def _read(self, query: QueryData, blocked: list[Json]) -> _Page:
        kind = self._kinds.get(query.kind_of_data)
        if kind is None:
            expected = ", ".join(self._kinds)
            found = f"expected one of {expected}, found {query.kind_of_data!r}"
            raise MalformedData("query_data.kind_of_data", found)
        if query.workflow_id is not None and not is_identifier(query.workflow_id):
            raise MalformedData("query_data.workflow_id", "expected the id of a workflow")
        if not 1 <= query.limit <= 10_000:
            raise MalformedData("query_data.limit", f"expected 1 to 10000, found {query.limit}")
        return await kind(query, blocked)

    # --- workflows and tasks, for people ------------------------------------------------------------

    async def _workflow(self, query: QueryData, blocked: list[Json]) -> _Page:
        row = await self._store.workflow(_workflow_id(query))
        if row is None:
            return _Page([])
        reasons = [from_plain(Blocking, item) for item in blocked]
        return _Page([to_plain(_workflow_report(row, reasons))])

    async def _workflows(self, query: QueryData, _: list[Json]) -> _Page:
        if query.after is not None and not isinstance(query.after, str):
            raise MalformedData("query_data.after", "expected the next of the page before")
        rows = await self._store.workflows(
            status=query.status,
            name_contains=query.name_contains,
            before=query.after,
            limit=query.limit,
            id_prefix=query.id_prefix,
        )
        last = f"{rows[-1].submitted_at}/{rows[-1].workflow_id}" if len(rows) == query.limit else None
        return _Page([to_plain(_workflow_report(row, [])) for row in rows], last)

    async def _task_page(self, query: QueryData, _: list[Json]) -> _Page:
        rows = await self._store.tasks(_workflow_id(query), _position(query), query.limit)
        last = rows[-1].position if len(rows) == query.limit else None
        return _Page([to_plain(_task_report(row)) for row in rows], last)

    async def _results(self, query: QueryData, _: list[Json]) -> _Page:
        workflow_id = _workflow_id(query)

        async def values(task_ids: list[TaskId]) -> list[Json]:
            found = await self._store.results(workflow_id, task_ids)
            return [[task_id, found[task_id]] for task_id in task_ids if task_id in found]

        return await self._values(query, values)

    async def _output(self, query: QueryData, _: list[Json]) -> _Page:
        workflow_id = _workflow_id(query)

        async def values(task_ids: list[TaskId]) -> list[Json]:
            found = await self._store.output(workflow_id, task_ids)
            return [[t, [to_plain(chunk) for chunk in found[t]]] for t in task_ids if t in found]

        return await self._values(query, values)

    async def _values(
        self, query: QueryData, values: Callable[[list[TaskId]], Awaitable[list[Json]]]
    ) -> _Page:
        """Of the tasks named, or of all, as many as fit into a page."""
        items: list[Json] = []
        weight = 0
        if query.task_ids:
            for start in range(0, len(query.task_ids), _STEP):
                named = [TaskId(task_id) for task_id in query.task_ids[start : start + _STEP]]
                for item in await values(named):
                    items.append(item)
                    weight += len(dumps(item))
                    if weight >= PAGE_BYTES:
                        return _Page(items)
            return _Page(items)
        after = _position(query)
        while weight < PAGE_BYTES and len(items) < query.limit:
            rows = await self._store.tasks(_workflow_id(query), after, _STEP)
            if not rows:
                return _Page(items)
            for row in rows:
                found = await values([row.task_id])
                items += found
                after = row.position
                weight += sum(len(dumps(item)) for item in found)
                if weight >= PAGE_BYTES:
                    break
        return _Page(items, after)

    async def _history(self, query: QueryData, _: list[Json]) -> _Page:
        workflow_id = _workflow_id(query)
        facts = await self._store.history(workflow_id, max(_position(query), 0), query.limit)
        last = facts[-1].stamp.number if len(facts) == query.limit else None
        known = bool(facts) or bool(await self._store.tasks(workflow_id, -1, 1))  # each has a task
        return _Page([entry_of(fact) for fact in facts], last, known=known)

    # --- shards, for those who own them ---------------------------------------------------------------

    async def _feed(self, query: QueryData, _: list[Json]) -> _Page:
        shard, audience = _shard(query), _audience(query)
        facts, horizon = await self._store.feed(shard, audience, max(_position(query), 0), query.limit)
        items: list[Json] = []
        weight = 0
        for fact in facts:
            items.append(entry_of(fact))
            weight += len(dumps(fact.body))
            if weight >= PAGE_BYTES:
                return _Page(items, fact.stamp.number, fact.stamp.number, horizon)
        number = facts[-1].stamp.number if facts else 0
        return _Page(items, number if len(facts) == query.limit else None, number, horizon)

    async def _snapshot(self, query: QueryData, _: list[Json]) -> _Page:
        if _audience(query) is Audience.QUEUE_MANAGER:
            return await self._ready(query)
        if query.workflow_id is not None:
            return await self._one_workflow(query.workflow_id)
        if query.after is not None and not isinstance(query.after, str):
            raise MalformedData("query_data.after", "expected the next of the page before")
        found, number = await self._store.open_workflows(
            _shard(query), None if query.after is None else WorkflowId(query.after), min(query.limit, 100)
        )
        items: list[Json] = []
        tasks = weight = 0
        for workflow in found:
            items.append(_taken_over(workflow.row, workflow.states))
            tasks += workflow.row.tasks
            weight += len(dumps(workflow.row.document)) + len(dumps(workflow.row.inputs))
            if tasks >= PAGE_TASKS or weight >= PAGE_BYTES:
                break
        more = len(items) < len(found) or len(found) == min(query.limit, 100)
        return _Page(items, items[-1]["workflow_id"] if items and more else None, number)

    async def _one_workflow(self, workflow_id: WorkflowId) -> _Page:
        shard = shard_of(workflow_id)
        found, number = await self._store.open_workflows(shard, _before(workflow_id), 1)
        items = [_taken_over(w.row, w.states) for w in found if w.row.workflow_id == workflow_id]
        return _Page(items, None, number)

    async def _ready(self, query: QueryData) -> _Page:
        after = None
        if query.after is not None:
            match query.after:
                case [str(workflow_id), str(task_id)]:
                    pass
                case _:
                    raise MalformedData("query_data.after", "expected the next of the page before")
            after = (WorkflowId(workflow_id), TaskId(task_id))
        entries, number = await self._store.ready_tasks(_shard(query), after, query.limit)
        items: list[Json] = [
            {"workflow_id": x.workflow_id, "correlation_id": x.correlation_id, "task": to_plain(x.task)}
            for x in entries
        ]
        last = [entries[-1].workflow_id, entries[-1].task.task_id] if len(entries) == query.limit else None
        return _Page(items, last, number)


def _before(workflow_id: WorkflowId) -> WorkflowId:
    """The greatest text that sorts before an id, for all ids that there can be."""
    return WorkflowId(workflow_id[:-1] + chr(ord(workflow_id[-1]) - 1) + "\U0010ffff")


def _taken_over(row: WorkflowRow, states: Json) -> Json:
    return {
        "workflow_id": row.workflow_id,
        "document": row.document,
        "inputs": row.inputs,
        "correlation_id": row.correlation_id,
        "state": row.state.value,
        "states": {task_id: state.value for task_id, state in states.items()},
    }


def _workflow_id(query: QueryData) -> WorkflowId:
    if query.workflow_id is None:
        raise MalformedData("query_data.workflow_id", f"missing; {query.kind_of_data} needs it")
    return query.workflow_id


def _shard(query: QueryData) -> Shard:
    if query.shard_number is None or not 0 <= query.shard_number < SHARDS:
        raise MalformedData("query_data.shard_number", f"expected 0 to {SHARDS - 1}")
    return query.shard_number


def _audience(query: QueryData) -> Audience:
    if query.audience not in (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER):
        raise MalformedData("query_data.audience", "expected dependency_resolver or queue_manager")
    return Audience.of(query.audience)


def _position(query: QueryData) -> int:
    if query.after is None:
        return -1
    if type(query.after) is not int or not -1 <= query.after < 2**63:
        raise MalformedData("query_data.after", "expected the next of the page before, a whole number")
    return query.after


def _workflow_report(row: WorkflowRow, blocked: list[Blocking]) -> WorkflowReport:
    return WorkflowReport(
        workflow_id=row.workflow_id,
        name=row.name,
        status=row.state.value,
        inputs=row.inputs,
        error=row.error,
        submitted_at=row.submitted_at,
        finished_at=row.finished_at,
        reason=row.reason,
        tasks=row.tasks,
        correlation_id=row.correlation_id,
        document=row.document,
        blocked=blocked,
    )


def _task_report(row: TaskRow) -> TaskReport:
    return TaskReport(
        task_id=row.task_id,
        name=row.name,
        status=row.state.value,
        attempt=row.attempt,
        method=row.method,
        protocol=row.protocol,
        dependencies=list(row.dependencies),
        priority=row.priority,
        engine=row.owner,
        provider=row.provider,
        failures=row.failures,
        crashes=row.crashes,
        error=row.error,
        retry_delay=row.retry_delay,
        ready_at=row.ready_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        max_attempts=row.retry.max_attempts,
    )
