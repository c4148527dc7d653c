"""What a connection may cost the hub, and when it is told to wait.

Work is counted in events: one for each that is routed, more for those that the hub itself has to answer at
length. A connection that has used up what it may in its time is not cut but read more slowly, so that its
peer waits; a client that presses on regardless is cut in the end. Bytes that many connections hold together
are counted in one :class:`Pool`, so that many small excesses are no large one.
"""

from __future__ import annotations

from dataclasses import dataclass

from gleitzeitd.errors import LimitExceeded
from gleitzeitd.machines.hub_settings import Settings

BURST_SECONDS = 2.0
"""A connection may use up what it may in so many seconds at once."""
LEAST_WAIT = 0.02
"""Seconds. Shorter waits are saved up: to be woken for each event costs more than the event."""

BYTES_SHIFT = 12
"""A packet counts for one event more for each 4096 of its characters."""
LARGE_PACKET = 1024 * 1024
"""Characters. Of larger packets of clients it is counted what they would be when read."""
STRUCTURE = 500_000
"""Lists, tables and separators that a packet of a client may have; with more it ends its connection."""

COSTS = {
    "register_component": 20,
    "serve_shards": 5,
    "subscribe": 2,
    "unsubscribe": 2,
}
"""How many events a command to the hub counts for, besides what is in it."""
LISTING_COSTS = 20
TRACE_COSTS = 100
"""The same of those with long answers, besides one for each of their entries."""

BODIES = {"heartbeat_response": 64 * 1024, "register_component": 16 * 1024}
"""The longest body, in characters, of events to the hub that it keeps something of."""
LONGEST_BODY = 1024 * 1024
"""Of the others that are for the hub itself."""
CLIENT_FIGURES = 4096
"""The longest ``heartbeat_response`` of a client, in characters: what a client says of itself is kept."""


class Bucket:
    """How fast one connection may send: a rate with a credit, of which one number is kept.

    ``_paid`` is the instant up to which the events taken so far have been paid for by the rate: where it lies
    in the future, the connection is in debt.
    """

    __slots__ = ("_burst", "_paid", "_price", "_slowed")

    def __init__(self, rate: float, now: float) -> None:
        """``rate`` in events per second."""
        self._price = 1.0 / rate
        self._burst = BURST_SECONDS
        self._paid = now - self._burst
        self._slowed: float | None = None

    def take(self, events: int, now: float) -> float:
        """Count events; returns the seconds until nothing is owed any more, 0 if nothing is."""
        least = now - self._burst
        paid = (self._paid if self._paid > least else least) + events * self._price
        self._paid = paid
        if paid <= now:
            self._slowed = None
            return 0.0
        if self._slowed is None:
            self._slowed = now
        return paid - now

    def owes(self, now: float) -> bool:
        """Whether something is owed."""
        return self._paid > now

    def slowed_for(self, now: float) -> float:
        """Seconds since which it has been in debt each time that it sent something."""
        return 0.0 if self._slowed is None else now - self._slowed


@dataclass(slots=True)
class Pool:
    """Bytes that several connections hold together."""

    limit: int
    used: int = 0

    @property
    def is_over(self) -> bool:
        """Whether somebody has to give way."""
        return self.used > self.limit


def structure(packet: str) -> int:
    """How many lists, tables and separators a JSON text has, those within its texts left out.

    A few characters of JSON make objects of a hundred bytes each; a long text does not.
    """
    bare = packet.replace("\\\\", "").replace('\\"', "")
    texts = bare.count('"') // 2
    if texts > STRUCTURE:
        return texts
    outside = "".join(bare.split('"')[::2])
    return outside.count(",") + outside.count("[") + outside.count("{")


def check_body(name: str, characters: int, *, client: bool) -> None:
    """Refuse events to the hub that are longer than anything that it wants to know.

    Raises:
        LimitExceeded: it is.
    """
    most = BODIES.get(name, LONGEST_BODY)
    if client and name == "heartbeat_response":
        most = CLIENT_FIGURES
    if characters > most:
        raise LimitExceeded(f"{name}: {characters} characters; at most {most} are read", retryable=False)


def check_topics(topics: list[str], mine: int, everybody: int, settings: Settings) -> None:
    """Refuse subscriptions beyond what one connection, or all of them, may have.

    ``mine`` and ``everybody`` are the numbers that there would be.

    Raises:
        LimitExceeded: with the setting that says so.
    """
    longest, limit, total = settings.topic_characters, settings.topics_per_connection, settings.topics
    too_long = next((len(topic) for topic in topics if len(topic) > longest), None)
    if too_long is not None:
        raise LimitExceeded(
            f"subscribe: a topic of {too_long} characters; at most {longest} (hub.topic_characters)",
            retryable=False,
        )
    if mine > limit:
        raise LimitExceeded(
            f"subscribe: {mine} topics; one connection may watch {limit} (hub.topics_per_connection): "
            "unsubscribe from some, or watch '*'",
            retryable=False,
        )
    if everybody > total:
        raise LimitExceeded(
            f"subscribe: {everybody} topics are watched by all connections; at most {total} (hub.topics)",
            retry_after=5.0,
        )
