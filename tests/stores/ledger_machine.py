"""The ledger beside a model of a few fields per task, under any order of changes, outdated ones included.
The model knows, for each change, what status the ledger has to answer and where each task is then."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gleitzeitd import errors
from gleitzeitd.model.change import (
    CancelWorkflow,
    ChangePriority,
    DeleteWorkflow,
    Expire,
    FailTask,
    GrantLeases,
    Status,
)
from gleitzeitd.model.ledger import CRASH_LIMIT, ENDED, HELD, Verdict, WorkflowState
from gleitzeitd.model.names import Role, WorkflowId, shard_of
from gleitzeitd.model.retry import Backoff, RetryPolicy
from gleitzeitd.model.workflow import OnLost, Timeouts
from gleitzeitd.stores.memory import MemoryStore
from tests.stores.ledger import (
    AT,
    BROKEN,
    E1,
    E2,
    accept,
    all_tasks,
    all_workflows,
    check_rules,
    complete,
    contents,
    end,
    expire,
    fail,
    grant,
    lose,
    ready,
    resolve,
    skip,
    start,
    take,
    waits,
    wake,
)
from tests.stores.ledger_model import GRAPHS, ModelTask, ModelWorkflow, S

POLICY = RetryPolicy(
    max_attempts=3, backoff=Backoff.FIXED, base_delay=1, jitter=False, never_on=("TASK_RESULT_INVALID",)
)
TIMEOUTS = Timeouts(queued=60, start=5, silence=9)
FIRST = WorkflowId("w0")
NEIGHBOUR = next(WorkflowId(f"w{n}") for n in range(1, 999) if shard_of(f"w{n}") == shard_of(FIRST))
STRANGER = next(WorkflowId(f"w{n}") for n in range(1, 999) if shard_of(f"w{n}") != shard_of(FIRST))
WORKFLOWS = st.sampled_from([FIRST, FIRST, NEIGHBOUR, STRANGER])
SHARDS_USED = sorted({shard_of(FIRST), shard_of(STRANGER)})
TASKS = st.sampled_from("abc")
PICKS = st.tuples(st.integers(0, 26), st.sampled_from([False, False, False, True]))
"""A number, and whether any task will do instead of one of which the change can be true."""
RARELY = st.sampled_from([False, False, False, False, True])
"""Whether the one who asks is outdated."""
OK, STALE, DUPLICATE = Status.OK, Status.STALE, Status.DUPLICATE
FAILURES = {
    "once more": BROKEN,
    "for good": errors.ParameterInvalid("no").info(),
    "never": errors.ResultInvalid("no").info(),
    "busy": errors.ProviderOverloaded("full").info(),
    "gone": errors.ProviderNotAvailable("gone").info(),
    "cancelled": errors.TaskCancelled("stop").info(),
}

ENDS = [*["once more", "busy", "gone", "done"] * 2, "for good", "never", "cancelled"]


class LedgerMachine(RuleBasedStateMachine):
    """Over a store in memory; a subclass can have others beside it."""

    def __init__(self):
        super().__init__()
        self.store = MemoryStore()
        self.workflows = {}
        self.deleted = set()
        self.epochs = dict.fromkeys([(role, shard) for role in Role for shard in SHARDS_USED], 0)
        self.last = None

    def wait(self, coroutine):
        """The result of a coroutine of a store in memory, which never waits."""
        try:
            coroutine.send(None)
        except StopIteration as end_of_it:
            return end_of_it.value
        raise AssertionError("a store in memory waited")

    def commit(self, change):
        (outcome,) = self.wait(self.store.commit([change], AT))
        return outcome

    def ask(self, change, expected):
        """Whatever is not OK has no effect."""
        before = None if expected is OK else self.wait(contents(self.store))
        outcome = self.commit(change)
        assert outcome.status is expected
        if before is not None:
            assert self.wait(contents(self.store)) == before
            assert not outcome.facts
            assert not outcome.executions
            assert not outcome.released
            assert not outcome.waking
            assert not outcome.deadlines
        self.last = change
        self.agree()
        return outcome

    def agree(self):
        kept = {row.workflow_id: row for row in self.wait(all_workflows(self.store))}
        assert kept.keys() == self.workflows.keys()
        for workflow_id, model in self.workflows.items():
            row = kept[workflow_id]
            assert (row.state, row.open_tasks) == (model.state, model.open_tasks)
            for task in self.wait(all_tasks(self.store, workflow_id)):
                mine = model.tasks[task.task_id]
                found = (task.state, task.attempt, task.owner, task.failures, task.crashes)
                assert found == (mine.state, mine.attempt, mine.engine, mine.failures, mine.crashes)

    def pick(self, which, can_be):
        """A task, the model's of it, and its attempt."""
        number, any_will_do = which
        found = [
            (workflow_id, name)
            for workflow_id, model in self.workflows.items()
            for name, task in model.tasks.items()
            if any_will_do or can_be(task)
        ]
        workflow_id, name = found[number % len(found)] if found else (STRANGER, "a")
        task = self.task(workflow_id, name)
        return workflow_id, name, task, 1 if task is None else task.attempt

    def epoch(self, role, workflow_id, outdated):
        return self.epochs[role, shard_of(workflow_id)] - outdated

    def task(self, workflow_id, name):
        model = self.workflows.get(workflow_id)
        return None if model is None else model.tasks[name]

    def reporter(self, task, stranger):
        """The engine that holds the task, or another one."""
        holder = E1 if task is None or task.engine is None else task.engine
        return holder if not stranger else E2 if holder == E1 else E1

    # --- what can be asked ------------------------------------------------------------------------

    @initialize()
    def owners(self):
        self.take_shards(Role.DEPENDENCY_RESOLVER)
        self.take_shards(Role.QUEUE_MANAGER)
        self.submit(FIRST, "heap", OnLost.RERUN, "d", False)
        self.make_ready(FIRST, ["a", "b"], False)

    @rule(number=st.integers(0, 26))
    def serve(self, number):
        """The two next steps of a task, so that walks get far."""
        self.lease((number, False), E1, False, False, False)
        self.start_task((number, False), False, False)

    @rule(role=st.sampled_from([Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER]))
    def take_shards(self, role):
        for shard in SHARDS_USED:
            self.epochs[role, shard] += 1
        self.ask(take(role, SHARDS_USED), OK)
        self.last = None  # the same owner again is another ownership

    @rule(number=st.integers(0, 26))
    def fail_and_repeat_it_late(self, number):
        """The answer was lost; when the report comes again, the retry is due already."""
        self.report((number, False), False, False, "once more", False)
        repeated = self.last
        self.wake_task((number, False), False)
        if isinstance(repeated, FailTask):
            self.last = repeated
            self.ask_again()

    @rule(
        workflow_id=WORKFLOWS,
        graph=st.sampled_from(sorted(GRAPHS)),
        on_lost=st.sampled_from(OnLost),
        digest=st.sampled_from("dde"),
        outdated=RARELY,
    )
    def submit(self, workflow_id, graph, on_lost, digest, outdated):
        epoch = self.epoch(Role.DEPENDENCY_RESOLVER, workflow_id, outdated)
        of_tasks = {"retry": POLICY, "on_lost": on_lost, "timeouts": TIMEOUTS}
        change = accept(workflow_id, GRAPHS[graph], digest=digest, epoch=epoch, within=600, **of_tasks)
        kept = self.workflows.get(workflow_id)
        if kept is not None:
            self.ask(change, DUPLICATE if kept.digest == digest else Status.CONFLICT)
        elif outdated or workflow_id in self.deleted:  # there it is a late repeat, in the same chain
            self.ask(change, STALE if outdated else DUPLICATE)
        else:
            tasks = {name: ModelTask(needs, on_lost) for name, needs in GRAPHS[graph].items()}
            self.workflows[workflow_id] = ModelWorkflow(digest, tasks)
            self.ask(change, OK)

    @rule(workflow_id=WORKFLOWS, names=st.lists(TASKS, min_size=1, max_size=3), outdated=RARELY)
    def make_ready(self, workflow_id, names, outdated):
        epoch = self.epoch(Role.DEPENDENCY_RESOLVER, workflow_id, outdated)
        change = ready(*names, workflow_id=workflow_id, epoch=epoch)
        model = self.workflows.get(workflow_id)
        if model is None or outdated:
            self.ask(change, Status.MISSING if model is None else STALE)
            return
        freed = []
        for name in dict.fromkeys(names):
            task = model.tasks[name]
            needed = [model.tasks[one].state for one in task.needs]
            if model.state is WorkflowState.RUNNING and task.state is S.PENDING and set(needed) <= {S.DONE}:
                freed.append(name)
        for name in freed:
            model.tasks[name].state = S.READY
        outcome = self.ask(change, OK if freed else DUPLICATE)
        if freed:
            assert [each["task_id"] for each in outcome.facts[0].body["tasks"]] == freed

    @rule(workflow_id=WORKFLOWS, name=TASKS, failed=st.booleans(), outdated=RARELY)
    def skip_task(self, workflow_id, name, failed, outdated):
        epoch = self.epoch(Role.DEPENDENCY_RESOLVER, workflow_id, outdated)
        change = skip(name, workflow_id=workflow_id, epoch=epoch, failed=failed)
        task = self.task(workflow_id, name)
        if task is None or outdated:
            self.ask(change, Status.MISSING if task is None else STALE)
        elif task.state is S.PENDING:
            task.state = S.FAILED if failed else S.SKIPPED
            self.ask(change, OK)
        else:
            self.ask(change, DUPLICATE)

    @rule(which=PICKS, engine=st.sampled_from([E1, E2]), behind=RARELY, outdated=RARELY, astray=RARELY)
    def lease(self, which, engine, behind, outdated, astray):
        workflow_id, name, task, attempt = self.pick(which, lambda task: task.state is S.READY)
        attempt -= behind
        shard = shard_of(workflow_id)
        if astray:
            shard = next(one for one in SHARDS_USED if one != shard)
        epoch = self.epochs[Role.QUEUE_MANAGER, shard] - outdated
        change = grant(
            name, name, workflow_id=workflow_id, attempt=attempt, engine=engine, epoch=epoch, shard=shard
        )
        granted = task is not None and task.state is S.READY and not (behind or outdated or astray)
        if granted:
            task.state, task.attempt, task.engine, task.reported = S.LEASED, attempt + 1, engine, False
        outcome = self.ask(change, STALE if outdated else OK)
        # The second wish repeats the first; and either may repeat one that was granted long ago.
        again = task is not None and self.is_granted(workflow_id, task, attempt, engine)
        executions = [attempt + 1] * 2 if granted or (again and not (outdated or astray)) else []
        assert [each.attempt for each in outcome.executions] == executions
        assert len(outcome.refused) == 2 - len(executions)

    def is_granted(self, workflow_id, task, attempt, engine):
        running = self.workflows[workflow_id].state is WorkflowState.RUNNING
        return running and task.state is S.LEASED and (task.attempt, task.engine) == (attempt + 1, engine)

    @rule(which=PICKS, behind=RARELY, stranger=RARELY)
    def start_task(self, which, behind, stranger):
        workflow_id, name, task, attempt = self.pick(which, lambda task: task.state is S.LEASED)
        attempt -= behind
        engine = self.reporter(task, stranger)
        change = start(name, attempt, workflow_id=workflow_id, engine=engine)
        if task is None or not task.is_of(attempt, engine):
            self.ask(change, STALE)
        elif task.state is S.LEASED:
            task.state = S.RUNNING
            self.ask(change, OK)
        elif task.state is S.RUNNING:
            self.ask(change, DUPLICATE)
        else:
            outdated = (task.may_end and task.state is S.READY) or task.on_lost is not OnLost.RERUN
            self.ask(change, STALE if outdated else DUPLICATE)

    @rule(which=PICKS, behind=RARELY, stranger=RARELY, how=st.sampled_from(ENDS), output=st.booleans())
    def report(self, which, behind, stranger, how, output):
        workflow_id, name, task, attempt = self.pick(
            which, lambda task: task.state in (*HELD, S.UNKNOWN) or task.attempt * (task.state is S.READY)
        )
        who = {"workflow_id": workflow_id, "engine": self.reporter(task, stranger)}
        attempt -= behind
        written = ["some"] if output else []
        if how == "done":
            change = complete(name, attempt, **who, result={"n": attempt}, output=written)
        else:
            change = fail(name, attempt, **who, error=FAILURES[how], output=written)
        if task is None or not task.is_of(attempt, who["engine"]):
            self.ask(change, STALE)
        elif not task.may_end or (how in ("gone", "cancelled") and task.state not in HELD):
            self.ask(change, DUPLICATE)
        else:
            self._ended(workflow_id, task, how)
            outcome = self.ask(change, OK)
            assert bool(outcome.waking) == (task.state is S.RETRY)

    def _ended(self, workflow_id, task, how):
        if how == "gone":
            self._lost(workflow_id, task, ran=True)
        elif how == "done":
            task.state, task.reported = S.DONE, True
        else:
            self._failed(workflow_id, task, how)

    def _failed(self, workflow_id, task, how):
        task.reported = True
        if how == "cancelled" or self.workflows[workflow_id].state is WorkflowState.CANCELLING:
            task.state = S.CANCELLED
        elif how == "busy":
            task.state = S.RETRY
        else:
            task.failures += 1
            again = how == "once more" and task.failures < POLICY.max_attempts
            task.state = S.RETRY if again else S.FAILED

    def _lost(self, workflow_id, task, ran):
        if self.workflows[workflow_id].state is WorkflowState.CANCELLING:
            task.state = S.CANCELLED
            return
        task.crashes += ran
        if task.on_lost is OnLost.ASK and ran:
            task.state = S.UNKNOWN
            return
        poison = task.crashes >= CRASH_LIMIT
        once = task.on_lost is OnLost.FAIL and ran
        task.state = S.FAILED if poison or once else S.READY

    @rule(which=PICKS, behind=RARELY)
    def lose_attempt(self, which, behind):
        workflow_id, name, task, attempt = self.pick(which, lambda task: task.state in HELD)
        attempt -= behind
        change = lose(name, attempt, workflow_id=workflow_id)
        if task is None or behind or task.state not in HELD:
            self.ask(change, STALE)
        else:
            self._lost(workflow_id, task, ran=task.state is S.RUNNING)
            self.ask(change, OK)

    @rule(which=PICKS, behind=RARELY)
    def wake_task(self, which, behind):
        workflow_id, name, task, attempt = self.pick(which, lambda task: task.state is S.RETRY)
        attempt -= behind
        change = wake(name, attempt, workflow_id=workflow_id)
        if task is None or behind or task.state is not S.RETRY:
            self.ask(change, STALE)
        else:
            task.state = S.READY
            self.ask(change, OK)

    @rule(which=PICKS, verdict=st.sampled_from(Verdict), behind=RARELY)
    def resolve_task(self, which, verdict, behind):
        workflow_id, name, task, attempt = self.pick(which, lambda task: task.state is S.UNKNOWN)
        judged = attempt - behind
        change = resolve(name, verdict, workflow_id=workflow_id, attempt=judged, result=7)
        if task is None:
            self.ask(change, Status.MISSING)
        elif task.state is not S.UNKNOWN or judged not in (0, attempt):
            so = {
                Verdict.RERUN: (S.READY, S.LEASED, S.RUNNING),
                Verdict.FAIL: (S.FAILED,),
                Verdict.DONE: (S.DONE,),
            }
            self.ask(change, DUPLICATE if task.crashes and task.state in so[verdict] else STALE)
        else:
            ends = {Verdict.RERUN: S.READY, Verdict.FAIL: S.FAILED, Verdict.DONE: S.DONE}
            task.state = ends[verdict]
            self.ask(change, OK)

    @rule(which=PICKS, kind=st.sampled_from(["queued", "start"]), behind=RARELY)
    def expire_task(self, which, kind, behind):
        held_up = S.READY if kind == "queued" else S.LEASED
        workflow_id, name, task, attempt = self.pick(which, lambda task: task.state is held_up)
        attempt -= behind
        change = expire(kind, name, attempt, workflow_id=workflow_id)
        if task is None or behind or task.state is not held_up:
            self.ask(change, STALE)
        elif kind == "queued":
            task.state = S.FAILED
            assert self.ask(change, OK).facts[-1].body["error"]["name"] == "TASK_TIMEOUT"
        else:
            self._lost(workflow_id, task, ran=False)
            outcome = self.ask(change, OK)
            assert [(a.task_id, a.attempt) for a, _ in outcome.cancel] == [(name, attempt)]

    @rule(workflow_id=st.sampled_from([NEIGHBOUR, STRANGER, STRANGER]))
    def expire_workflow(self, workflow_id):
        change = expire("workflow", workflow_id=workflow_id)
        model = self.workflows.get(workflow_id)
        if model is None or model.state is not WorkflowState.RUNNING or not model.open_tasks:
            self.ask(change, STALE)
        else:
            model.late = True
            self._cancelled(model)
            self.ask(change, OK)

    def _cancelled(self, model):
        model.state = WorkflowState.CANCELLING
        for task in model.tasks.values():
            if task.state not in HELD and task.state not in ENDED:
                task.state = S.CANCELLED

    @rule()
    def restart(self):
        """All that waits is armed again, in full."""
        found = self.wait(self.store.open())
        expected = {}
        for workflow_id, model in self.workflows.items():
            if model.state is WorkflowState.RUNNING:
                expected[waits("workflow", workflow_id=workflow_id)] = 600
            for name, task in model.tasks.items():
                if task.state is S.READY:
                    expected[waits("queued", name, task.attempt, workflow_id=workflow_id)] = 60
                if task.state is S.LEASED:
                    expected[waits("start", name, task.attempt, workflow_id=workflow_id)] = 5
        assert dict(found.deadlines) == expected

    @rule(workflow_id=WORKFLOWS, outdated=RARELY)
    def end_workflow(self, workflow_id, outdated):
        epoch = self.epoch(Role.DEPENDENCY_RESOLVER, workflow_id, outdated)
        change = end(workflow_id=workflow_id, epoch=epoch)
        model = self.workflows.get(workflow_id)
        if model is None:
            self.ask(change, Status.MISSING)
        elif model.state in (WorkflowState.COMPLETED, WorkflowState.FAILED):
            self.ask(change, DUPLICATE)
        elif outdated or model.open_tasks:
            self.ask(change, STALE)
        else:
            model.state = WorkflowState.FAILED if model.late else WorkflowState.COMPLETED
            self.ask(change, OK)

    @rule(workflow_id=st.sampled_from([NEIGHBOUR, STRANGER]))
    def cancel_workflow(self, workflow_id):
        change = CancelWorkflow(workflow_id=workflow_id, reason="enough")
        model = self.workflows.get(workflow_id)
        if model is None:
            self.ask(change, Status.MISSING)
        elif model.state in (WorkflowState.COMPLETED, WorkflowState.FAILED):
            self.ask(change, STALE)
        elif model.state is WorkflowState.RUNNING and all(t.state in ENDED for t in model.tasks.values()):
            self.ask(change, STALE)
        else:
            first = model.state is WorkflowState.RUNNING
            held = [task for task in model.tasks.values() if task.state in HELD]
            self._cancelled(model)
            outcome = self.ask(change, OK if first else DUPLICATE)
            assert len(outcome.cancel) == len(held)

    @rule(workflow_id=WORKFLOWS, number=st.integers(0, 9))
    def finish_and_delete(self, workflow_id, number):
        """What has no open task, or little of it, ends; whatever is unfinished all the same is refused."""
        model = self.workflows.get(workflow_id)
        if model is not None and (workflow_id == STRANGER or number > 5):
            for name, task in model.tasks.items():
                if task.state is S.PENDING:
                    self.skip_task(workflow_id, name, False, False)
            self.end_workflow(workflow_id, False)
        change = DeleteWorkflow(workflow_id=workflow_id)
        if model is None:
            self.ask(change, DUPLICATE)
        elif model.state in (WorkflowState.RUNNING, WorkflowState.CANCELLING):
            self.ask(change, STALE)
        else:
            del self.workflows[workflow_id]
            self.deleted.add(workflow_id)
            self.ask(change, OK)
            self.sweep()

    def sweep(self):
        """What is left behind is given back."""
        while self.wait(self.store.sweep(7, "")):
            pass

    @rule(workflow_id=WORKFLOWS, name=TASKS)
    def change_priority(self, workflow_id, name):
        change = ChangePriority(workflow_id=workflow_id, task_ids=[name], priority=4)
        self.ask(change, OK if workflow_id in self.workflows else Status.MISSING)

    @rule()
    def ask_again(self):
        """Whatever was asked last: now it is so already."""
        if self.last is None:
            return
        before = self.wait(contents(self.store))
        outcome = self.commit(self.last)
        assert self.wait(contents(self.store)) == before
        assert not outcome.facts
        # A lease is given again, the same: its first answer may have been lost.
        again = {(e.workflow_id, e.task_id): e.attempt for e in outcome.executions}
        assert not again or isinstance(self.last, GrantLeases)
        assert not outcome.deadlines or again
        assert outcome.status is STALE or not isinstance(self.last, Expire)
        assert all(self.workflows[w].tasks[str(t)].attempt == attempt for (w, t), attempt in again.items())

    def teardown(self):
        self.wait(check_rules(self.store))
