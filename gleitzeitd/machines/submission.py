"""A workflow between its submission and the ledger's answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from gleitzeitd.events import Envelope
from gleitzeitd.events.dependency_resolver import SubmitWorkflow
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


def digest(event: SubmitWorkflow) -> str:
    """The same for the same document and inputs, however their keys are ordered."""
    text = json.dumps([event.workflow, event.inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
