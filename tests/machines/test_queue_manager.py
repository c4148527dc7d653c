"""The queue manager, rule by rule, and beside a model of engines that count their slots."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gleitzeitd.errors import NotPermitted, StoreCorrupt
from gleitzeitd.events import dependency_resolver as d_
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import persistence as p
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import Ask, CancelAsk, SetTimer
from gleitzeitd.machines.queue_manager import QueueManager, Settings
from gleitzeitd.model.audit import Actor
from gleitzeitd.model.ledger import Execution, FeedStamp, LeaseWish, ReadyTask
from gleitzeitd.model.names import ComponentId, TaskId, WorkflowId, shard_of
from tests.drive import Dialogue, asks, notes, replies, tells

ME, E1, E2 = ComponentId("queue-1"), ComponentId("engine-1"), ComponentId("engine-2")
W = WorkflowId("w")
N = shard_of(W)
ECHO, SHELL = "echo/v1", "shell/v1"
TICK = SetTimer("tick", 1.0)


def queue_manager(**options):
    """One that owns W's shard from feed number 0 on."""
    d = Dialogue(QueueManager(component_id=ME, incarnation="me.1", settings=Settings(**options)))
    d.start().take()
    claim = p.ShardClaim(shard=N, epoch=1, number=0)
    d.answer(p.ShardClaimed(owned=[claim], owner_seconds=3.0), key="claim").take()
    d.answer(p.DataRetrieved(items=[], number=0), key=f"snapshot/{N}").take()
    d.answer(p.DataRetrieved(items=[]), key=f"feed/{N}").silent()
    return d


class Feed:
    """Stamps what the ledger publishes."""

    def __init__(self):
        self.number = 0

    def stamp(self):
        self.number += 1
        return FeedStamp(number=self.number, after_queue_manager=self.number - 1)

    def ready(self, *tasks, priority=2, protocol=ECHO, attempt=0, kind=d_.DependenciesSatisfied):
        made = [
            ReadyTask(task_id=TaskId(t), priority=priority, protocol=protocol, attempt=attempt) for t in tasks
        ]
        return kind(workflow_id=W, tasks=made, feed=self.stamp())

    def cancelling(self):
        return d_.WorkflowCancelling(workflow_id=W, feed=self.stamp())

    def withdrawn(self, task):
        return e.TaskWithdrawn(workflow_id=W, task_ids=[TaskId(task)], feed=self.stamp())


def request(slots, received=0, calls=0, **room):
    """``calls`` are of echo."""
    room = {f"{name}/v1": number for name, number in room.items()} or {ECHO: 99}
    return q.RequestNextTask(slots=slots, room=room, calls={ECHO: calls}, received={ME: received})


def wish(task, engine=E1, attempt=0):
    return LeaseWish(workflow_id=W, task_id=TaskId(task), attempt=attempt, engine_id=engine)


def leases(*wishes):
    return asks(q.TaskAvailable(owned_shard=N, epoch=1, leases=list(wishes)))


def run(task, engine=E1, attempt=1, protocol=ECHO):
    return Execution(
        workflow_id=W,
        task_id=TaskId(task),
        attempt=attempt,
        engine_id=engine,
        method="echo/echo",
        protocol=protocol,
        correlation_id="9" * 32,
    )


def saved(*executions, refused=()):
    return p.DataSaved(status="ok", executions=list(executions), refused=list(refused))


def lease_key(d):
    return next(key for key in d.asks if key.startswith("lease/"))


def enqueue(d, event):
    d.receive(event, source="persistence").silent()
    return d


# --- rules ----------------------------------------------------------------------------------------


def test_a_task_goes_to_the_engine_once_the_ledger_has_granted_the_lease():
    d, feed = queue_manager(), Feed()
    d.receive(request(1), source=E1)
    enqueue(d, feed.ready("a"))
    d.settle() << tells(q.TaskEnqueued(workflow_id=W, task_ids=["a"], depth=1)) << leases(wish("a")) << TICK
    d.answer(saved(run("a"))) << tells(q.ExecuteTask(task=run("a"), number=1), to=E1)


