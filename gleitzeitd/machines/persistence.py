"""The ledger: whether a change of state may happen, and the feed of what became true.

Changes are gathered while a transaction runs and committed together by the next one. Nobody is
answered, and nothing is published, before the commit. What is in memory here can be lost at any
time: leases, retries and timeouts (re-armed in full at a restart), owners of shards, and what is blocked.

* A lease ends when its engine does not list the attempt in its inventory, or says nothing for
  ``lease_seconds``; then the task is ready again.
* What has finished is deleted after a while, or when a client asks: :mod:`gleitzeitd.machines.retention`.
* A shard has one owner per role; an owner that does not claim for ``owner_seconds`` loses it to whoever
  claims next. Owners get equal shares. A new owner gets a new epoch, which makes the old one's asks stale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import GleitzeitError, LimitExceeded, StoreError
from gleitzeitd.events import Envelope, Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.machines import audit, changes, retention
from gleitzeitd.machines.base import Call, Context, Effects, Note, Reply, Request, SetTimer, Tell, caused
from gleitzeitd.machines.blocked import Blocked
from gleitzeitd.machines.deadlines import PREFIX as DEADLINE
from gleitzeitd.machines.deadlines import Deadlines, is_over
from gleitzeitd.machines.feed import event_of
from gleitzeitd.machines.namespaces import within
from gleitzeitd.machines.owners import Owners, claim_problem
from gleitzeitd.model import change as c
from gleitzeitd.model.ledger import Attempt, Fact, Recovered, TaskKey
from gleitzeitd.model.names import ComponentId, Role, shard_of
from gleitzeitd.plain import Json
from gleitzeitd.record import positional_record, record


@record
class Settings(audit.Settings):
    """Section ``[persistence]`` of persistence.toml."""

    lease_seconds: float = bounded(15.0, least=2.0, most=3600.0, unit="seconds")
    """How long an engine may stay silent before the tasks that it holds are given to others."""
    grace_seconds: float = bounded(2.0, least=0.5, most=60.0, unit="seconds")
    """How long an engine may hold a task without listing it in its inventory, and how long a disconnected
    one has to come back."""
    owner_seconds: float = bounded(3.0, least=1.0, most=60.0, unit="seconds")
    """How long a resolver or queue manager may stay silent before its shards go to others."""
    changes_per_commit: int = bounded(1000, least=1, most=100_000)
    """Changes that share one transaction, and so one fsync. What exceeds it waits for the next."""
    pending_limit: int = bounded(100_000, least=1000)
    """Changes that may wait for a transaction; beyond it, askers are told to try again later."""


class Requests:
    """What the ledger's performer is asked to do."""

    @positional_record
    class Open(Request):
        """Answered with :class:`~gleitzeitd.model.ledger.Recovered`."""

    @positional_record
    class Commit(Request):
        """Answered with a list of outcomes, one per change."""

        changes: list[c.Change]

    @positional_record
    class Read(Request):
        """Answered with the event that goes to the asker."""

        query: p.QueryData
        blocked: list[Json]
        """What is known to hold the workflow up; it is kept nowhere else."""


@dataclass(slots=True)
class _Pending:
    change: c.Change
    asker: Envelope | None = None
    claim: p.ClaimShard | None = None
    cause: str | None = None
    """The ``message_id`` that a change of our own follows from."""


@dataclass(slots=True)
class _Lease:
    engine: ComponentId
    deadline: float
    since: float


_SWEEP = "leases"
_SWEEP_SECONDS = 0.5
_PAUSE_SECONDS = 1.0
"""A timer that is later than this was not late by chance."""


