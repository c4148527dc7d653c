"""What somebody has submitted: a workflow with its inputs, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping

from gleitzeitd.events import Envelope
from gleitzeitd.events.dependency_resolver import SubmitWorkflow
from gleitzeitd.machines.submission import Submission
from gleitzeitd.model.document import read
from gleitzeitd.model.inputs import resolve_inputs
from gleitzeitd.model.limits import WorkflowLimits
from gleitzeitd.model.method_check import method_problems
from gleitzeitd.model.names import is_identifier
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.protocol import Protocol, SchemaCheck
from gleitzeitd.model.table_reader import PROBLEMS_LIMIT


def analyzed(
    event: SubmitWorkflow,
    asker: Envelope,
    protocols: Mapping[str, Protocol],
    check: SchemaCheck,
    limits: WorkflowLimits,
) -> tuple[Submission | None, list[Problem]]:
    """The submission, or the problems: it may have come past every command line."""
    if not is_identifier(event.workflow_id):
        message = "workflow_id: letters, digits and _ . : @ - only, at most 200"
        return None, [Problem(path=(), message=message)]
    reading = read(event.workflow, limits)
    if reading.workflow is None:
        return None, list(reading.problems)
    inputs, problems = resolve_inputs(reading.workflow, event.inputs, check, limits)
    problems += method_problems(reading.workflow, protocols, check)
    if len(problems) > PROBLEMS_LIMIT:
        more = Problem(path=(), message=f"and {len(problems) - PROBLEMS_LIMIT} more problems")
        problems[PROBLEMS_LIMIT:] = [more]
    if problems:
        return None, problems
    warnings = list(reading.warnings)
    return Submission(reading.workflow, inputs, asker.correlation_id, warnings, [asker]), []
