"""For the audit: what a command has done on this host, without any component.

It is written to this host's journal, with who did it; and told to the ledger, if a hub can be reached.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path

from gleitzeitd.cli.options import Options
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.model.audit import Action
from gleitzeitd.model.explanation import RECORD_IDS
from gleitzeitd.runtime.journal_entry import SOCKET, write_entry

REPORT_SECONDS = 2.0
"""How long the ledger may take; the journal has it already."""


def done_here(options: Options, action: Action, about: str, detail: str = "", journal: Path = SOCKET) -> None:
    """Note that it was done. ``about`` is a token's id or a file, and never a token."""
    write_entry(
        {
            "MESSAGE": f"audit action={action.value} object={about} outcome=accepted detail={detail}",
            "MESSAGE_ID": RECORD_IDS["audit"],
            "PRIORITY": "5",
            "SYSLOG_IDENTIFIER": "gleitzeit",
            "GLEITZEIT_ACTION": action.value,
            "GLEITZEIT_OBJECT": about,
            "GLEITZEIT_SUBJECT": _who(options),
            "GLEITZEIT_ADDRESS": "local",
            "GLEITZEIT_OUTCOME": "accepted",
            "GLEITZEIT_DETAIL": detail,
        },
        journal,
    )
    try:
        if options.hubs():
            asyncio.run(_reported(options, action, about, f"by {_who(options)}; {detail}".removesuffix("; ")))
    except (GleitzeitError, OSError, TimeoutError):
        pass  # what was done is done, whether a hub runs or not; this host's journal says it


async def _reported(options: Options, action: Action, about: str, detail: str) -> None:
    from gleitzeitd.client import Client
    from gleitzeitd.events.audit import ReportAction

    async with asyncio.timeout(REPORT_SECONDS):
        async with Client(options.hubs(), options.secret(), "cli", connect_timeout=REPORT_SECONDS) as client:
            await client.ask(ReportAction(action=action, object=about, detail=detail), REPORT_SECONDS)


def _who(options: Options) -> str:
    """Of whoever has become root for this: his own name."""
    if os.geteuid() == 0 and (name := options.environment.get("SUDO_USER")):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
