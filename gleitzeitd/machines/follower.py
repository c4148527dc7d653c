"""A role that owns shards and follows their feeds: what resolver and queue manager have in common.

It claims, and claims again every second. For every shard given to it, it reads a snapshot, and then
follows the feed from the snapshot's number on. An entry that does not follow the last one means that
something was lost: then it reads the feed from the ledger, and skips nothing. Where the ledger has deleted
what it would have to read, with the workflows that it was about, it reads a snapshot again. It takes part
in a shard (and tells the hubs so) only when it knows it whole; it forgets a shard that the ledger gives to
another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from gleitzeitd.events import Event
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.machines.base import Ask, CancelAsk, Context, Effects, Machine, Note, SetTimer, Tell
from gleitzeitd.machines.feed import read_entry, stamp_of
from gleitzeitd.model.ledger import FeedStamp
from gleitzeitd.model.names import Role, Shard
from gleitzeitd.plain import Json

CLAIM_SECONDS = 1.0
"""Between two claims; well under the ledger's ``owner_seconds``."""
CLAIMS_SKIPPED = 3
"""After so many times without an answer a claim is asked anew."""
PAGE = 500
"""Snapshot items and feed entries fetched at once."""
_SNAPSHOT = "snapshot/"
_FEED = "feed/"
_CLAIM = "claim"
_LEFT = "left"
LEAVE_SECONDS = 1.0
"""How long to wait for the ledger to take the shards back; later it notices by itself."""


@dataclass(slots=True)
class Following:
    """Where the follower is in a shard that it owns."""

    epoch: int
    number: int | None = None
    """Of the snapshot; None until its first page has come."""
    cursor: int = 0
    """Number of the last entry applied."""
    loaded: bool = False
    fetching: bool = False
    quiet_at: int = -1
    """The cursor when the last claim was answered: if it has not moved and is behind, something was lost."""


