"""The execution engine beside a model of attempts, providers and slots."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import provider as v
from gleitzeitd.machines.base import Ask, SetTimer
from gleitzeitd.machines.room import DISCONNECTED_SECONDS
from gleitzeitd.model.names import Role
from tests.machines.engine_builders import (
    ECHO,
    P1,
    P2,
    QUEUE,
    TOO_LARGE,
    about,
    engine,
    execute,
    provider,
    result,
)

TASKS = st.sampled_from(["a", "b", "c", "d"])
PROVIDERS = [P1, P2]


class Beside(RuleBasedStateMachine):
    """``held`` are the attempts; ``calls`` says who runs which; ``reports`` is what the ledger was asked."""

    def __init__(self):
        super().__init__()
        self.d = engine(slots=3)
        self.held, self.calls, self.ended = set(), {}, Counter()
        self.capacity = {}
        self.attempts = Counter()

    def look(self):
        """What has just come out."""
        for effect in self.d.take():
            if not isinstance(effect, Ask):
                continue
            event = effect.event
            key = (getattr(event, "task_id", None), getattr(event, "attempt", None))
            if isinstance(event, v.ExecuteMethod):
                assert key in self.held
                assert self.calls.get(key, effect.to) == effect.to, "one attempt is in two providers"
                self.calls[key] = effect.to
                running = Counter(self.calls.values())
                capacity = self.capacity.get(effect.to, running[effect.to])
                assert running[effect.to] <= capacity, "over a provider's capacity"
            elif isinstance(event, (e.TaskCompleted, e.TaskFailed)):
                self.calls.pop(key, None)
                self.ended[key] += 1
                assert self.ended[key] == 1, "one attempt was reported twice"

    @rule(task=TASKS)
    def order(self, task):
        self.attempts[task] += 1
        self.held.add((task, self.attempts[task]))
        self.d.receive(execute(task, self.attempts[task]), source=QUEUE)
        self.look()

    @rule(task=TASKS)
    def order_again(self, task):
        if (task, self.attempts[task]) in self.held:
            self.d.receive(execute(task, self.attempts[task]), source=QUEUE).silent()

    @rule(name=st.sampled_from(PROVIDERS), capacity=st.integers(1, 2))
    def registers(self, name, capacity):
        if name not in self.capacity:
            self.capacity[name] = capacity
            self.d.receive(provider(name, capacity), source="registry")
            self.look()

    @rule(name=st.sampled_from(PROVIDERS))
    def goes(self, name):
        self.capacity.pop(name, None)
        orphans = [key for key, where in self.calls.items() if where == name]
        gone = h.ComponentDisconnected(component_id=name, component_type=Role.PROVIDER, reason="")
        self.d.receive(gone, source="hub")
        self.look()
        self.d.after(DISCONNECTED_SECONDS)
        notice = h.NoComponentsAvailable(event="execute_method", component_id=name)
        for task, attempt in orphans:
            key = f"call/w/{task}/{attempt}"
            if key in self.d.asks:
                self.d.undeliverable(notice, key)
                self.look()
        assert all(self.ended[key] == 1 for key in orphans)

    @rule(task=TASKS, good=st.booleans(), name=st.sampled_from(PROVIDERS))
    def answers(self, task, good, name):
        key = (task, self.attempts[task])
        expected = self.calls.get(key) == name
        event = result(*key) if good else v.ProviderError(**about(*key), error=TOO_LARGE)
        self.d.receive(event, source=name)
        before = self.ended[key]
        self.look()
        assert (self.ended[key] == before + 1) == expected

    @rule(task=TASKS)
    def cancel(self, task):
        self.d.receive(e.CancelTask(**about(task, self.attempts[task])), source="persistence")
        self.look()

    @rule(task=TASKS, status=st.sampled_from(["ok", "duplicate", "stale"]))
    def ledger_answers(self, task, status):
        for n in range(1, self.attempts[task] + 1):
            key = f"end/w/{task}/{n}"
            if key in self.d.asks:
                self.d.answer(p.DataSaved(status=status), key=key)
                self.held.discard((task, n))
                self.look()

    @rule(task=TASKS)
    def outdated(self, task):
        key = (task, self.attempts[task])
        if f"start/w/{task}/{key[1]}" in self.d.asks:
            self.d.answer(p.DataSaved(status="stale"), key=f"start/w/{task}/{key[1]}")
            self.held.discard(key)
            self.calls.pop(key, None)
            self.look()
            assert self.ended[key] == 0

    @rule(data=st.data())
    def overtime(self, data):
        if timers := sorted(key for key in self.d.timers if key.startswith("deadline/")):
            self.d.expire(data.draw(st.sampled_from(timers)))
            self.look()

    @rule()
    def offer(self):
        self.d.expire("request")
        (said,) = [effect.event for effect in self.d.take() if not isinstance(effect, SetTimer)]
        assert said.slots == max(3 - len(self.held), 0)
        waiting = len([key for key in self.held if key not in self.calls and not self.ended[key]])
        free = sum(self.capacity.values()) - len(self.calls)
        assert said.room == ({ECHO: max(free - waiting, 0)} if self.capacity else {})

    @invariant()
    def the_inventory_is_what_is_held(self):
        assert {(task, n) for _, task, n in self.d.machine.inventory()} == self.held

    @invariant()
    def nothing_waits_while_a_provider_has_room(self):
        waiting = [key for key in self.held if key not in self.calls and not self.ended[key]]
        assert not waiting or sum(self.capacity.values()) <= len(self.calls)

    @invariant()
    def no_timer_outlives_its_call(self):
        timed = {key.split("/")[2] for key in self.d.timers if key.startswith("deadline/")}
        assert timed <= {task for task, _ in self.calls}


TestBeside = Beside.TestCase
TestBeside.settings = settings(max_examples=80, stateful_step_count=40)