def test_priority_comes_first_then_arrival():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("low", priority=1))
    enqueue(d, feed.ready("a", "b"))
    enqueue(d, feed.ready("urgent", priority=4))
    d.settle() << tells(q.TaskEnqueued) << TICK
    d.receive(request(4), source=E1)
    d.settle() << leases(wish("urgent"), wish("a"), wish("b"), wish("low"))


def test_the_engine_with_most_slots_free_is_next():
    d, feed = queue_manager(), Feed()
    d.receive(request(1), source=E1)
    d.receive(request(3), source=E2)
    enqueue(d, feed.ready("a", "b", "c", "d", "e"))
    d.settle() << tells(q.TaskEnqueued)
    d << leases(wish("a", E2), wish("b", E2), wish("c", E1), wish("d", E2)) << TICK


def test_a_task_waits_here_while_no_provider_of_its_protocol_has_room():
    d, feed = queue_manager(), Feed()
    d.receive(request(9, shell=1), source=E1)
    enqueue(d, feed.ready("a", "b", protocol=SHELL))
    enqueue(d, feed.ready("c"))
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a")) << TICK


def test_slots_are_not_offered_twice_while_the_ledger_is_slow():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", "b", "c"))
    d.receive(request(2), source=E1)
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a"), wish("b")) << TICK
    for _ in range(20):
        d.after(1.0).receive(request(2), source=E1)
        d.settle().silent()


def test_a_task_on_its_way_takes_a_slot_until_the_engine_has_counted_it():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", "b"))
    d.receive(request(1), source=E1)
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a")) << TICK
    d.answer(saved(run("a"))) << tells(q.ExecuteTask)
    d.receive(request(1), source=E1).settle().silent()
    d.receive(request(0, received=1), source=E1).settle().silent()
    d.receive(request(1, received=1), source=E1).settle() << leases(wish("b"))


def test_a_task_lost_on_its_way_takes_no_slot_for_ever_even_under_load():
    d, feed = queue_manager(), Feed()
    d.receive(request(2), source=E1)
    received = 0
    for n in range(9):
        enqueue(d, feed.ready(f"t{n}")).settle().take()
        assert len(d.asks) == 1, f"nothing is leased after {n} s"
        d.answer(saved(run(f"t{n}"))) << tells(q.ExecuteTask)
        received = 0 if n == 0 else n + 1  # the first one never arrived
        d.after(1.0).receive(request(2, received=received), source=E1).settle().take()
    enqueue(d, feed.ready("x", "y")).settle() << tells(q.TaskEnqueued) << leases(wish("x"), wish("y"))


def test_a_queue_manager_that_was_started_again_begins_to_count_anew():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", "b", "c"))
    d.receive(request(2, received=500), source=E1)
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a"), wish("b")) << TICK


def test_what_the_ledger_refuses_gives_its_slot_back():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", "b"))
    d.receive(request(1), source=E1)
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a")) << TICK
    d.answer(saved(refused=[wish("a")])).silent()
    d.settle() << leases(wish("b"))


def test_leases_that_cannot_be_asked_for_are_read_anew_not_lost():
    for refuse in (
        lambda d: d.answer(p.PersistenceError(error=StoreCorrupt("no").info()), key=lease_key(d)),
        lambda d: d.refuse(lease_key(d), NotPermitted("no").info()),
    ):
        d, feed = queue_manager(), Feed()
        enqueue(d, feed.ready("a"))
        d.receive(request(1), source=E1)
        d.settle().take()
        refuse(d) << notes("error") << CancelAsk(f"snapshot/{N}") << CancelAsk(f"feed/{N}")
        d.expire("claim").take()
        d.answer(p.ShardClaimed(owned=[p.ShardClaim(shard=N, epoch=1, number=1)], owner_seconds=3.0)).take()
        item = {"workflow_id": W, "correlation_id": "c", "task": {"task_id": "a", "protocol": ECHO}}
        d.answer(p.DataRetrieved(items=[item], number=1), key=f"snapshot/{N}").take()
        d.receive(request(1), source=E1).settle() << tells(q.TaskEnqueued) << leases(wish("a"))


