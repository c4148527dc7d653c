"""From whom an engine takes orders: the queue manager that owns the task's shard, as the ledger says.

Any queue manager can send an engine anything. What the ledger has not leased it discards in the end; but an
order that came first would have its parameters taken for those of the real one. So an order from somebody who
is not known to own the shard is held until the ledger has said who does. That is asked when an owner is new,
and costs everything else a look into a table.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from gleitzeitd.events.persistence import QueryOwners, ShardOwners
from gleitzeitd.events.queue_manager import ExecuteTask
from gleitzeitd.machines.base import Ask, Context, Effects, Machine, Note, caused
from gleitzeitd.model.names import ComponentId, shard_of
from gleitzeitd.plain import Json

KEY = "owners"
LATE_SECONDS = 5.0
"""How long an order of an owner may take that has lost its shard meanwhile."""
AGAIN_SECONDS = 10.0
"""After which it is asked anew: the ledger may have refused to say it."""
HELD_LIMIT = 10_000
"""Orders that may be held: more than an engine has slots."""

Order = tuple[ExecuteTask, Context]


@dataclass(slots=True)
class Lessors:
    """What the ledger has said of the owners of shards, and the orders that wait for what it says."""

    dropped: int = 0
    """Orders of those who did not own the shard."""
    _owners: dict[int, ComponentId] = field(default_factory=dict)
    _before: dict[int, tuple[ComponentId, float]] = field(default_factory=dict)
    _held: list[Order] = field(default_factory=list)
    _asked_at: float | None = None

    def is_known(self, order: ExecuteTask, ctx: Context) -> bool:
        """Whether the order comes from the owner."""
        return self._owners.get(shard_of(order.task.workflow_id)) == ctx.envelope.source_component

    def hold(self, order: ExecuteTask, ctx: Context) -> Effects:
        """Keep an order until it is known whether it is one."""
        if len(self._held) < HELD_LIMIT:
            self._held.append((order, ctx))
        if self._asked_at is not None and ctx.now - self._asked_at < AGAIN_SECONDS:
            return []
        self._asked_at = ctx.now
        return [Ask(KEY, QueryOwners())]

    def hear(self, told: ShardOwners, now: float) -> tuple[list[Order], Effects]:
        """The ledger has answered: the orders that are to be carried out, and what the journal hears."""
        self._asked_at = None
        owners = {int(shard): owner for shard, owner in told.owners.items() if shard.isdecimal()}
        for shard, owner in self._owners.items():
            if owners.get(shard) != owner:
                self._before[shard] = owner, now + LATE_SECONDS
        self._owners = owners
        held, self._held = self._held, []
        good = [(order, ctx) for order, ctx in held if self._is_owners(order, ctx, now)]
        bad = len(held) - len(good)
        if not bad:
            return good, []
        first = self.dropped == 0
        self.dropped += bad
        fields: dict[str, Json] = {"peers": sorted({ctx.envelope.source_component for _, ctx in held})[:10]}
        note = Note("warning", "orders were dropped: their sender does not own the shard", fields)
        return good, [note] if first else []

    def figures(self) -> dict[str, Json]:
        """For heartbeats, once there is something to tell."""
        return {"orders_dropped": self.dropped} if self.dropped else {}

    def _is_owners(self, order: ExecuteTask, ctx: Context, now: float) -> bool:
        if self.is_known(order, ctx):
            return True
        before, until = self._before.get(shard_of(order.task.workflow_id), (None, 0.0))
        return before == ctx.envelope.source_component and now <= until


class LeaseTaker(Machine):
    """The part of an engine that looks at whose orders come."""

    lessors: Lessors

    @abstractmethod
    def take(self, event: ExecuteTask, ctx: Context) -> Effects:
        """Carry out an order of an owner."""

    def on_execute_task(self, event: ExecuteTask, ctx: Context) -> Effects:
        if not self.lessors.is_known(event, ctx):
            return self.lessors.hold(event, ctx)
        return self.take(event, ctx)

    def on_shard_owners(self, event: ShardOwners, ctx: Context) -> Effects:
        if ctx.asked is None:
            return []
        orders, effects = self.lessors.hear(event, ctx.now)
        for order, given in orders:
            effects += caused(self.take(order, given), given.envelope.message_id)
        return effects
