"""What a client submits, checked before anybody is asked: a workflow, and the id that it gets."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gleitzeitd import workflow_file as files
from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.model.access import NAMESPACE_END
from gleitzeitd.model.claims import said_by
from gleitzeitd.model.document import Reading, read
from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import WorkflowId, is_identifier
from gleitzeitd.plain import Json

SLUG_LIMIT = 40

Source = str | Path | Mapping[str, Json]
"""A workflow: the path of its file, or the document as plain data."""


def namespace_in(token: str | None) -> str | None:
    """The namespace to which a token confines who has it; the hub looks whether the token is genuine."""
    claims = said_by(token) if token else None
    namespace = claims.get("ns") if claims is not None else None
    return namespace if type(namespace) is str and is_identifier(namespace) else None


def new_workflow_id(name: str, namespace: str | None = None) -> WorkflowId:
    """An id that a person can recognise: ``<the name, simplified>-<8 hex digits>``, in the namespace."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:SLUG_LIMIT].strip("-")
    within = "" if namespace is None else namespace + NAMESPACE_END
    return WorkflowId(f"{within}{slug or 'workflow'}-{secrets.token_hex(4)}")


def checked(workflow: Source, limits: WorkflowLimits = LIMITS) -> tuple[Json, Reading]:
    """The document, and what it says.

    Raises:
        WorkflowInvalid: it cannot be run; the message has a line for every problem, with its place.
    """
    if isinstance(workflow, Mapping):
        document: Json = dict(workflow)
        reading = read(document, limits)
        shown: Sequence[Any] = reading.problems
    else:
        file = files.load(workflow, limits)
        document, reading = file.document, file.read()
        shown = files.render(reading.problems, file)
    if reading.workflow is None:
        raise WorkflowInvalid("\n".join(map(str, shown)), reading.problems)
    return document, reading


def id_for(reading: Reading, wanted: str | None, namespace: str | None = None) -> WorkflowId:
    """The id wanted, else the document's own, else a new one, which is in the namespace.

    Raises:
        WorkflowInvalid: what is wanted cannot be an id.
    """
    if wanted is not None and not is_identifier(wanted):
        raise WorkflowInvalid(
            f"{wanted!r} cannot be a workflow's id: letters, digits and _, then also . : @ -, "
            "at most 200 characters"
        )
    assert reading.workflow is not None
    return WorkflowId(wanted or reading.workflow_id or new_workflow_id(reading.workflow.name, namespace))


class Submitted:
    """A workflow that is on disk: from here on it is never lost."""

    __slots__ = ("duplicate", "warnings", "workflow_id")

    def __init__(self, event: d.WorkflowSubmitted) -> None:
        self.workflow_id = event.workflow_id
        self.duplicate = event.duplicate
        """It was there already, under this id."""
        self.warnings = event.warnings
        """``Problem``: what was read otherwise than its author may expect."""
