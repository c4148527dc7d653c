"""Whether a change may happen, and what follows from it: the one place that decides.

:func:`apply` is a function of the rows and the change. Every store runs it inside a transaction,
so that all of them agree. Every change is a compare-and-set on state and attempt: a repeat is
``duplicate``, an outdated one ``stale``, and neither has any effect. What became true is published
as numbered facts in the same transaction, and what somebody asked for is in the audit.
"""

from gleitzeitd.model.transition import deletion, doubt, tasks, workflows  # noqa: F401  (importing registers them)
from gleitzeitd.model.transition.audit import applied as apply
from gleitzeitd.model.transition.audit import refusal
from gleitzeitd.model.transition.tasks import BUSY_DELAY

__all__ = ["BUSY_DELAY", "apply", "refusal"]
