"""Records behave as frozen dataclasses do."""

from __future__ import annotations

import dataclasses
from dataclasses import field

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.record import positional_record, record


@record
class Point:
    x: int
    y: int = 0
    about: list[str] = field(default_factory=list, compare=False)


@positional_record
class Pair:
    left: object
    right: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    left: object
    right: object = None


VALUES = st.integers(0, 2) | st.sampled_from(["a", "b"])


@given(VALUES, VALUES, VALUES, VALUES)
def test_they_compare_and_hash_as_frozen_dataclasses_do(a, b, c, d):
    assert (Pair(a, b) == Pair(c, d)) == (Frozen(a, b) == Frozen(c, d))
    assert hash(Pair(a, b)) == hash(Frozen(a, b))
    assert repr(Pair(a, b)) == repr(Frozen(a, b)).replace("Frozen", "Pair")


def test_one_of_another_class_is_never_equal():
    assert Pair(1, 2) != Frozen(1, 2)
    assert Pair(1) != 1


def test_what_is_not_to_be_compared_is_not():
    assert Point(x=1, about=["a"]) == Point(x=1, about=["b"])
    assert hash(Point(x=1, about=["a"])) == hash(Point(x=1))


def test_they_are_dataclasses_with_slots():
    assert dataclasses.replace(Point(x=1), y=5) == Point(x=1, y=5)
    assert not hasattr(Point(x=1), "__dict__")
    match Pair(1, 2):
        case Pair(left, right):
            assert (left, right) == (1, 2)


def test_a_list_made_for_one_is_not_the_list_of_another():
    assert Point(x=1).about is not Point(x=1).about
