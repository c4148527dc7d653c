"""``gleitzeit trace``: which events a workflow, or the whole system, has caused at the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from gleitzeitd.cli.connection import Session, online
from gleitzeitd.cli.identify import find_workflow
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.show import as_json, clipped, echo_lines, instant, plural, size, style, terminal_width
from gleitzeitd.events.hub import TraceData, TraceRecord

LIMIT = 200
DEPTH_SHOWN = 10
"""Steps by which an event is indented at most."""
TARGETS_SHOWN = 3
_CORRELATION = re.compile(r"[0-9a-f]{32}")


@command("trace")
@click.argument("workflow", required=False, metavar="[WORKFLOW|CORRELATION]")
@click.option("--event", metavar="NAME", help="Only events of this name.")
@click.option(
    "--limit", "-n", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="So many."
)
@connection_options
def trace(workflow: str | None, event: str | None, limit: int) -> None:
    """The last events that went through the hub.

    Each stands below the one that caused it, with its time, its sender and its receivers.

    The hub keeps a limited number of them, in memory, and never what they hold.

    Examples:
      gleitzeit trace last
      gleitzeit trace --event task_completed
    """
    _trace(workflow, event, limit)


@online
async def _trace(session: Session, text: str | None, event: str | None, limit: int) -> None:
    correlation = text
    if text is not None and not _CORRELATION.fullmatch(text):
        correlation = (await find_workflow(session.client, text)).correlation_id
    found = await session.client.trace(correlation, event=event, limit=limit)
    if session.options.as_json:
        click.echo(as_json({"records": [_plain(each) for each in found.records], "dropped": found.dropped}))
        return
    echo_lines(trace_lines(found, terminal_width()))


def _plain(record: TraceRecord) -> dict[str, object]:
    return {key: getattr(record, key) for key in TraceRecord.__dataclass_fields__}


def trace_lines(found: TraceData, width: int | None) -> list[str]:
    """One line for each event, indented below the one that caused it, in the order of time."""
    if not found.records:
        return ["the hub remembers no such event"]
    depths = _depths(found.records)
    begin = instant(found.records[0].time) or 0.0
    lines = []
    for record in found.records:
        after = (instant(record.time) or begin) - begin
        name = "  " * min(depths[record.message_id], DEPTH_SHOWN) + record.event
        way = f"{record.source} -> {_targets(record.targets)}"
        left = f"{after:+9.3f} s  {name}"
        room = None if width is None else max(10, width - len(left) - 13)
        shown = way if room is None else clipped(way, room)
        lines.append(f"{left}  {style(shown, dim=True)}  {size(record.size)}")
    if found.dropped:
        lines.append(f"the hub has already forgotten {plural(found.dropped, 'older event')}")
    return lines


def _depths(records: Sequence[TraceRecord]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for record in records:
        # What caused it may be forgotten, or never have come through this hub.
        cause = depths.get(record.causation_id or "")
        depths[record.message_id] = 0 if cause is None else cause + 1
    return depths


def _targets(targets: Sequence[str]) -> str:
    if not targets:
        return "nobody"
    shown = ", ".join(targets[:TARGETS_SHOWN])
    return shown if len(targets) <= TARGETS_SHOWN else f"{shown} and {len(targets) - TARGETS_SHOWN} more"