@dataclass(slots=True)
class Persistence(audit.Auditor):
    """The ledger's decisions about time, order and answers; the rows are the store's."""

    role = Role.PERSISTENCE

    component_id: ComponentId
    settings: Settings = field(default_factory=Settings)
    _open: bool = False
    _pending: list[_Pending] = field(default_factory=list)
    _committing: list[_Pending] = field(default_factory=list)
    _suspects: list[_Pending] = field(default_factory=list)  # one of them made a transaction fail
    _leases: dict[Attempt, _Lease] = field(default_factory=dict)
    _held: dict[TaskKey, Attempt] = field(default_factory=dict)
    _held_by: dict[ComponentId, dict[Attempt, None]] = field(default_factory=dict)
    _cancelling: dict[Attempt, ComponentId] = field(default_factory=dict)
    _waking: dict[str, _Pending] = field(default_factory=dict)  # by timer
    _deadlines: Deadlines = field(default_factory=Deadlines)
    _owners: Owners = field(default_factory=Owners)
    _blocked: Blocked = field(default_factory=Blocked)
    _retention: retention.Retention = field(default_factory=retention.Retention)
    auditing: audit.Auditing = field(default_factory=audit.Auditing)
    _reads: dict[str, Envelope] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)
    _committed: int = 0
    _refused: int = 0  # changes, claims, statements of those who do not hold what they are about
    _trouble: str = ""
    """Why the last transaction failed; empty if it did not."""
    _sweeping: bool = False
    _sweep_due: float = 0.0
    _deaf: bool = False
    """No hub is connected."""

    # --- opening ------------------------------------------------------------------------------

    def start(self, now: float, at: str) -> Effects:
        """Until the store is open, changes gather and reads wait for it."""
        return [Call("open", Requests.Open())]

    def _opened(self, recovered: Recovered, now: float) -> Effects:
        self._open = True
        self._owners.recover(recovered.shards, now, self.settings.owner_seconds)
        cancelling = set(recovered.cancelling)
        for attempt, engine in recovered.held:
            self._lease(attempt, engine, now)
            if attempt.workflow_id in cancelling:
                self._cancelling[attempt] = engine
        effects: Effects = []
        for attempt, delay in recovered.waking:
            effects += self._wake_later(attempt, delay)
        effects += [self._deadlines.arm(*each) for each in recovered.deadlines]
        fields: dict[str, Json] = {"held": len(recovered.held), "retries": len(recovered.waking)}
        resting = self._retention.rest(self.settings)
        return [Note("info", "the ledger is open", fields), *resting, *effects, *self._sweep(now)]

    # --- changes ------------------------------------------------------------------------------

    def on_save_workflow(self, event: Event, ctx: Context) -> Effects:
        return self._ask(changes.of_workflow(event, ctx.envelope), ctx)

    def on_save_task(self, event: Event, ctx: Context) -> Effects:
        return self._ask(changes.of_task(event, ctx.envelope), ctx)

    def on_save_result(self, event: Event, ctx: Context) -> Effects:
        return self._ask(changes.of_result(event, ctx.envelope), ctx)

    def on_delete_workflow(self, event: p.DeleteWorkflow, ctx: Context) -> Effects:
        by = audit.actor_of(ctx.envelope)
        return self._ask(c.DeleteWorkflow(workflow_id=event.workflow_id, by=by), ctx)

    def propose(self, change: c.Change, asker: Envelope | None = None) -> Effects:
        self._pending.append(_Pending(change, asker))
        return []

    def _ask(self, change: c.Change, ctx: Context) -> Effects:
        if len(self._pending) >= self.settings.pending_limit:
            busy = LimitExceeded("too many changes wait: try again later", retry_after=1.0).info()
            return [Reply(p.PersistenceError(error=busy), ctx.envelope)]
        return self.propose(change, ctx.envelope)

    def settle(self, now: float, at: str) -> Effects:
        """One transaction at a time; the next one gathers meanwhile."""
        if self._committing or not (self._pending or self._suspects) or not self._open:
            return []
        if self._suspects:
            self._committing = [self._suspects.pop(0)]
        else:
            limit = self.settings.changes_per_commit
            self._committing, self._pending = self._pending[:limit], self._pending[limit:]
        return [Call("commit", Requests.Commit([entry.change for entry in self._committing]))]

    def call_finished(self, call_id: str, answer: object, now: float, at: str) -> Effects:
        if call_id.startswith("read/"):
            return self._read(call_id, answer)
        if isinstance(answer, Exception) and not isinstance(answer, GleitzeitError):
            raise answer
        if call_id.startswith(retention.CALLS):
            return self._retention.finished(call_id, answer, self.settings, self._committed)
        if call_id == "open":
            assert isinstance(answer, Recovered), answer
            return self._opened(answer, now)
        entries, self._committing = self._committing, []
        if isinstance(answer, GleitzeitError):
            return self._uncommitted(entries, answer)
        assert isinstance(answer, list)
        effects: Effects = []
        self._committed += len(entries)
        for entry, outcome in zip(entries, answer, strict=True):
            effects += self._settled(entry, outcome, now)
            if outcome.audited or outcome.status is not c.Status.OK:
                effects += self.audited(entry.change, outcome, now)
        if self._trouble:
            self._trouble = ""
            effects.append(Note("info", "transactions succeed again", {}))
        return effects + self._sweep(now)

    def _uncommitted(self, entries: list[_Pending], problem: GleitzeitError) -> Effects:
        """Nothing of the transaction has happened: askers are told, our own changes are tried again."""
        if len(entries) > 1 and not isinstance(problem, StoreError):
            # One change cannot be carried out. That must not cost the others their place.
            self._suspects = entries
            return []
        error = problem.info()
        effects: Effects = []
        if self._trouble != str(error):  # once per cause, not per retry
            self._trouble = str(error)
            effects.append(Note("error", "a transaction failed", {"error": error}))
        for entry in entries:
            if entry.asker is not None:
                effects.append(Reply(p.PersistenceError(error=error), entry.asker))
            elif isinstance(entry.change, c.WakeTask):
                effects += self._wake_later(entry.change.attempt, 1.0, entry.cause)
            elif isinstance(entry.change, c.Expire):
                effects.append(self._deadlines.arm(entry.change.deadline, 1.0, entry.cause))
            elif isinstance(entry.change, c.NoteAudit):
                effects += self.auditing.uncommitted(entry.change)
            elif isinstance(entry.change, c.DeleteWorkflow):
                effects += self._retention.uncommitted(self.settings)
        return effects

    # --- after the commit ------------------------------------------------------------------------

    def _settled(self, entry: _Pending, outcome: c.Outcome, now: float) -> Effects:
        effects: Effects = []
        cause = entry.asker.message_id if entry.asker is not None else entry.cause
        correlation_id = entry.asker.correlation_id if entry.asker is not None else None
        if outcome.status is c.Status.STALE:
            self._refused += 1
        if isinstance(entry.change, c.TakeShards):
            self._owners.took(entry.change, now)
        if entry.claim is not None and entry.asker is not None:
            effects.append(self._claimed(entry.claim, entry.asker))
        elif entry.asker is not None:
            effects.append(Reply(changes.answer_of(entry.change, outcome), entry.asker))
        if isinstance(entry.change, c.DeleteWorkflow):
            self._blocked.drop(entry.change.workflow_id)
            asked = entry.asker is not None
            effects += self._retention.settled(outcome, self._committed, asked=asked)
        if isinstance(entry.change, c.StartTask) and outcome.status is c.Status.OK:
            effects += self._deadlines.drop(entry.change.attempt.key)
        for key in outcome.released:
            self._release(key)
            effects += self._deadlines.drop(key)
        for execution in outcome.executions:
            attempt = Attempt(execution.workflow_id, execution.task_id, execution.attempt)
            self._lease(attempt, execution.engine_id, now)
            effects += self._deadlines.drop(attempt.key)
        for attempt, delay in outcome.waking:
            effects += self._wake_later(attempt, delay, cause)
        effects += [self._deadlines.arm(deadline, seconds, cause) for deadline, seconds in outcome.deadlines]
        for attempt, engine in outcome.cancel:
            if attempt in self._leases:
                self._cancelling[attempt] = engine
            effects.append(self._cancel(attempt, engine, correlation_id))
        for fact in outcome.facts:
            effects += self._publish(fact)
        return caused(effects, cause)

    def _publish(self, fact: Fact) -> Effects:
        self._owners.published(fact)
        effects: Effects = [Tell(event_of(fact), correlation_id=fact.correlation_id)]
        if fact.name in ("workflow_completed", "workflow_failed", "workflow_cancelled"):
            self._blocked.drop(fact.workflow_id)
            effects += self._deadlines.drop_all(fact.workflow_id)
        return effects

    # --- leases ---------------------------------------------------------------------------------

    def _lease(self, attempt: Attempt, engine: ComponentId, now: float) -> None:
        self._leases[attempt] = _Lease(engine, now + self.settings.lease_seconds, now)
        self._held[attempt.key] = attempt
        self._held_by.setdefault(engine, {})[attempt] = None

    def _release(self, key: TaskKey) -> None:
        attempt = self._held.pop(key, None)
        if attempt is None:
            return
        lease = self._leases.pop(attempt)
        self._cancelling.pop(attempt, None)
        held = self._held_by[lease.engine]
        held.pop(attempt, None)
        if not held:
            del self._held_by[lease.engine]

    def _cancel(self, attempt: Attempt, engine: ComponentId, correlation_id: str | None = None) -> Tell:
        order = e.CancelTask(
            workflow_id=attempt.workflow_id,
            task_id=attempt.task_id,
            attempt=attempt.attempt,
            reason="the workflow is cancelled" if attempt in self._cancelling else "it was taken back",
        )
        return Tell(order, to=engine, correlation_id=correlation_id)

    def on_heartbeat_response(self, event: h.HeartbeatResponse, ctx: Context) -> Effects:
        """An engine's inventory: what it lists goes on; what it should list, and does not, is lost."""
        if event.inventory is None:
            return []
        self._notice_pause(ctx.now)
        engine = ctx.envelope.source_component
        listed = {tuple(item) for item in event.inventory if all(type(x) in (str, int) for x in item)}
        effects: Effects = []
        lost = []
        for attempt in self._held_by.get(engine, ()):
            lease = self._leases[attempt]
            if attempt in listed:
                lease.deadline = ctx.now + self.settings.lease_seconds
                if attempt in self._cancelling:
                    effects.append(self._cancel(attempt, engine))
            elif ctx.now - lease.since > self.settings.grace_seconds:
                lost.append(attempt)
        return effects + self._lose(lost, f"{engine} does not know of it", ctx.now)

    def on_component_disconnected(self, event: h.ComponentDisconnected, ctx: Context) -> Effects:
        """A lost engine has a short time to come back; a lost owner likewise."""
        for attempt in self._held_by.get(event.component_id, ()):
            lease = self._leases[attempt]
            lease.deadline = min(lease.deadline, ctx.now + self.settings.grace_seconds)
        self._owners.disconnected(event.component_id, ctx.now, self.settings.owner_seconds)
        return []

    def _lose(self, attempts: Iterable[Attempt], reason: str, now: float) -> Effects:
        effects: Effects = []
        for attempt in attempts:
            lease = self._leases[attempt]
            # Until the change is through, the attempt stays in the table, and is looked at again later.
            lease.since = now
            lease.deadline = now + self.settings.grace_seconds
            fields: dict[str, Json] = {
                "workflow_id": attempt.workflow_id,
                "task_id": attempt.task_id,
                "attempt": attempt.attempt,
                "engine": lease.engine,
                "reason": reason,
            }
            effects.append(Note("warning", "an attempt was lost", fields))
            self._pending.append(_Pending(c.LoseAttempt(attempt=attempt, reason=reason)))
        return effects

    def _sweep(self, now: float) -> Effects:
        if self._sweeping or not self._leases or self._deaf:
            return []
        self._sweeping = True
        self._sweep_due = now + _SWEEP_SECONDS
        return [SetTimer(_SWEEP, _SWEEP_SECONDS)]

    def isolated(self) -> None:
        """Without a hub nobody can be heard, so nobody is silent: leases and owners wait, too."""
        self._deaf = True

    def hub_connected(self, now: float, at: str) -> Effects:
        """Everybody has the full time again to be heard."""
        if self._deaf:
            self._deaf = False
            self._give_time(now)
        return self._sweep(now)

    def _notice_pause(self, now: float) -> None:
        """This process was stopped: what has come meanwhile is not read yet, or says how it was before."""
        if self._leases and now - self._sweep_due > _PAUSE_SECONDS:
            self._sweep_due = now
            self._give_time(now)

    def _give_time(self, now: float) -> None:
        for lease in self._leases.values():
            lease.deadline = max(lease.deadline, now + self.settings.lease_seconds)
            lease.since = now
        self._owners.renew(now + self.settings.owner_seconds)

    def _wake_later(self, attempt: Attempt, delay: float, cause: str | None = None) -> Effects:
        key = f"wake/{attempt.workflow_id}/{attempt.task_id}"
        self._waking[key] = _Pending(c.WakeTask(attempt=attempt), cause=cause)
        return [SetTimer(key, delay)]

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        if key == _SWEEP:
            self._sweeping = False
            self._notice_pause(now)
            late = [a for a, lease in self._leases.items() if lease.deadline <= now]
            return self._lose(late, "its engine went silent", now) + self._sweep(now)
        if key.startswith(DEADLINE):
            return self._expired(key)
        if key == retention.TIMER:
            effects, deletions = self._retention.expired(self.settings)
            self._pending += [_Pending(each) for each in deletions]
            return effects
        if key == audit.TIMER:
            return self.audit_due()
        self._pending.append(self._waking.pop(key))
        return []

    def _expired(self, key: str) -> Effects:
        armed = self._deadlines.expired(key)
        if armed is None:
            return []
        self._pending.append(_Pending(c.Expire(deadline=armed.deadline), cause=armed.cause))
        return [is_over(armed.deadline)]

    # --- shards and their owners ------------------------------------------------------------------

    def on_claim_shard(self, event: p.ClaimShard, ctx: Context) -> Effects:
        if not self._open or event.role not in (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER):
            return []
        owner, source = event.incarnation, ctx.envelope.source_component
        if (problem := claim_problem(event.role, owner, source, ctx.envelope.source_role)) is not None:
            self._refused += 1
            note = Note("warning", "a claim was refused", {"peer": source, "error": problem})
            return [note, Reply(p.PersistenceError(error=problem.info()), ctx.envelope)]
        if event.release:
            shards = self._owners.leave(event.role, owner)
            change = c.TakeShards(role=event.role, owner="", shards=shards)
        else:
            shards = self._owners.claim(event.role, owner, source, ctx.now, self.settings.owner_seconds)
            change = c.TakeShards(role=event.role, owner=owner, shards=shards)
        if not shards:
            return [self._claimed(event, ctx.envelope)]
        self._pending.append(_Pending(change, ctx.envelope, event))
        return []

    def _claimed(self, claim: p.ClaimShard, asker: Envelope) -> Reply:
        return Reply(self._owners.answer_to(claim, self.settings.owner_seconds), asker)

    def on_query_owners(self, event: p.QueryOwners, ctx: Context) -> Effects:
        return [Reply(self._owners.told(), ctx.envelope)] if self._open else []  # it is asked again

    # --- reading ------------------------------------------------------------------------------------

    def on_query_data(self, event: p.QueryData, ctx: Context) -> Effects:
        query = within(event, ctx.envelope.namespace)
        return self.read_for(ctx.envelope, Requests.Read(query, self._blocked.of(event.workflow_id)))

    def read_for(self, asker: Envelope, request: Request) -> Effects:
        call_id = f"read/{next(self._numbers)}"
        self._reads[call_id] = asker
        return [Call(call_id, request)]

    def _read(self, call_id: str, answer: object) -> Effects:
        asker = self._reads.pop(call_id)
        if isinstance(answer, Event):
            return [Reply(answer, asker)]
        if isinstance(answer, GleitzeitError):
            return [Reply(p.PersistenceError(error=answer.info()), asker)]
        assert isinstance(answer, Exception)
        raise answer

    def on_execution_blocked(self, event: d.ExecutionBlocked, ctx: Context) -> Effects:
        if not self._owners.is_owner(ctx.envelope.source_component, shard_of(event.workflow_id)):
            self._refused += 1
            return []
        self._blocked.note(event, ctx.envelope.source_component)
        return []

    # --- how it is ------------------------------------------------------------------------------

    def status_line(self) -> str:
        line = audit.Auditor.status_line(self)
        return f"nothing can be kept: {self._trouble}; {line}" if self._trouble else line

    def drained(self) -> bool:
        return not self._pending and not self._committing and not self._suspects

    def load(self) -> int:
        return len(self._pending) + len(self._committing)

    def figures(self) -> dict[str, Json]:
        return {
            "leases": len(self._leases),
            "retries_waiting": len(self._waking),
            "timeouts_armed": len(self._deadlines),
            "changes_waiting": len(self._pending),
            "changes_committed": self._committed,
            "changes_refused": self._refused,
            "workflows_deleted": self._retention.deleted,
            "grace_seconds": self.settings.grace_seconds,
        }
