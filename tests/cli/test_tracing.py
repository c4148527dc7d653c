"""gleitzeit trace."""

from __future__ import annotations

import json

from gleitzeitd.cli.tracing import trace_lines
from gleitzeitd.events.hub import TraceData, TraceRecord
from gleitzeitd.model.names import ComponentId
from tests.cli.fake_client import FakeClient, a_workflow, call


def record(
    event: str, seconds: float, message: str, cause: str | None = None, targets: int = 1
) -> TraceRecord:
    return TraceRecord(
        time=f"2026-01-31T12:00:{seconds:06.3f}Z",
        event=event,
        source=ComponentId("me"),
        targets=[ComponentId(f"t{n}") for n in range(targets)],
        correlation_id="c" * 32,
        message_id=message,
        causation_id=cause,
        size=2048,
    )


RECORDS = [
    record("submit_workflow", 1.0, "m1"),
    record("save_workflow", 1.25, "m2", "m1"),
    record("data_saved", 1.5, "m3", "m2", targets=5),
    record("task_started", 2.0, "m4", "forgotten", targets=0),
]


def test_an_event_stands_below_the_one_that_caused_it() -> None:
    assert trace_lines(TraceData(records=RECORDS, dropped=2), None) == [
        "   +0.000 s  submit_workflow  \x1b[2mme -> t0\x1b[0m  2.0 KiB",
        "   +0.250 s    save_workflow  \x1b[2mme -> t0\x1b[0m  2.0 KiB",
        "   +0.500 s      data_saved  \x1b[2mme -> t0, t1, t2 and 2 more\x1b[0m  2.0 KiB",
        "   +1.000 s  task_started  \x1b[2mme -> nobody\x1b[0m  2.0 KiB",
        "the hub has already forgotten 2 older events",
    ]


def test_a_workflow_is_traced_by_its_correlation() -> None:
    client = FakeClient([a_workflow()])
    client.trace_data = TraceData(records=RECORDS)
    plain = json.loads(call(client, "trace", "pipe", "--json").stdout)
    assert [each["event"] for each in plain["records"]][:2] == ["submit_workflow", "save_workflow"]
    call(client, "trace", "d" * 32)
    call(client, "trace")
    assert [each for each in client.done if each[0] == "trace"] == [
        ("trace", "c" * 32),
        ("trace", "d" * 32),
        ("trace", None),
    ]


def test_nothing_remembered_is_said() -> None:
    assert call(FakeClient(), "trace").output == "the hub remembers no such event\n"