def test_a_shard_that_comes_back_brings_its_tasks_back_while_an_old_lease_is_still_asked_for():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a"))
    d.receive(request(1), source=E1)
    d.settle().take()
    late = lease_key(d)
    d.expire("claim").take()
    again = p.ShardClaimed(owned=[p.ShardClaim(shard=N, epoch=3, number=1)], owner_seconds=3.0)
    d.answer(again, key="claim").take()
    item = {"workflow_id": W, "correlation_id": "c", "task": {"task_id": "a", "protocol": ECHO}}
    d.answer(p.DataRetrieved(items=[item], number=1), key=f"snapshot/{N}").take()
    d.answer(p.DataSaved(status="stale", refused=[wish("a")]), key=late).silent()
    d.receive(request(1), source=E1).settle() << tells(q.TaskEnqueued)
    d << asks(q.TaskAvailable(owned_shard=N, epoch=3, leases=[wish("a")]))


def test_a_cancelled_workflow_leaves_the_queue():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", "b"))
    enqueue(d, feed.cancelling())
    d.receive(request(2), source=E1)
    d.settle() << tells(q.TaskEnqueued)
    assert d.machine.load() == 0


def test_an_ending_of_a_task_that_was_taken_back_takes_it_out():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", attempt=1, kind=e.TaskLost))
    enqueue(d, feed.withdrawn("a"))
    assert d.machine.load() == 0


def test_a_draining_engine_gets_nothing_new():
    d, feed = queue_manager(), Feed()
    d.receive(request(1), source=E1)
    d.receive(e.CapacityUpdate(slots=9, draining=True), source=E1)
    enqueue(d, feed.ready("a"))
    d.settle() << tells(q.TaskEnqueued) << TICK


def test_the_room_of_providers_is_shared_by_all_engines():
    d, feed = queue_manager(), Feed()
    d.receive(request(9, echo=4), source=E1)
    d.receive(request(9, echo=1, calls=3), source=E2)
    enqueue(d, feed.ready("a", "b"))
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a")) << TICK
    d.answer(p.DataSaved(status="ok", executions=[run("a")])) << tells(q.ExecuteTask, to=E1)
    d.receive(request(8, received=1, echo=3, calls=1), source=E1).settle().silent()
    d.receive(request(9, echo=2, calls=2), source=E2).settle() << leases(wish("b", E2))


def test_an_engine_without_a_slot_still_takes_from_the_room():
    d, feed = queue_manager(), Feed()
    d.receive(request(0, echo=1, calls=3), source=E1)
    d.receive(request(9, echo=4), source=E2)
    enqueue(d, feed.ready("a", "b"))
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a", E2)) << TICK


def test_an_engine_that_nobody_hears_of_is_forgotten():
    d = queue_manager()
    d.receive(request(9), source=E1).settle() << TICK
    d.expire("tick") << tells(q.QueueStatsChanged)
    d.after(9).receive(request(1), source=E2).settle() << TICK
    d.expire("tick")
    (told,) = d.take()
    assert told.event.stats["engines"] == 1
    assert told.event.stats["free_slots"] == 1


def test_a_new_priority_counts_once_it_is_durable():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", "b"))
    change = q.TaskPriorityChanged(workflow_id=W, priority=4, task_ids=["b"])
    d.receive(change, source="client") << asks(replace(change, by=Actor(component_id="client")))
    asker = d.envelope
    d.answer(p.DataSaved(status="ok")) << replies(p.DataSaved(status="ok"), to=asker)
    d.receive(request(2), source=E1)
    d.settle() << tells(q.TaskEnqueued) << leases(wish("b"), wish("a")) << TICK


