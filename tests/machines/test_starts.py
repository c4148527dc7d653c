"""Which starts are told, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.machines.starts import Starts
from gleitzeitd.model.ledger import Attempt
from gleitzeitd.model.names import TaskId, WorkflowId


def attempt(number):
    return Attempt(WorkflowId("w"), TaskId("t"), number)


@given(st.lists(st.booleans(), max_size=40))
def test_each_start_is_told_once_in_order_and_held_for_one_full_period_and_two_at_most(steps):
    """A step is a start, or the end of a period. Periods end only while the starts are not idle."""
    starts, told, begun, period = Starts(), [], {}, 0
    for number, begins in enumerate(steps):
        if begins:
            begun[number] = period
            was_idle = starts.idle
            held = starts.is_held(attempt(number))
            assert held != was_idle
            if not held:
                told.append(number)
        elif not starts.idle:
            period += 1
            due = [each.attempt for each in starts.due()]
            assert all(period - begun[each] == 2 for each in due), "ends of periods since it began"
            told += due
    while not starts.idle:
        told += [each.attempt for each in starts.due()]
    assert told == sorted(begun)
