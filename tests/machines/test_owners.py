"""Who owns which shard, under any order of claims, ends, and silences."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gleitzeitd.machines.owners import RECONNECT_SECONDS, Owners
from gleitzeitd.model.change import TakeShards
from gleitzeitd.model.ledger import ShardRow
from gleitzeitd.model.names import SHARDS, ComponentId, Role, Shard

ROLE = Role.DEPENDENCY_RESOLVER
SECONDS = 3.0
NAMES = ["a", "b", "c", "d", "e"]


class Claims:
    """Owners whose takings are committed at once."""

    def __init__(self):
        self.owners, self.now = Owners(), 0.0
        self.rows = [ShardRow(shard=Shard(n)) for n in range(SHARDS)]

    def claim(self, owner, component=None):
        """The shards taken."""
        component = ComponentId(component or owner)
        shards = self.owners.claim(ROLE, owner, component, self.now, SECONDS)
        self.took(owner, shards)
        return shards

    def took(self, owner, shards):
        assert len(shards) == len(set(shards))
        self.owners.took(TakeShards(role=ROLE, owner=owner, shards=shards), self.now)

    def owned(self, owner):
        return {row.shard for row in self.owners.owned(ROLE, owner)}

    def counts(self, *names):
        return [len(self.owned(name)) for name in names]


def test_one_owner_has_all():
    c = Claims()
    assert len(c.claim("a")) == SHARDS
    assert c.claim("a") == []


def test_a_second_claimant_gets_half():
    c = Claims()
    c.claim("a")
    c.claim("b")
    assert c.counts("a", "b") == [8, 8]
    assert c.claim("a") == c.claim("b") == []


def test_what_a_silent_owner_had_is_free():
    c = Claims()
    c.claim("a"), c.claim("b")
    c.now = SECONDS
    c.claim("b")
    assert c.counts("a", "b") == [0, SHARDS]


def test_a_component_that_was_started_again_is_another_owner():
    c = Claims()
    c.claim("a.1", "a")
    assert len(c.claim("a.2", "a")) == SHARDS


def test_a_disconnected_owner_has_a_moment_to_come_back():
    c = Claims()
    c.claim("a"), c.claim("b")
    c.owners.disconnected(ComponentId("a"), c.now, SECONDS)
    assert c.claim("b") == []
    c.now = RECONNECT_SECONDS
    c.claim("b")
    assert c.counts("b") == [SHARDS]


def test_who_leaves_gives_up_what_it_has():
    c = Claims()
    c.claim("a"), c.claim("b")
    assert set(c.owners.leave(ROLE, "a")) == c.owned("a")
    c.took("", c.owners.leave(ROLE, "a"))
    assert len(c.claim("b")) == 8


def test_owners_on_record_have_their_time_when_the_ledger_starts():
    c = Claims()
    rows = [ShardRow(shard=Shard(n), resolver="a", resolver_epoch=4) for n in range(SHARDS)]
    c.owners.recover(rows, c.now, SECONDS)
    c.claim("b")
    assert c.counts("a", "b") == [8, 8]
    c.now = SECONDS
    c.claim("b")
    assert c.counts("b") == [SHARDS]


def test_every_taking_is_a_new_epoch():
    c = Claims()
    c.claim("a")
    c.claim("b")
    assert {row.epoch(ROLE) for row in c.owners.owned(ROLE, "b")} == {2}
    assert {row.epoch(ROLE) for row in c.owners.owned(ROLE, "a")} == {1}


class Shares(RuleBasedStateMachine):
    """The model knows who lives, and until when."""

    def __init__(self):
        super().__init__()
        self.c, self.until = Claims(), {}

    def live(self):
        return [name for name, until in self.until.items() if until > self.c.now]

    @rule(name=st.sampled_from(NAMES))
    def claim(self, name):
        before = {other: self.c.owned(other) for other in NAMES}
        self.until[name] = self.c.now + SECONDS
        taken = self.c.claim(name)
        live = self.live()
        least = SHARDS // len(live)
        for other in live:
            if other != name and (robbed := before[other] & set(taken)):
                assert len(before[name]) < least, "it had its share"
                assert len(before[other]) - len(robbed) >= least, "a live owner was robbed of its share"
        if len(before[name]) >= least + 1:
            assert taken == []

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.9]))
    def time_passes(self, seconds):
        self.c.now += seconds

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name):
        self.c.took("", self.c.owners.leave(ROLE, name))
        self.until.pop(name, None)

    @rule(data=st.data())
    def everybody_claims_twice(self, data):
        live = data.draw(st.permutations(self.live()))
        for name in [*live, *live]:
            self.until[name] = self.c.now + SECONDS
            self.c.claim(name)
        counts = self.c.counts(*live)
        if live:
            assert sum(counts) == SHARDS
            assert max(counts) - min(counts) <= 1

    @invariant()
    def no_shard_has_two_owners(self):
        owned = [shard for name in [*NAMES, ""] for shard in self.c.owned(name)]
        assert sorted(owned) == list(range(SHARDS))


TestShares = Shares.TestCase
TestShares.settings = settings(max_examples=80, stateful_step_count=40)


def test_after_a_restart_of_everything_nobody_waits_for_their_former_selves():
    owners = Owners()
    rows = [ShardRow(shard=Shard(n), resolver="resolver-1.a", resolver_epoch=7) for n in range(SHARDS)]
    owners.recover(rows, 0.0)
    taken = owners.claim(Role.DEPENDENCY_RESOLVER, "resolver-1.b", ComponentId("resolver-1"), 0.1, 3.0)
    assert taken == list(range(SHARDS))
    owners.recover(rows, 0.0)
    assert owners.claim(Role.DEPENDENCY_RESOLVER, "other.b", ComponentId("other"), 0.1, 3.0) != taken