def test_what_is_blocked_is_reported_once_per_cause_and_taken_back():
    d, feed = queue_manager(), Feed()
    enqueue(d, feed.ready("a", protocol=SHELL)).settle() << tells(q.TaskEnqueued) << TICK
    d.expire("tick") << tells(d_.ExecutionBlocked, reason="no execution engine is connected", count=1)
    d << notes("warning") << tells(q.QueueStatsChanged)
    d.settle() << TICK
    d.expire("tick").silent()
    d.receive(request(1, echo=1), source=E1).settle() << TICK
    d.expire("tick") << tells(d_.ExecutionBlocked, reason="no provider of shell/v1 is connected")
    d << notes("warning") << tells(q.QueueStatsChanged)
    d.receive(request(1, shell=0), source=E1).settle() << TICK
    d.expire("tick") << tells(d_.ExecutionBlocked, count=0, reason="")


def test_many_leases_go_in_several_events():
    d, feed = queue_manager(leases_per_event=2), Feed()
    d.receive(request(9), source=E1)
    enqueue(d, feed.ready("a", "b", "c"))
    d.settle() << tells(q.TaskEnqueued) << leases(wish("a"), wish("b")) << leases(wish("c")) << TICK


# --- beside a model -------------------------------------------------------------------------------

TASKS = [f"t{n}" for n in range(8)]
ENGINES = [E1, E2]
PROTOCOLS = [ECHO, SHELL]


