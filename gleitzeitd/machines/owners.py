"""Who owns which shard: the ledger's memory of claims, and its shares.

Every live claimant of a role gets an equal share. A shard is free when nobody owns it, or its owner
has been silent for too long. Whoever has less than its share takes free shards first, then from the
richest. Wrong or late decisions cost work, never truth: every taking makes a new epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gleitzeitd.errors import NotPermitted
from gleitzeitd.events.persistence import ClaimShard, ShardClaim, ShardClaimed, ShardOwners
from gleitzeitd.model.change import TakeShards
from gleitzeitd.model.ledger import Audience, Fact, ShardRow
from gleitzeitd.model.names import SHARDS, ComponentId, Role, Shard


def claim_problem(role: Role, owner: str, asker: ComponentId, asker_role: str | None) -> NotPermitted | None:
    """Why a component may not claim shards as this; ``asker_role`` is what the hub has stamped."""
    if asker_role not in (None, role):
        return NotPermitted(f"claim_shard: {asker} is a {asker_role}, and claims as a {role}")
    if owner.rpartition(".")[0] != asker:
        return NotPermitted(f"claim_shard: {asker} is not {owner[:100]}, and claims in its name")
    return None


RECONNECT_SECONDS = 1.0
"""How long an owner whose connection ended has to come back."""


@dataclass(slots=True)
class _Claimant:
    component_id: ComponentId
    until: float
    """Monotonic: when its shards become free."""


@dataclass(slots=True)
class Owners:
    """A mirror of the shards' rows, and of who has claimed lately."""

    _rows: list[ShardRow] = field(default_factory=lambda: [ShardRow(shard=Shard(n)) for n in range(SHARDS)])
    _live: dict[tuple[Role, str], _Claimant] = field(default_factory=dict)

    def recover(self, rows: list[ShardRow], now: float, owner_seconds: float = 3.0) -> None:
        """Take over what is durable; every owner on record has its full time to claim again."""
        self._rows = list(rows)
        for role in (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER):
            for row in rows:
                if owner := row.owner(role):
                    component_id = ComponentId(owner.rpartition(".")[0])
                    self._live[role, owner] = _Claimant(component_id, now + owner_seconds)

    def claim(
        self, role: Role, owner: str, component_id: ComponentId, now: float, owner_seconds: float
    ) -> list[Shard]:
        """Note that ``owner`` lives; the shards that it should take now."""
        self._live[role, owner] = _Claimant(component_id, now + owner_seconds)
        # A component that has been started again is not its former self: what that one owned is free.
        for key, claimant in list(self._live.items()):
            same = claimant.component_id == component_id and key != (role, owner) and key[0] is role
            if same or claimant.until <= now:
                del self._live[key]
        holders: dict[str, list[Shard]] = {o: [] for r, o in self._live if r is role}
        free: list[Shard] = []
        for row in self._rows:
            holders.get(row.owner(role), free).append(row.shard)
        mine = len(holders[owner])
        least, rest = divmod(SHARDS, len(holders))
        share = least + (1 if rest else 0)
        taken = free[: max(share - mine, 0)]
        while mine + len(taken) < least:
            richest = max(holders, key=lambda o: len(holders[o]))
            taken.append(holders[richest].pop())
        return taken

    def renew(self, until: float) -> None:
        """Nobody could be heard for a while: nobody is the worse for it."""
        for claimant in self._live.values():
            claimant.until = max(claimant.until, until)

    def leave(self, role: Role, owner: str) -> list[Shard]:
        """``owner`` ends: the shards that it gives up."""
        self._live.pop((role, owner), None)
        return [row.shard for row in self._rows if row.owner(role) == owner]

    def disconnected(self, component_id: ComponentId, now: float, owner_seconds: float) -> None:
        """Its connection to a hub ended; unless it claims again soon, it is gone."""
        until = now + min(RECONNECT_SECONDS, owner_seconds)
        for claimant in self._live.values():
            if claimant.component_id == component_id:
                claimant.until = min(claimant.until, until)

    def took(self, change: TakeShards, now: float) -> None:
        """A taking has been committed: mirror it."""
        for shard in change.shards:
            row = self._rows[shard]
            if change.role is Role.DEPENDENCY_RESOLVER:
                row.resolver, row.resolver_epoch = change.owner, row.resolver_epoch + 1
            else:
                row.queue_manager, row.queue_manager_epoch = change.owner, row.queue_manager_epoch + 1

    def published(self, fact: Fact) -> None:
        """A feed entry has been committed: mirror its number."""
        row = self._rows[fact.shard]
        row.number = fact.stamp.number
        if fact.audience & Audience.RESOLVER:
            row.last_resolver = fact.stamp.number
        if fact.audience & Audience.QUEUE_MANAGER:
            row.last_queue_manager = fact.stamp.number

    def owned(self, role: Role, owner: str) -> list[ShardRow]:
        """The shards of an owner."""
        return [row for row in self._rows if row.owner(role) == owner]

    def is_owner(self, component_id: ComponentId, shard: Shard) -> bool:
        """Whether the shard is a component's, for whichever role."""
        row = self._rows[shard]
        return component_id in (row.owner_id(Role.DEPENDENCY_RESOLVER), row.owner_id(Role.QUEUE_MANAGER))

    def answer_to(self, claim: ClaimShard, owner_seconds: float) -> ShardClaimed:
        """What the claimant owns now."""
        role = claim.role
        owned = [
            ShardClaim(shard=row.shard, epoch=row.epoch(role), number=row.last(role))
            for row in self.owned(role, claim.incarnation)
        ]
        return ShardClaimed(owned=owned, owner_seconds=owner_seconds, claimants=self.claimants(role))

    def told(self) -> ShardOwners:
        """Who may lease the tasks of each shard."""
        named = ((row.shard, row.owner_id(Role.QUEUE_MANAGER)) for row in self._rows)
        return ShardOwners(owners={str(shard): ComponentId(owner) for shard, owner in named if owner})

    def claimants(self, role: Role) -> list[ComponentId]:
        """Who has claimed lately."""
        return sorted(claimant.component_id for (r, _), claimant in self._live.items() if r is role)
