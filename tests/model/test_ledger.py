"""The rows and the transitions, under any order of changes."""

from __future__ import annotations

import pytest
from hypothesis import settings

from gleitzeitd.model.ledger import Attempt, Audience, ShardRow, TaskKey
from gleitzeitd.model.names import Role, Shard, TaskId, WorkflowId
from tests.stores.ledger_machine import LedgerMachine

TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=100, stateful_step_count=60)


def test_an_attempt_knows_its_task():
    assert Attempt(WorkflowId("w"), TaskId("t"), 3).key == TaskKey(WorkflowId("w"), TaskId("t"))


@pytest.mark.parametrize(
    ("role", "expected"),
    [(Role.DEPENDENCY_RESOLVER, ("r", 2, 5)), (Role.QUEUE_MANAGER, ("q", 3, 7))],
)
def test_a_shard_tells_its_owners_apart(role, expected):
    row = ShardRow(
        shard=Shard(1),
        last_resolver=5,
        last_queue_manager=7,
        resolver="r",
        resolver_epoch=2,
        queue_manager="q",
        queue_manager_epoch=3,
    )
    assert (row.owner(role), row.epoch(role), row.last(role)) == expected


def test_only_the_two_owners_of_shards_are_an_audience():
    assert Audience.of(Role.DEPENDENCY_RESOLVER) | Audience.of(Role.QUEUE_MANAGER) == Audience(3)
    with pytest.raises(KeyError):
        Audience.of(Role.CLIENT)