class Beside(RuleBasedStateMachine):
    """The model is the ledger (task to state, attempt, priority, protocol, place in line), and the engines.

    ``offers`` are what each engine said last; what it was given since then counts against that. ``said`` is the
    room in providers, and the engine's calls there: what is left of the room is left for all engines together.
    """

    @initialize()
    def begin(self):
        self.d, self.feed = queue_manager(), Feed()
        self.tasks, self.line = {}, 0
        self.leased = Counter()
        self.held = {engine: [] for engine in ENGINES}  # executions received and not ended
        self.received = Counter()
        self.wire = {engine: [] for engine in ENGINES}
        self.offers = {}
        self.said = {}
        self.given = {engine: Counter() for engine in ENGINES}
        self.unanswered = {}

    def settle(self):
        self.d.settle()
        for effect in self.d.take():
            if isinstance(effect, Ask) and isinstance(effect.event, q.TaskAvailable):
                self.wished(effect)
        self.nothing_waits_in_vain()

    def wished(self, ask):
        self.unanswered[ask.key] = ask.event
        for one in ask.event.leases:
            task = self.tasks[one.task_id]
            ahead = [
                other["key"]
                for other in self.tasks.values()
                if other["waits"] and other["protocol"] == task["protocol"] and other["rank"] < task["rank"]
            ]
            assert not ahead, "priority, then arrival"
            assert task["waits"], "leased twice at one attempt"
            assert one.attempt == task["attempt"]
            task["waits"] = False
            self.leased[one.task_id, one.attempt] += 1
            assert self.leased[one.task_id, one.attempt] == 1
            slots, room = self.offers[one.engine_id]
            room[task["protocol"]] -= 1
            self.offers[one.engine_id] = (slots - 1, room)
            assert slots - 1 >= 0, "more leases than slots"
            assert room[task["protocol"]] >= 0, "more leases than room"
            self.given[one.engine_id][task["protocol"]] += 1
            assert self.left_for_all(task["protocol"]) >= 0, "more leases than providers have room"

    def left_for_all(self, protocol):
        capacity = max(room[protocol] + calls[protocol] for room, calls in self.said.values())
        calls = sum(calls[protocol] for _, calls in self.said.values())
        return capacity - calls - sum(given[protocol] for given in self.given.values())

    def nothing_waits_in_vain(self):
        for task in self.tasks.values():
            for slots, room in self.offers.values():
                can_run = slots > 0 and room[task["protocol"]] > 0 and self.left_for_all(task["protocol"]) > 0
                assert not (task["waits"] and can_run)

    @rule(name=st.sampled_from(TASKS), priority=st.integers(1, 4), protocol=st.sampled_from(PROTOCOLS))
    def ready(self, name, priority, protocol):
        if name in self.tasks:
            return
        self.line += 1
        self.tasks[name] = {
            "key": name,
            "waits": True,
            "attempt": 0,
            "priority": priority,
            "protocol": protocol,
            "rank": (-priority, self.line),
        }
        enqueue(self.d, self.feed.ready(name, priority=priority, protocol=protocol))
        self.settle()

    def taken(self, engine):
        """What the engine cannot know of yet: asked for, or on the wire."""
        asked = [
            self.tasks[one.task_id]["protocol"]
            for event in self.unanswered.values()
            for one in event.leases
            if one.engine_id == engine
        ]
        return asked + [each.protocol for each in self.wire[engine]]

    @rule(
        engine=st.sampled_from(ENGINES),
        slots=st.integers(0, 3),
        echo=st.integers(0, 3),
        shell=st.integers(0, 3),
        calls=st.integers(0, 3),
    )
    def request(self, engine, slots, echo, shell, calls):
        self.said[engine] = {ECHO: echo, SHELL: shell}, {ECHO: calls, SHELL: 0}
        self.given[engine] = Counter(self.taken(engine))
        taken = Counter(self.taken(engine))
        room = {ECHO: echo - taken[ECHO], SHELL: shell - taken[SHELL]}
        self.offers[engine] = (slots - taken.total(), room)
        said = request(slots, received=self.received[engine], calls=calls, echo=echo, shell=shell)
        self.d.receive(said, source=engine)
        self.settle()

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data())
    def ledger_answers(self, data):
        key = data.draw(st.sampled_from(sorted(self.unanswered)))
        event = self.unanswered.pop(key)
        executions, refused = [], []
        for one in event.leases:
            if data.draw(st.booleans()):
                task = self.tasks[one.task_id]
                made = run(one.task_id, one.engine_id, one.attempt + 1, task["protocol"])
                executions.append(made)
                self.wire[one.engine_id].append(made)
            else:
                refused.append(one)
                slots, room = self.offers[one.engine_id]
                room[self.tasks[one.task_id]["protocol"]] += 1
                self.offers[one.engine_id] = (slots + 1, room)
                self.given[one.engine_id][self.tasks[one.task_id]["protocol"]] -= 1
                del self.tasks[one.task_id]  # cancelled, say
                self.leased[one.task_id, one.attempt] = 0
        self.d.answer(saved(*executions, refused=refused), key=key)
        for made in executions:
            self.d << tells(q.ExecuteTask, task=made, to=made.engine_id)
        self.settle()

    @rule(engine=st.sampled_from(ENGINES))
    def arrives(self, engine):
        if self.wire[engine]:
            self.held[engine].append(self.wire[engine].pop(0))
            self.received[engine] += 1

    @rule(engine=st.sampled_from(ENGINES))
    def lost(self, engine):
        """The engine holds it no longer: it is ready again, at the next attempt."""
        if not self.held[engine]:
            return
        held = self.held[engine].pop(0)
        task = self.tasks[held.task_id]
        self.line += 1
        task.update(waits=True, attempt=held.attempt, rank=(-task["priority"], self.line))
        again = {"priority": task["priority"], "protocol": task["protocol"], "attempt": held.attempt}
        enqueue(self.d, self.feed.ready(held.task_id, kind=e.TaskLost, **again))
        self.settle()

    @rule(name=st.sampled_from(TASKS), priority=st.integers(1, 4))
    def reprioritise(self, name, priority):
        change = q.TaskPriorityChanged(workflow_id=W, priority=priority, task_ids=[name])
        self.d.receive(change, source="client")
        (ask,) = self.d.take()
        self.d.answer(p.DataSaved(status="ok"), key=ask.key).take()
        task = self.tasks.get(name)
        if task is not None and task["waits"]:
            task.update(priority=priority, rank=(-priority, task["rank"][1]))
        self.settle()

    @rule()
    def workflow_is_cancelled(self):
        enqueue(self.d, self.feed.cancelling())
        for name in [name for name, task in self.tasks.items() if task["waits"]]:
            del self.tasks[name]
            self.leased = Counter({key: n for key, n in self.leased.items() if key[0] != name})
        self.settle()

    @invariant()
    def as_many_wait(self):
        if hasattr(self, "d"):
            assert self.d.machine.load() == sum(task["waits"] for task in self.tasks.values())


TestBeside = Beside.TestCase
TestBeside.settings = settings(max_examples=60, stateful_step_count=40)
