"""When a failed task runs again.

A policy counts *failures*: ends of an attempt that are the task's own. What the infrastructure
loses is not a failure. After as many failures as ``max_attempts`` the task has failed for good, and
after one with an error that the policy does not cover.
"""

from __future__ import annotations

from enum import StrEnum

from gleitzeitd import errors
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.record import record

ATTEMPTS_LIMIT = 10
BASE_DELAY_RANGE = (0.1, 60.0)
"""Seconds."""
MAX_DELAY_RANGE = (1.0, 3600.0)
"""Seconds."""
BLOCK_ATTEMPTS = 3
"""``max_attempts`` of a ``retry`` block that does not say."""
NOT_FAILURES = {
    errors.ProviderNotAvailable.name: "on_lost says what becomes of a lost attempt",
    errors.ProviderOverloaded.name: "a task waits for room as long as it takes",
    errors.TaskCancelled.name: "what is cancelled does not run again",
}
"""Names of errors that no policy is asked about, and what decides instead."""


class Backoff(StrEnum):
    """How the delay grows with the number of failures."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"


@record
class RetryPolicy:
    """How often a task is tried, and how long to wait in between. The default: once."""

    max_attempts: int = 1
    """1 to ATTEMPTS_LIMIT, the first one included."""
    backoff: Backoff = Backoff.EXPONENTIAL
    base_delay: float = 1.0
    """Seconds before the second attempt."""
    max_delay: float = 300.0
    """Seconds at which the delay stops growing, jitter not included."""
    jitter: bool = True
    """Whether 10 to 30 % are added, so that tasks that failed together do not return together."""
    on: tuple[str, ...] = ()
    """Names of the only errors after which it is tried again; none: those that say so themselves."""
    never_on: tuple[str, ...] = ()
    """Names of errors after which it is not, whatever they say."""

    def allows_another(self, failures: int) -> bool:
        """Whether a task that has failed so many times may be tried again."""
        return failures < self.max_attempts

    def covers(self, error: ErrorInfo) -> bool:
        """Whether a task may be tried again after this error."""
        if error.name in self.never_on:
            return False
        return error.name in self.on if self.on else error.retryable


ONCE = RetryPolicy()
"""The policy of a task whose document has no ``retry``."""


def next_delay(policy: RetryPolicy, failures: int, luck: float) -> float:
    """Seconds from the ``failures``-th failure (1 or more) to the next attempt.

    ``luck`` is a random number from 0 to 1, handed in so that this stays a function.
    """
    assert failures >= 1
    assert 0.0 <= luck <= 1.0
    if policy.backoff is Backoff.FIXED:
        delay = policy.base_delay
    elif policy.backoff is Backoff.LINEAR:
        delay = policy.base_delay * failures
    else:
        # The exponent is bounded only so that the power of two fits a float.
        delay = policy.base_delay * 2.0 ** min(failures - 1, 60)
    delay = min(delay, policy.max_delay)
    return delay * (1.1 + 0.2 * luck) if policy.jitter else delay
