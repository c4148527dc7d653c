"""How fast a connection may send, and what of it is not even read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import LimitExceeded
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.limits import (
    BURST_SECONDS,
    CLIENT_FIGURES,
    LONGEST_BODY,
    Bucket,
    Pool,
    check_body,
    check_topics,
    structure,
)


def test_a_credit_can_be_used_at_once_and_then_the_rate_holds():
    bucket = Bucket(rate=10, now=100.0)
    assert bucket.take(20, 100.0) == 0
    assert bucket.take(5, 100.0) == pytest.approx(0.5)
    assert bucket.owes(100.4)
    assert not bucket.owes(100.6)
    assert bucket.take(1, 101.0) == 0


def test_credit_does_not_grow_beyond_the_burst():
    bucket = Bucket(rate=10, now=0.0)
    assert bucket.take(int(10 * BURST_SECONDS), 1000.0) == 0
    assert bucket.take(1, 1000.0) == pytest.approx(0.1)


def test_who_pauses_is_not_slowed_any_more():
    bucket = Bucket(rate=10, now=0.0)
    bucket.take(100, 0.0)
    bucket.take(1, 5.0)
    assert bucket.slowed_for(5.0) == 5.0
    assert bucket.take(1, 50.0) == 0
    assert bucket.slowed_for(50.0) == 0


@given(
    st.floats(0.5, 1e6),
    st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 10)), min_size=1, max_size=50),
)
def test_whoever_waits_as_told_sends_no_more_than_rate_and_burst(rate, steps):
    now, sent = 0.0, 0
    bucket = Bucket(rate, now)
    for events, pause in steps:
        wait = bucket.take(events, now)
        sent += events
        now += wait + pause
        assert sent <= rate * (now + BURST_SECONDS) * (1 + 1e-9) + 1e-6


def test_a_pool_is_over_only_beyond_its_limit():
    assert not Pool(limit=10, used=10).is_over
    assert Pool(limit=10, used=11).is_over


@given(
    st.recursive(
        st.text(max_size=5) | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_the_structure_of_a_packet_is_at_least_that_of_what_is_read(value):
    def count(found):
        inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        return isinstance(found, (dict, list)) + sum(map(count, inner))

    assert structure(json.dumps(value)) >= count(value)


def test_the_structure_within_a_text_does_not_count():
    assert structure(json.dumps(["name", {}, json.dumps([[1, 2, 'a"b\\', {"c": []}]] * 100)])) == 4


def test_what_the_hub_keeps_of_a_client_is_small():
    check_body("heartbeat_response", CLIENT_FIGURES, client=True)
    check_body("heartbeat_response", CLIENT_FIGURES + 1, client=False)
    for name, size, client in (
        ("heartbeat_response", CLIENT_FIGURES + 1, True),
        ("register_component", 2**20, False),
        ("subscribe", LONGEST_BODY + 1, True),
    ):
        with pytest.raises(LimitExceeded, match=name) as caught:
            check_body(name, size, client=client)
        assert not caught.value.retryable


@pytest.mark.parametrize(
    ("topics", "mine", "everybody", "words", "later"),
    [
        (["x" * 513], 1, 1, "topic_characters", False),
        (["x"], 1001, 1001, "topics_per_connection", False),
        (["x"], 1000, 50_001, "hub.topics", True),
    ],
)
def test_what_may_be_watched_is_bounded_for_each_and_for_all(topics, mine, everybody, words, later):
    check_topics(["x" * 512], 1000, 50_000, Settings())
    with pytest.raises(LimitExceeded, match=words) as caught:
        check_topics(topics, mine, everybody, Settings())
    assert caught.value.retryable is later
