"""Which workflow is meant: its id, the beginning of it, or ``last``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gleitzeitd.errors import TaskNotFound, WorkflowNotFound
from gleitzeitd.model.names import TaskId, is_identifier
from gleitzeitd.model.report import WorkflowReport
from gleitzeitd.plain import did_you_mean

if TYPE_CHECKING:
    from gleitzeitd.client import Client

LAST = "last"
LOOKED_AT = 5000
"""So many of the newest workflows are searched for one that begins so."""


async def find_workflow(client: Client, text: str) -> WorkflowReport:
    """The workflow that is meant.

    Raises:
        WorkflowNotFound: none is, or several are; the message names them.
    """
    if text == LAST:
        newest = await client.list(limit=1)
        if not newest:
            raise WorkflowNotFound("there is no workflow yet")
        return await client.status(newest[0].workflow_id)
    if not is_identifier(text):
        raise WorkflowNotFound(f"{text!r} cannot be the id of a workflow")
    try:
        return await client.status(text)
    except WorkflowNotFound:
        matches = [w for w in await client.list(limit=LOOKED_AT) if w.workflow_id.startswith(text)]
    if len(matches) > 1:
        shown = ", ".join(w.workflow_id for w in matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise WorkflowNotFound(f"{text}: {len(matches)} workflows begin so: {shown}")
    if not matches:
        raise WorkflowNotFound(f"{text}: no such workflow (any more); gleitzeit list shows those there are")
    return await client.status(matches[0].workflow_id)


def known_task(known: Iterable[TaskId], text: str) -> TaskId:
    """The task of this id.

    Raises:
        TaskNotFound: there is none; the message may suggest one.
    """
    known = list(known)
    if text not in known:
        raise TaskNotFound(f"the workflow has no task {text!r}{did_you_mean(text, known)}")
    return TaskId(text)
