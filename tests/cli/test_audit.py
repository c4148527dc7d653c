"""gleitzeit audit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.events.audit import AuditRetrieved, AuditWish, QueryAudit
from gleitzeitd.model.audit import BEGINNING, Actor, AuditNote, AuditRecord, Result, recorded
from gleitzeitd.model.names import ComponentId
from gleitzeitd.runtime.embedded import Embedded
from tests.cli.fake_client import FakeClient, call, runner

ANNA = Actor(subject="anna", component_id=ComponentId("cli-1"), address="10.0.0.7")


def chain(*notes: AuditNote) -> list[AuditRecord]:
    made: list[AuditRecord] = []
    for number, note in enumerate(notes, start=1):
        previous = made[-1].hash if made else BEGINNING
        made.append(recorded(note, f"2026-11-24T10:00:0{number}.000Z", number, previous))
    return made


RECORDS = chain(
    AuditNote(action="submit", object="nightly-1f0a", actor=ANNA),
    AuditNote(
        action="refuse",
        object="delete_workflow",
        actor=Actor(subject="eve", address="10.0.0.9"),
        outcome=Result.REFUSED,
        code=-25006,
        error="AUTHORIZATION_FAILED",
        count=7,
    ),
    AuditNote(action="priority", object="nightly-1f0a", actor=ANNA, detail="priority 7"),
)


def page(records: list[AuditRecord], *, more: bool = False) -> AuditRetrieved:
    return AuditRetrieved(records=records, more=more, last=3, horizon=0, anchor=BEGINNING)


def having(*pages: AuditRetrieved) -> FakeClient:
    client = FakeClient()
    client.answers = [*pages]
    return client


def test_records_are_a_table_with_the_newest_last() -> None:
    result = call(having(page(RECORDS[::-1])), "audit")
    title, *rows = result.output.splitlines()
    assert title.split() == ["WHEN", "WHO", "FROM", "WHAT", "ABOUT", "OUTCOME"]
    assert [row.split()[2:5] for row in rows] == [
        ["anna", "10.0.0.7", "submit"],
        ["eve", "10.0.0.9", "refuse"],
        ["anna", "10.0.0.7", "priority"],
    ]
    assert "refused AUTHORIZATION_FAILED 7 times" in rows[1]
    assert "nightly-1f0a (priority 7)" in rows[2]


def test_what_is_looked_for_is_asked_of_the_ledger() -> None:
    client = having(page([]))
    arguments = (
        "--since 2026-11-24T10:00+00:00 --subject anna --action cancel --workflow w --outcome refused -n 5"
    )
    result = call(client, "audit", *arguments.split())
    assert result.output == "there is no such record\n"
    wish = AuditWish(
        since="2026-11-24T10:00:00.000Z", subject="anna", action="cancel", object="w", outcome="refused"
    )
    assert client.done == [("query_audit", "", QueryAudit(wish=wish, limit=5))]


def test_as_json_each_record_is_a_line() -> None:
    client = having(page(RECORDS[:0:-1], more=True), page(RECORDS[:1]))
    found = [json.loads(line) for line in call(client, "audit", "--json", "--limit", "0").stdout.splitlines()]
    assert [each["number"] for each in found] == [1, 2, 3]
    assert found[0]["subject"] == "anna"
    assert (found[1]["outcome"], found[1]["code"], found[1]["count"]) == ("refused", -25006, 7)
    assert found[2]["previous"] == found[1]["hash"]
    assert client.done[1][2].before == 2


def test_a_chain_that_holds_is_said_to_hold() -> None:
    result = call(having(page(RECORDS[:2], more=True), page(RECORDS[2:])), "audit", "--verify")
    assert result.exit_code == 0
    assert result.output.startswith("3 records, none altered and none missing\n")
    assert RECORDS[2].hash in result.output


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([RECORDS[0], RECORDS[2]], "record 2 is missing"),
        ([replace(RECORDS[0], note=replace(RECORDS[0].note, object="other"))], "record 1 was altered"),
    ],
)
def test_a_chain_that_is_broken_is_an_exit_code_and_says_where(
    records: list[AuditRecord], problem: str
) -> None:
    result = call(having(page(records)), "audit", "--verify")
    assert result.exit_code == 1
    assert problem in result.output
    plain = json.loads(call(having(page(records)), "audit", "--verify", "--json").stdout)
    assert problem in plain["problem"]


def test_a_time_that_is_none_is_refused_with_what_is_expected() -> None:
    result = call(having(), "audit", "--since", "yesterday")
    assert result.exit_code == 2
    assert "30d" in result.stderr


async def test_with_a_system_of_real_components_a_submission_is_found(tmp_path: Path) -> None:
    document = {"name": "one", "tasks": [{"id": "a", "method": "echo/ping"}]}
    async with Embedded(database=tmp_path / "gleitzeit.db") as system:
        async with Client(system.hub_url, system.token, "someone") as client:
            await client.run(document, workflow_id="kept-1")
            answer = await client.ask(QueryAudit(wish=AuditWish(action="submit")))
    assert isinstance(answer, AuditRetrieved)
    (record,) = answer.records
    assert record.note.object == "kept-1"
    assert record.note.actor.component_id.startswith("someone")
    assert record.note.actor.address == "127.0.0.1"


def test_the_command_needs_no_system_to_be_explained() -> None:
    from gleitzeitd.cli import cli

    assert "--verify" in runner().invoke(cli, ["audit", "--help"]).output
