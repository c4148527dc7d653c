"""Owning shards and following their feeds, by way of a follower that writes down what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import CancelAsk, SetTimer
from gleitzeitd.machines.feed import entry_of
from gleitzeitd.machines.follower import CLAIM_SECONDS, CLAIMS_SKIPPED, LEAVE_SECONDS, Follower
from gleitzeitd.model.ledger import Audience, Fact, FeedStamp
from gleitzeitd.model.names import Role, Shard, WorkflowId, shard_of
from tests.drive import Dialogue, asks, notes, tells

W = WorkflowId("w")
N = shard_of(W)
AGAIN = SetTimer("claim", CLAIM_SECONDS)


@dataclass(slots=True, kw_only=True)
class Scribe(Follower):
    """Follows as a queue manager does."""

    role = Role.QUEUE_MANAGER
    heard: list = field(default_factory=list)

    def take_over(self, shard, item, now):
        self.heard.append(item)

    def forget(self, shard):
        self.heard.clear()

    def apply(self, event, correlation_id, now):
        self.heard.append(event.feed.number)

    def previous(self, stamp):
        return stamp.after_queue_manager

    def on_enqueue_task(self, event, ctx):
        return self.follow(event, ctx)


def stamped(number, after):
    return q.EnqueueTask(
        workflow_id=W,
        tasks=[],
        feed=FeedStamp(number=number, after_queue_manager=after, after_workflow=after),
    )


def item(number, after):
    stamp = FeedStamp(number=number, after_queue_manager=after)
    body = {"workflow_id": W, "tasks": []}
    fact = Fact(
        name="enqueue_task",
        workflow_id=W,
        shard=N,
        correlation_id="c",
        audience=Audience.QUEUE_MANAGER,
        stamp=stamp,
        body=body,
    )
    return entry_of(fact)


def claimed(*shards, epoch=1, number=5):
    owned = [p.ShardClaim(shard=Shard(s), epoch=epoch, number=number) for s in shards]
    return p.ShardClaimed(owned=owned, owner_seconds=3.0)


def snapshot(after=None):
    return asks(p.QueryData, key=f"snapshot/{N}", kind_of_data="snapshot", shard_number=N, after=after)


def feed(after):
    return asks(p.QueryData, key=f"feed/{N}", kind_of_data="feed", shard_number=N, after=after)


def claim(release=False):
    return asks(p.ClaimShard(role=Role.QUEUE_MANAGER, incarnation="me.1", release=release), key="claim")


def follower():
    """One that owns N, whose snapshot was read at number 5, and who has fetched what came since."""
    d = Dialogue(Scribe(incarnation="me.1"))
    d.start() << claim() << AGAIN
    d.answer(claimed(N), key="claim") << snapshot() << tells(h.ServeShards(shards={}))
    d.answer(p.DataRetrieved(items=["x"], number=5), key=f"snapshot/{N}")
    d << notes("debug") << tells(h.ServeShards(shards={str(N): 1})) << feed(5)
    d.answer(p.DataRetrieved(items=[]), key=f"feed/{N}").silent()
    d.machine.heard.clear()
    return d


def test_a_shard_is_served_once_it_is_known_whole():
    d = Dialogue(Scribe(incarnation="me.1"))
    d.start() << claim() << AGAIN
    d.answer(claimed(N), key="claim") << snapshot() << tells(h.ServeShards(shards={}))
    d.answer(p.DataRetrieved(items=["x", "y"], next="y", number=5)) << snapshot(after="y")
    assert not d.machine.owns(N)
    d.answer(p.DataRetrieved(items=["z"], number=9)) << notes("debug")
    # What was published since the first page was read, at number 5, went to nobody.
    d << tells(h.ServeShards(shards={str(N): 1})) << feed(5)
    assert d.machine.owns(N)
    assert d.machine.heard == ["x", "y", "z"]


def test_entries_are_applied_in_order_and_once():
    d = follower()
    d >> stamped(6, after=5)
    d >> stamped(8, after=6)  # 7 is not for this role
    d >> stamped(6, after=5)
    d >> stamped(8, after=6)
    assert d.silent().machine.heard == [6, 8]


def test_a_gap_is_read_from_the_ledger():
    d = follower()
    d >> stamped(7, after=6) << feed(5)
    d >> stamped(8, after=7)
    d.answer(p.DataRetrieved(items=[item(6, 5), item(7, 6)], next=7)) << feed(7)
    d.answer(p.DataRetrieved(items=[item(8, 7)])).silent()
    assert d.machine.heard == [6, 7, 8]


def test_a_lost_last_entry_is_noticed_by_the_second_claim():
    d = follower()
    d.expire("claim") << claim() << AGAIN
    d.answer(claimed(N, number=6)) << tells(h.ServeShards)  # it may be on its way
    d.expire("claim") << claim() << AGAIN
    d.answer(claimed(N, number=6)) << feed(5) << tells(h.ServeShards)


def test_where_the_missing_entries_are_deleted_a_snapshot_is_read_again():
    d = follower()
    d >> stamped(9, after=8) << feed(5)
    d.answer(p.DataRetrieved(items=[item(9, 8)], horizon=8))
    d << CancelAsk(f"snapshot/{N}") << CancelAsk(f"feed/{N}") << notes("info")
    d << tells(h.ServeShards(shards={})) << snapshot()
    assert d.machine.heard == []
    assert not d.machine.owns(N)
    d.answer(p.DataRetrieved(items=["x"], number=9)) << notes("debug") << tells(h.ServeShards) << feed(9)
    d.answer(p.DataRetrieved(items=[], horizon=8)).silent()
    assert d.machine.heard == ["x"]
    assert d.machine.owns(N)


def test_who_is_at_the_horizon_has_missed_nothing():
    d = follower()
    d >> stamped(7, after=6) << feed(5)
    d.answer(p.DataRetrieved(items=[item(6, 5), item(7, 6)], horizon=5)).silent()
    assert d.machine.heard == [6, 7]


def test_a_shard_that_is_anothers_is_forgotten():
    d = follower()
    d >> stamped(6, after=5)
    d.expire("claim") << claim() << AGAIN
    d.answer(claimed()) << CancelAsk(f"snapshot/{N}") << CancelAsk(f"feed/{N}")
    d << tells(h.ServeShards(shards={}))
    assert d.machine.heard == []
    assert not d.machine.owns(N)
    d.receive(stamped(7, after=6)).silent()


def test_a_new_epoch_means_that_it_was_anothers_in_between():
    d = follower()
    d.expire("claim") << claim() << AGAIN
    d.answer(claimed(N, epoch=3)) << CancelAsk(f"snapshot/{N}") << CancelAsk(f"feed/{N}")
    d << snapshot() << tells(h.ServeShards(shards={}))


def test_a_slow_answer_to_a_claim_is_waited_for():
    d = Dialogue(Scribe(incarnation="me.1"))
    d.start() << claim() << AGAIN
    for _ in range(CLAIMS_SKIPPED - 1):
        d.expire("claim") << AGAIN
    d.answer(claimed(N)) << snapshot() << tells(h.ServeShards)
    d.expire("claim") << claim() << AGAIN


def test_a_claim_without_an_answer_is_made_anew():
    d = Dialogue(Scribe(incarnation="me.1"))
    d.start() << claim() << AGAIN
    for _ in range(CLAIMS_SKIPPED - 1):
        d.expire("claim") << AGAIN
    d.expire("claim") << claim() << AGAIN


def test_a_shard_that_cannot_be_read_is_begun_anew_by_the_next_claim():
    d = follower()
    d.receive(stamped(7, after=6)) << feed(5)
    d.perform(d.machine.begin_anew(N)) << CancelAsk(f"snapshot/{N}") << CancelAsk(f"feed/{N}")
    d.expire("claim") << claim() << AGAIN
    d.answer(claimed(N)) << snapshot() << tells(h.ServeShards(shards={}))


def test_whoever_leaves_gives_its_shards_back_and_waits_not_for_ever():
    d = follower()
    d.drain() << claim(release=True) << AGAIN << SetTimer("left", LEAVE_SECONDS)
    assert not d.machine.drained()
    d.expire("left") << CancelAsk(f"snapshot/{N}") << CancelAsk(f"feed/{N}")
    assert d.machine.drained()


def test_every_hub_is_told_what_is_served():
    d = follower()
    d.hub_connected() << tells(h.ServeShards(shards={str(N): 1}))
