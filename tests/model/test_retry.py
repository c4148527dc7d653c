from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd import errors
from gleitzeitd.model.retry import Backoff, RetryPolicy, next_delay
from gleitzeitd.plain import from_plain, to_plain

names = st.lists(st.sampled_from(sorted(errors.NAMES)), max_size=3).map(tuple)


def policies(jitter=st.booleans()):
    return st.builds(
        RetryPolicy,
        max_attempts=st.integers(1, 10),
        backoff=st.sampled_from(Backoff),
        base_delay=st.floats(0.1, 60),
        max_delay=st.floats(1, 3600),
        jitter=jitter,
        on=names,
        never_on=names,
    )


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff.FIXED, [2, 2, 2, 2]),
        (Backoff.LINEAR, [2, 4, 6, 8]),
        (Backoff.EXPONENTIAL, [2, 4, 8, 10]),
    ],
)
def test_the_delay_grows_as_the_policy_says_up_to_its_maximum(backoff, delays):
    policy = RetryPolicy(max_attempts=9, backoff=backoff, base_delay=2, max_delay=10, jitter=False)
    assert [next_delay(policy, n, 0.5) for n in (1, 2, 3, 4)][: len(delays)] == delays


@given(policies(st.just(True)), st.integers(1, 100_000), st.floats(0, 1))
def test_jitter_adds_between_10_and_30_percent(policy, failures, luck):
    plain = next_delay(replace(policy, jitter=False), failures, luck)
    assert plain * 1.0999 <= next_delay(policy, failures, luck) <= plain * 1.3001


@given(policies(st.just(False)), st.integers(1, 1000))
def test_a_delay_never_shrinks_with_more_failures(policy, failures):
    assert next_delay(policy, failures, 0) <= next_delay(policy, failures + 1, 0)


@given(policies())
def test_a_policy_survives_its_plain_form(policy):
    assert from_plain(RetryPolicy, to_plain(policy)) == policy


def test_by_default_a_task_is_tried_once():
    assert not RetryPolicy().allows_another(1)
    assert RetryPolicy(max_attempts=3).allows_another(2)


SLOW, BROKEN, WRONG = (
    e("x").info() for e in (errors.TaskTimeout, errors.ExecutionFailed, errors.ParameterInvalid)
)


@pytest.mark.parametrize(
    ("policy", "covered"),
    [
        ({}, [SLOW, BROKEN]),
        ({"on": ("TASK_TIMEOUT", "TASK_PARAMETER_INVALID")}, [SLOW, WRONG]),
        ({"never_on": ("TASK_TIMEOUT",)}, [BROKEN]),
        ({"on": ("TASK_TIMEOUT",), "never_on": ("TASK_TIMEOUT",)}, []),
    ],
)
def test_a_policy_covers_the_errors_that_it_names_or_those_that_can_be_tried_again(policy, covered):
    assert [error for error in (SLOW, BROKEN, WRONG) if RetryPolicy(**policy).covers(error)] == covered
