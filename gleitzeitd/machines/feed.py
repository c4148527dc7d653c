"""The ledger's feed: facts to events, and the place of a follower in it.

Entries arrive as single events, and, when one is missing, as pages of ``data_retrieved``. Each says
which entry its follower must have seen before it, so that a gap is noticed and nothing is skipped.
"""

from __future__ import annotations

from typing import cast

from gleitzeitd.events import CATALOGUE, Event
from gleitzeitd.model.ledger import Fact, FeedStamp
from gleitzeitd.plain import Json, from_plain, to_plain
from gleitzeitd.record import positional_record


def event_of(fact: Fact) -> Event:
    """The event that publishes a fact."""
    return from_plain(CATALOGUE[fact.name], {**fact.body, "feed": to_plain(fact.stamp)}, fact.name)


def entry_of(fact: Fact) -> Json:
    """An item of a page: a fact, as it travels in ``data_retrieved``."""
    return {
        "name": fact.name,
        "correlation_id": fact.correlation_id,
        "body": fact.body,
        "stamp": to_plain(fact.stamp),
    }


@positional_record
class Entry:
    """One entry of a page."""

    event: Event
    correlation_id: str


def read_entry(item: Json) -> Entry:
    """The inverse of :func:`entry_of`.

    Raises:
        MalformedData: it is none.
    """
    name = item["name"]
    event = from_plain(CATALOGUE[name], {**item["body"], "feed": item["stamp"]}, name)
    return Entry(event, item["correlation_id"])


def stamp_of(event: Event) -> FeedStamp | None:
    """Its place in the feed; None for an event that comes by no feed."""
    return cast("FeedStamp | None", getattr(event, "feed", None))
