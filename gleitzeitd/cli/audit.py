"""``gleitzeit audit``: who did what, when, from where, and what came of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import click

from gleitzeitd.cli.connection import Session, online
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.reporting import FAILED
from gleitzeitd.cli.show import Column, as_json, echo_lines, moment, plural, table, terminal_width
from gleitzeitd.client import Client
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.events.audit import AuditRetrieved, AuditWish, QueryAudit
from gleitzeitd.model.audit import Action, AuditRecord, Chain, Result
from gleitzeitd.plain import Json, to_plain

LIMIT = 50
PAGE = 1000
LOOK_SECONDS = 1.0
"""Between two looks for what is new, with --follow."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Since(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer releases only
    """``90m``, ``2d``, or an instant as ``2026-11-24`` or ``2026-11-24T10:00``; as ISO 8601 UTC."""

    name = "since"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Fails, with what was expected."""
        text = str(value).strip()
        found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
        try:
            if found is not None:
                at = datetime.now(UTC) - timedelta(seconds=int(found[1]) * _UNITS[found[2]])
            else:
                at = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"expected how long ago, as 90m, 12h or 30d, or when, as 2026-11-24T10:00, found {text!r}"
            )
        return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


@command("audit")
@click.option("--since", metavar="WHEN", type=Since(), help="Not what is older: 90m, 12h, 30d, 2026-11-24.")
@click.option("--subject", metavar="NAME", help="Only what was asked for with tokens of this subject.")
@click.option(
    "--action", metavar="ACTION", type=click.Choice([each.value for each in Action]), help="Only this."
)
@click.option("--workflow", "about", metavar="ID", help="Only what is about it: a workflow, a component.")
@click.option("--outcome", type=click.Choice([each.value for each in Result]), help="Only what came to this.")
@click.option(
    "--limit", "-n", type=click.IntRange(min=0), default=LIMIT, show_default=True, help="So many; 0: all."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is new, until Ctrl-C.")
@click.option("--verify", is_flag=True, help="Check that no record was altered or removed; 1 if one was.")
@connection_options
def audit(
    since: str | None,
    subject: str | None,
    action: str | None,
    about: str | None,
    outcome: str | None,
    limit: int,
    follow: bool,
    verify: bool,
) -> None:
    """Who did what, when, from where, and what came of it.

    Recorded are submissions, cancels, priorities, verdicts, deletions, drains, reloads, what is done about
    tokens, backups, and what was refused. It takes the role operator. With --json each record is a line of
    its own, for export.

    Each record has the hash of the one before, and stands in the journal of the ledger's host too, with its
    hash: journalctl GLEITZEIT_ACTION=submit.

    Examples:
      gleitzeit audit --since 2d --outcome refused
      gleitzeit audit --subject alice --action cancel
      gleitzeit audit --json --limit 0 >audit.jsonl
      gleitzeit audit --verify
    """
    wish = AuditWish(since=since, subject=subject, action=action, object=about, outcome=outcome)
    if verify:
        _verify()
    else:
        _audit(wish, limit, follow)


@online
async def _audit(session: Session, wish: AuditWish, limit: int, follow: bool) -> None:
    records, last = await _newest(session.client, wish, limit)
    if session.options.as_json:
        echo_lines(_line(each) for each in records)
    elif records or not follow:
        echo_lines(lines(records, terminal_width()))
    while follow:
        await asyncio.sleep(LOOK_SECONDS)
        async for page in _onward(session.client, wish, last):
            last = max(last, page.last if not page.more else page.records[-1].number)
            if session.options.as_json:
                echo_lines(_line(each) for each in page.records)
            else:
                echo_lines(lines(page.records, terminal_width())[1:])


async def _newest(client: Client, wish: AuditWish, limit: int) -> tuple[list[AuditRecord], int]:
    """In the order of time; and the number of the last that there was."""
    found: list[AuditRecord] = []
    before: int | None = None
    last = 0
    while not limit or len(found) < limit:
        size = min(limit - len(found), PAGE) if limit else PAGE
        page = await _asked(client, QueryAudit(wish=wish, before=before, limit=size))
        last = last or page.last
        found += page.records
        if not page.more:
            break
        before = page.records[-1].number
    return found[::-1], last


async def _onward(client: Client, wish: AuditWish, after: int) -> AsyncIterator[AuditRetrieved]:
    """Pages with what comes after a number, in its order."""
    while True:
        page = await _asked(client, QueryAudit(wish=wish, after=after, limit=PAGE))
        yield page
        if not page.more:
            return
        after = page.records[-1].number


async def _asked(client: Client, query: QueryAudit) -> AuditRetrieved:
    answer = await client.ask(query)
    if not isinstance(answer, AuditRetrieved):
        raise GleitzeitError(f"query_audit was answered by {answer.name}")
    return answer


@online
async def _verify(session: Session) -> int | None:
    chain: Chain | None = None
    count, first, problem = 0, 0, None
    async for page in _onward(session.client, AuditWish(), 0):
        if chain is None or page.horizon > chain.number:  # or some have gone of age meanwhile
            chain = Chain(page.horizon, page.anchor)
        fresh = [each for each in page.records if each.number > chain.number]
        first = first or (fresh[0].number if fresh else 0)
        count += len(fresh)
        problem = chain.broken(fresh)
        if problem is not None:
            break
    assert chain is not None
    if session.options.as_json:
        plain = {
            "records": count,
            "first": first,
            "last": chain.number,
            "hash": chain.head,
            "problem": problem,
        }
        click.echo(as_json(plain))
    elif problem is not None:
        click.echo(f"the audit was tampered with: {problem}")
    else:
        click.echo(f"{plural(count, 'record')}, none altered and none missing")
        click.echo(f"the last is number {chain.number}, with the hash {chain.head}")
    return None if problem is None else FAILED


def lines(records: Sequence[AuditRecord], width: int | None) -> list[str]:
    """A table, the newest last."""
    if not records:
        return ["there is no such record"]
    columns = [
        Column("when"),
        Column("who", flexible=True, least=10),
        Column("from", optional=1),
        Column("what"),
        Column("about", flexible=True, least=12),
        Column("outcome", flexible=True, least=8),
    ]
    return table(columns, [_cells(each) for each in records], width)


def _cells(one: AuditRecord) -> tuple[str, ...]:
    note = one.note
    about = f"{note.object} ({note.detail})" if note.object and note.detail else note.object or note.detail
    outcome = f"{note.outcome.value} {note.error}".strip()
    times = f" {note.count} times" if note.count > 1 else ""
    who = note.actor.subject or note.actor.component_id or "-"
    return moment(one.at), who, note.actor.address or "-", note.action, about or "-", outcome + times


def _line(one: AuditRecord) -> str:
    plain = to_plain(replace(one))
    note = plain.pop("note")
    actor = note.pop("actor", {})
    return as_json({**plain, "outcome": one.note.outcome.value, **note, **actor}, indent=None)
