"""The members of a hub, beside a plain dict of what they said."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gleitzeitd.machines.members import Member, Members
from gleitzeitd.model.access import full_grant
from gleitzeitd.model.names import SHARDS, ComponentId, Role


class Registry(RuleBasedStateMachine):
    """Members beside a plain dict of what was said last."""

    ids = st.sampled_from("abcd")
    shards = st.dictionaries(st.integers(0, SHARDS - 1), st.integers(1, 3), max_size=4)
    topics = st.lists(st.sampled_from(["*", "u", "v"]), max_size=3)

    def __init__(self) -> None:
        super().__init__()
        self.members = Members()
        self.model: dict[str, tuple[Member, dict[int, int], set[str]]] = {}

    @rule(name=ids)
    def join(self, name: str) -> None:
        if name not in self.model:
            member = Member(
                connection=f"@{name}",
                component_id=ComponentId(name),
                role=Role.QUEUE_MANAGER,
                epoch=0,
                since=0,
                heard=0,
                answered=0,
                beats=True,
                grant=full_grant("us"),
            )
            self.members.add(member)
            self.model[name] = (member, {}, set())

    @rule(name=ids)
    def leave(self, name: str) -> None:
        if name in self.model:
            self.members.remove(self.model.pop(name)[0])

    @rule(name=ids, shards=shards)
    def serve(self, name: str, shards: dict[int, int]) -> None:
        if name in self.model:
            member, _, topics = self.model[name]
            self.members.serve(member, dict(shards))
            self.model[name] = (member, shards, topics)

    @rule(name=ids, topics=topics, on=st.booleans())
    def watch(self, name: str, topics: list[str], on: bool) -> None:
        if name in self.model:
            member, _, watched = self.model[name]
            (self.members.watch if on else self.members.unwatch)(member, topics)
            watched.update(topics) if on else watched.difference_update(topics)

    @invariant()
    def the_newest_epoch_owns(self) -> None:
        for shard in range(SHARDS):
            epochs = [shards[shard] for _, shards, _ in self.model.values() if shard in shards]
            owner = self.members.owner(Role.QUEUE_MANAGER, shard)
            assert (owner is None) == (not epochs)
            if owner is not None:
                assert self.model[owner.component_id][1][shard] == max(epochs)

    @invariant()
    def watchers_are_those_who_said_so(self) -> None:
        for topic in ("u", "v", None):
            found = [each.component_id for each in self.members.watchers(topic)]
            assert len(found) == len(set(found))
            assert set(found) == {name for name, (_, _, said) in self.model.items() if said & {"*", topic}}

    @invariant()
    def one_of_the_role_is_found_if_there_is_one(self) -> None:
        chosen = self.members.choose(Role.QUEUE_MANAGER)
        assert (chosen is not None) == bool(self.model)
        assert len(self.members) == len(self.model)


TestMembers = Registry.TestCase
TestMembers.settings = hypothesis_settings(max_examples=40, stateful_step_count=25, deadline=None)
