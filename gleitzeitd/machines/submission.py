"""A workflow between its submission and the ledger's answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from gleitzeitd.errors import GleitzeitError
from gleitzeitd.events import Envelope
from gleitzeitd.events.dependency_resolver import SubmitWorkflow, WorkflowRefused
from gleitzeitd.machines.audit import refusal_of
from gleitzeitd.machines.base import Effects, Reply
from gleitzeitd.model.audit import Action
from gleitzeitd.model.names import WorkflowId
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.workflow import Workflow
from gleitzeitd.plain import Json


@dataclass(slots=True)
class Submission:
    """A workflow that is being saved."""

    workflow: Workflow
    inputs: dict[str, Json]
    correlation_id: str
    warnings: list[Problem]
    askers: list[Envelope]
    overtaken: bool = False
    """The feed, by another hub, has told more of it than the ledger's answer will."""


def refusal(
    workflow_id: WorkflowId, error: GleitzeitError, problems: Sequence[Problem], asker: Envelope
) -> Reply:
    """That it will not run, with all reasons."""
    refused = WorkflowRefused(workflow_id=workflow_id, error=error.info(), problems=list(problems))
    return Reply(refused, asker)


def turned_down(
    workflow_id: WorkflowId, error: GleitzeitError, problems: Sequence[Problem], asker: Envelope
) -> Effects:
    """As :func:`refusal`, before the ledger has heard of it: that is told, too."""
    told = refusal_of(Action.SUBMIT, workflow_id, error, asker)
    return [refusal(workflow_id, error, problems, asker), told]


def digest(event: SubmitWorkflow) -> str:
    """The same for the same document and inputs, however their keys are ordered."""
    text = json.dumps([event.workflow, event.inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
