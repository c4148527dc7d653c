"""What an engine has told of its slots and its room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.machines.room import Offer

A, B = "a/v1", "b/v1"


@given(st.lists(st.sampled_from(["come", "end"]), max_size=60), st.integers(1, 20))
def test_whoever_was_told_knows_of_half_at_least_and_never_of_more_than_there_is(course, slots):
    offer, running = Offer(slots, {A: slots}), 0
    for what in course:
        if what == "come" and offer.free > 0:
            offer.take(A)
            running += 1
        elif what == "end" and running:
            running -= 1
        free = slots - running
        if offer.is_outdated(free, {A: free}):
            offer = Offer(free, {A: free})
        assert free / 2 <= offer.free <= free


def test_a_protocol_that_comes_or_goes_is_told_at_once():
    offer = Offer(4, {A: 4})
    assert not offer.is_outdated(4, {A: 4})
    assert offer.is_outdated(4, {A: 4, B: 1})
    assert offer.is_outdated(4, {})


def test_less_than_was_told_is_told_at_once():
    assert Offer(4, {A: 4}).is_outdated(3, {A: 4})
    assert Offer(4, {A: 4}).is_outdated(4, {A: 3})


def test_a_task_of_a_protocol_without_room_takes_its_slot_only():
    offer = Offer(4, {A: 4})
    offer.take(B)
    assert (offer.free, offer.room) == (3, {A: 4})


def test_of_little_room_every_call_that_ends_is_told():
    assert Offer(99, {A: 3}).is_outdated(99, {A: 4})
    assert not Offer(99, {A: 500}).is_outdated(99, {A: 510})
    assert Offer(99, {A: 450}).is_outdated(99, {A: 510})
