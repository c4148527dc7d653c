"""What one workflow leaves in the journal: all components in one process, over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.runtime import journal
from gleitzeitd.runtime.embedded import Embedded
from gleitzeitd.runtime.moderation import OUTPUT
from gleitzeitd.runtime.output_records import LINE_LIMIT, OutputRecords

SECRET = "tell-nobody"
WORKFLOW = {
    "name": "w",
    "tasks": [
        {
            "id": "say",
            "method": "shell/execute",
            "parameters": {"script": "echo hello; echo trouble >&2", "env": {"PASSWORD": SECRET}},
        },
        {
            "id": "fail",
            "method": "shell/execute",
            "depends_on": ["say"],
            "parameters": {"script": "exit 3", "stdin": "${say.stdout}"},
            "retry": {"max_attempts": 2, "base_delay": 0.1},
        },
        {"id": "after", "method": "echo/echo", "depends_on": ["fail"], "parameters": {"text": "x"}},
    ],
}
INFO_LINES = {
    "dependency_resolver": {"workflow accepted": 1, "tasks skipped": 1, "workflow failed": 1},
    "persistence": {
        "workflow recorded, its first tasks are ready": 1,
        "task is tried again": 1,
        "end of workflow recorded": 1,
    },
    "queue_manager": {"tasks queued": 3},
    "execution_engine": {"task completed": 1, "task failed": 2},
    "provider": {"call done": 1, "call failed": 2, "[say] hello": 1, "[say] trouble": 1},
}
"""What an operator reads of it at the level that is set by default."""


async def records_of_one_workflow(
    database: Path, caplog: pytest.LogCaptureFixture
) -> tuple[str, list[logging.LogRecord]]:
    async with Embedded(database=database) as system, Client(system.hub_url, system.token) as client:
        submitted = await client.submit(WORKFLOW)
        async with asyncio.timeout(30):
            async for _ in client.watch(submitted.workflow_id):
                pass
            wanted = {"end of workflow recorded", "workflow failed"}
            while not wanted <= {record.getMessage() for record in caplog.records}:
                await asyncio.sleep(0)
    found = [r for r in caplog.records if r.__dict__.get("workflow_id") == submitted.workflow_id]
    return submitted.workflow_id, found


async def test_a_workflow_is_followed_through_all_roles_by_its_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, found = await records_of_one_workflow(tmp_path / "db", caplog)
    said: dict[str, Counter[str]] = {}
    for record in found:
        said.setdefault(str(record.__dict__["role"]), Counter())[record.getMessage()] += 1
    started = said["execution_engine"].pop("task started")
    assert 1 <= started <= 3, "the ends of short tasks can overtake their starts, which are not told then"
    assert {role: dict(messages) for role, messages in said.items()} == INFO_LINES
    order = [record.getMessage() for record in found]
    way = ["workflow recorded, its first tasks are ready", "tasks queued", "task started", "call done"]
    way += ["task completed", "tasks skipped", "workflow failed"]
    assert sorted(way, key=order.index) == way
    for record in found:
        fields = journal.fields_of(record)
        assert fields.get("component_id") or record.name == OUTPUT  # the process says it for these
        assert len(str(fields["correlation_id"])) == 32
        if record.getMessage() in ("task started", "task failed", "call done", "[say] hello"):
            assert {"task_id", "attempt"} <= fields.keys()
    assert len({journal.fields_of(record)["correlation_id"] for record in found}) == 1


async def test_errors_lead_to_their_explanation_and_nothing_secret_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, found = await records_of_one_workflow(tmp_path / "db", caplog)
    [ended] = [record for record in found if record.getMessage() == "workflow failed"]
    assert ended.levelno == journal.NOTICE
    assert journal.fields_of(ended)["error"] == "WORKFLOW_EXECUTION_FAILED"
    failed = [journal.fields_of(record) for record in found if record.getMessage() == "task failed"]
    assert {fields["error"] for fields in failed} == {"TASK_EXECUTION_FAILED"}
    assert {str(fields["reason"]) for fields in failed} == {"exit code 3"}
    ours = [record for record in caplog.records if record.name.startswith("gleitzeitd")]
    assert not [record for record in ours if SECRET in str(record.__dict__)]


# --- what tasks write -------------------------------------------------------------------------------


def written(*pieces: tuple[str, str], limit: int = 10_000, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.INFO)
    records = OutputRecords({"workflow_id": "w", "task_id": "t"}, limit)
    for stream, text in pieces:
        records.written(stream, text)
    records.close()
    return [record.getMessage() for record in caplog.records if record.name == OUTPUT]


def test_a_line_is_a_record_however_it_was_cut_into_pieces(caplog: pytest.LogCaptureFixture) -> None:
    pieces = [("stdout", "on"), ("stderr", "two"), ("stdout", "e\r\n\nthr"), ("stdout", "ee")]
    assert written(*pieces, caplog=caplog) == ["[t] one", "[t] two", "[t] three"]
    streams = [record.__dict__["stream"] for record in caplog.records]
    assert streams == ["stdout", "stderr", "stdout"]
    assert [record.levelno for record in caplog.records] == [logging.INFO, journal.NOTICE, logging.INFO]


def test_output_is_limited_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    lines = written(("stdout", "12345\n" * 1000), limit=50, caplog=caplog)
    assert lines[:-1] == ["[t] 12345"] * 10
    assert "more is not written" in lines[-1]


def test_no_output_is_written_if_that_is_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    assert written(("stdout", "a\n"), limit=0, caplog=caplog) == []


def test_a_line_without_end_becomes_several_records(caplog: pytest.LogCaptureFixture) -> None:
    lines = written(*[("stdout", "x" * 1000)] * 5, caplog=caplog)
    assert "".join(line.removeprefix("[t] ") for line in lines) == "x" * 5000
    assert max(len(line) for line in lines) <= LINE_LIMIT + len("[t] ")


def test_a_percent_sign_in_the_output_is_only_that(caplog: pytest.LogCaptureFixture) -> None:
    assert written(("stdout", "100 %s %d\n"), caplog=caplog) == ["[t] 100 %s %d"]