@dataclass(slots=True, kw_only=True)
class Follower(Machine, ABC):
    """Base of the machines that own shards. Subclasses say what a snapshot and an entry mean."""

    role: ClassVar[Role]
    incarnation: str = ""
    """Names this process among all that ever claimed."""
    shards: dict[Shard, Following] = field(default_factory=dict)
    leaving: bool = False
    cause: str | None = None
    """The ``message_id`` of what is being handled: decisions that ``settle`` takes later follow from it."""
    unanswered: int = 0
    """Claims' times that have passed since the open claim was asked."""

    # --- for subclasses -------------------------------------------------------------------------

    @abstractmethod
    def take_over(self, shard: Shard, item: Json, now: float) -> None:
        """One item of a shard's snapshot."""

    @abstractmethod
    def forget(self, shard: Shard) -> None:
        """The shard is another's, or its snapshot is read anew."""

    @abstractmethod
    def apply(self, event: Event, correlation_id: str, now: float) -> None:
        """One entry of the feed, in order, each once."""

    @abstractmethod
    def previous(self, stamp: FeedStamp) -> int:
        """Number of the entry that this role must have seen before the stamped one."""

    def owns(self, shard: Shard | None) -> bool:
        """Whether the machine takes part in the shard."""
        state = self.shards.get(shard) if shard is not None else None
        return state is not None and state.loaded

    def handle(self, name: str, event: Event, ctx: Context) -> Effects:
        self.cause = ctx.envelope.message_id
        return Machine.handle(self, name, event, ctx)

    # --- owning ---------------------------------------------------------------------------------

    def start(self, now: float, at: str) -> Effects:
        return self._claim()

    def hub_connected(self, now: float, at: str) -> Effects:
        return [self._serving()]

    def _claim(self) -> Effects:
        self.unanswered = 1
        claim = p.ClaimShard(role=self.role, incarnation=self.incarnation, release=self.leaving)
        return [Ask(_CLAIM, claim), SetTimer(_CLAIM, CLAIM_SECONDS)]

    def _serving(self) -> Tell:
        serving = {str(shard): state.epoch for shard, state in self.shards.items() if state.loaded}
        return Tell(h.ServeShards(shards=serving))

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        if key == _LEFT:
            return [effect for shard in list(self.shards) for effect in self.begin_anew(shard)]
        assert key == _CLAIM, key
        if 0 < self.unanswered < CLAIMS_SKIPPED:
            # A new ask would make us deaf to the answer of this one, which a slow ledger may still give.
            self.unanswered += 1
            return [SetTimer(_CLAIM, CLAIM_SECONDS)]
        return self._claim()

    def drain(self, now: float, at: str) -> Effects:
        """Another takes the shards over at once, instead of after a silence."""
        self.leaving = True
        return [*self._claim(), SetTimer(_LEFT, LEAVE_SECONDS)]

    def drained(self) -> bool:
        return self.leaving and not self.shards

    def on_shard_claimed(self, event: p.ShardClaimed, ctx: Context) -> Effects:
        if ctx.asked is None:
            return []
        self.unanswered = 0
        owned = {claim.shard: claim for claim in event.owned}
        effects: Effects = []
        for shard in [
            s for s, state in self.shards.items() if s not in owned or owned[s].epoch != state.epoch
        ]:
            effects += self.begin_anew(shard)
        for shard, claim in owned.items():
            state = self.shards.get(shard)
            if state is None:
                self.shards[shard] = Following(claim.epoch)
                effects += self._load(shard)
                continue
            if state.loaded and claim.number > state.cursor == state.quiet_at:
                effects += self._fetch(shard, state)
            state.quiet_at = state.cursor
        return [*effects, self._serving()]  # repeated: a hub may have missed it, or be new

    def _load(self, shard: Shard, after: Json = None) -> Effects:
        query = p.QueryData(
            kind_of_data="snapshot", shard_number=shard, audience=self.role, after=after, limit=PAGE
        )
        return [Ask(f"{_SNAPSHOT}{shard}", query)]

    def _fetch(self, shard: Shard, state: Following) -> Effects:
        if state.fetching:
            return []
        state.fetching = True
        query = p.QueryData(
            kind_of_data="feed", shard_number=shard, audience=self.role, after=state.cursor, limit=PAGE
        )
        return [Ask(f"{_FEED}{shard}", query)]

    def on_data_retrieved(self, event: p.DataRetrieved, ctx: Context) -> Effects:
        if ctx.asked is None:
            return []
        query = ctx.asked.event
        assert isinstance(query, p.QueryData)
        state = self.shards.get(query.shard_number) if query.shard_number is not None else None
        if state is None or query.shard_number is None or query.workflow_id is not None:
            return self.answered(query, event, ctx)
        if query.kind_of_data == "snapshot":
            return self._snapshot(query.shard_number, state, event, ctx.now)
        return self._page(query.shard_number, state, event, ctx.now)

    def begin_anew(self, shard: Shard | None) -> Effects:
        """Something about the shard cannot be had: forget it, and read it again after the next claim."""
        if shard is None or self.shards.pop(shard, None) is None:
            return []
        self.forget(shard)
        return [CancelAsk(f"{_SNAPSHOT}{shard}"), CancelAsk(f"{_FEED}{shard}")]

    def answered(self, query: p.QueryData, event: p.DataRetrieved, ctx: Context) -> Effects:
        """An answer to a query of the subclass's own."""
        return []

    def _snapshot(self, shard: Shard, state: Following, page: p.DataRetrieved, now: float) -> Effects:
        if state.number is None:
            # What changes while later pages are read has higher numbers, and is applied after them.
            state.number = state.cursor = page.number
        for item in page.items:
            self.take_over(shard, item, now)
        if page.next is not None:
            return self._load(shard, page.next)
        state.loaded = True
        note = Note(
            "debug", "a shard is followed", {"shard": shard, "epoch": state.epoch, "number": state.cursor}
        )
        # What was published since the first page was read went to nobody.
        return [note, self._serving(), *self._fetch(shard, state)]

    def _page(self, shard: Shard, state: Following, page: p.DataRetrieved, now: float) -> Effects:
        state.fetching = False
        if state.cursor < page.horizon:
            return self._read_again(shard, state)
        for item in page.items:
            entry = read_entry(item)
            self._apply(state, entry.event, entry.correlation_id, now)
        return self._fetch(shard, state) if page.next is not None else []

    def _read_again(self, shard: Shard, behind: Following) -> Effects:
        """What was missed is deleted: only a snapshot says what is true now."""
        effects = self.begin_anew(shard)
        self.shards[shard] = Following(behind.epoch)
        fields: dict[str, Json] = {"shard": shard, "number": behind.cursor}
        note = Note("info", "the feed is deleted up to here: a snapshot is read", fields)
        return [*effects, note, self._serving(), *self._load(shard)]

    # --- following ------------------------------------------------------------------------------

    def follow(self, event: Event, ctx: Context) -> Effects:
        """An entry has arrived by itself."""
        shard, stamp = event.shard(), stamp_of(event)
        state = self.shards.get(shard) if shard is not None else None
        if shard is None or state is None or stamp is None or not state.loaded:
            return []
        if self.previous(stamp) > state.cursor:
            return self._fetch(shard, state)
        self._apply(state, event, ctx.envelope.correlation_id, ctx.now)
        return []

    def _apply(self, state: Following, event: Event, correlation_id: str, now: float) -> None:
        stamp = stamp_of(event)
        assert stamp is not None, event
        if stamp.number > state.cursor:
            state.cursor = stamp.number
            self.apply(event, correlation_id, now)
