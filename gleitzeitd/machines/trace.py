"""What went through the hub: totals, and a bounded ring of records, never a payload."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from gleitzeitd.events.hub import QueryTrace, TraceData, TraceRecord
from gleitzeitd.model.names import ComponentId
from gleitzeitd.plain import Json

Record = tuple[str, str, ComponentId, tuple[ComponentId, ...], str, str, str | None, int]
"""Time, event, source, targets, correlation id, message id, causation id, bytes of the body."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """Totals since the hub's start."""

    routed: Counter[str] = field(default_factory=Counter)
    """Events by name."""
    routed_bytes: Counter[str] = field(default_factory=Counter)
    """Bytes of bodies, as JSON text in characters, by the event's name."""
    refused: Counter[str] = field(default_factory=Counter)
    """By the error's name, or ``connection``, or ``unregistered``."""
    undeliverable: Counter[str] = field(default_factory=Counter)
    """Events by name for which nobody was there."""
    heartbeats_missed: int = 0
    """Members that were cut for it."""


class Trace:
    """The ring."""

    def __init__(self, limit: int) -> None:
        self._records: deque[Record] = deque(maxlen=limit)
        self._seen = 0

    def add(
        self,
        at: str,
        name: str,
        envelope: dict[str, Json],
        source: ComponentId,
        targets: tuple[ComponentId, ...],
        size: int,
    ) -> None:
        """Remember that an event was routed; ``envelope`` in its wire form."""
        self._seen += 1
        self._records.append(
            (
                at,
                name,
                source,
                targets,
                envelope["_correlation_id"],
                envelope["_message_id"],
                envelope.get("_causation_id"),
                size,
            )
        )

    def find(self, query: QueryTrace) -> TraceData:
        """The newest ``limit`` records that match, oldest first."""
        found: list[TraceRecord] = []
        for record in reversed(self._records):
            if len(found) >= query.limit:
                break
            if query.correlation is not None and record[4] != query.correlation:
                continue
            if query.event is not None and record[1] != query.event:
                continue
            found.append(_readable(record))
        found.reverse()
        return TraceData(records=found, dropped=self._seen - len(self._records))


def _readable(record: Record) -> TraceRecord:
    time, name, source, targets, correlation_id, message_id, causation_id, size = record
    return TraceRecord(
        time=time,
        event=name,
        source=source,
        targets=list(targets),
        correlation_id=correlation_id,
        message_id=message_id,
        causation_id=causation_id,
        size=size,
    )
