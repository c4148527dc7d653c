"""The event catalogue: everything that may cross the wire, and nothing else.

Importing this package loads every event module, so ``CATALOGUE`` is complete.
"""

from gleitzeitd.events import (  # noqa: F401  (importing registers)
    dependency_resolver,
    execution_engine,
    hub,
    persistence,
    protocol_registry,
    provider,
    queue_manager,
)
from gleitzeitd.events.base import (
    CATALOGUE,
    COMPONENTS,
    RENAMED,
    Delivery,
    Envelope,
    Event,
    Kind,
    Route,
    To,
    delivered_names,
    receivers,
)

__all__ = [
    "CATALOGUE",
    "COMPONENTS",
    "RENAMED",
    "Delivery",
    "Envelope",
    "Event",
    "Kind",
    "Route",
    "To",
    "delivered_names",
    "receivers",
]
