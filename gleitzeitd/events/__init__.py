"""The event catalogue: everything that may cross the wire, and nothing else.

Importing this package loads every event module, so ``CATALOGUE`` is complete.

Versions of the wire. A version is a number, next to those of packages, which change for other reasons too.
A component says in ``register_component`` which it speaks, from the oldest to the newest, and the hub
answers with the newest that both speak, or refuses with ``WIRE_VERSION_UNSUPPORTED`` (-25007); who says
nothing speaks 1. A release speaks its own version and at least that of the release before it, so that hosts
can be upgraded one after the other, in any order.

* What is spoken on a connection governs how things are put there: the forms of an event, its envelope,
  batches, bundles, the events that are declared as ``link``. Optional features are negotiated by
  ``capabilities``.
* Bodies go from one component through the hub, unread, to another, which may be older or newer than the
  hub. So they are never translated, and a version may only *add*: events, and fields with a default that
  means what was meant without them. What exists keeps its name, its type and its meaning, or gets a new
  name.
* Whoever speaks more than the first version says so in ``_wire`` of its envelopes. A receiver that does not
  speak that leaves out the fields that it does not know. From all others such a field is an error.
* An event that a hub does not know it refuses; that a component does not know, it drops, and says so once.
  Whoever sends one that is new must be able to do without an answer.
* Whatever changes ``tests/catalogue.json`` after a release raises ``WIRE.newest``.
"""

from gleitzeitd.events import (  # noqa: F401  (importing registers)
    audit,
    dependency_resolver,
    execution_engine,
    hub,
    operations,
    persistence,
    protocol_registry,
    provider,
    queue_manager,
)
from gleitzeitd.events.base import (
    CATALOGUE,
    COMPONENTS,
    FIRST_WIRE,
    RENAMED,
    WIRE,
    Delivery,
    Envelope,
    Event,
    Kind,
    Route,
    To,
    WireRange,
    delivered_names,
    receivers,
)

__all__ = [
    "CATALOGUE",
    "COMPONENTS",
    "FIRST_WIRE",
    "RENAMED",
    "WIRE",
    "Delivery",
    "Envelope",
    "Event",
    "Kind",
    "Route",
    "To",
    "WireRange",
    "delivered_names",
    "receivers",
]
