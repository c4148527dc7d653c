"""The values that a workflow is submitted with, against its declarations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.protocol import SchemaCheck
from gleitzeitd.model.table_reader import PROBLEMS_LIMIT, not_plain
from gleitzeitd.model.workflow import INPUTS, Workflow
from gleitzeitd.plain import Json, did_you_mean


def resolve_inputs(
    workflow: Workflow, given: Mapping[str, Json], check: SchemaCheck, limits: WorkflowLimits = LIMITS
) -> tuple[dict[str, Json], list[Problem]]:
    """A value for every declared input, and what is wrong with those given.

    What was not given has its default; without one, it is null, and a problem if it is required.
    Places are ``("inputs", name, ...)``. A default is checked too: nobody else has looked at it.
    """
    problems = [
        Problem(
            path=(INPUTS, name),
            message=f"the workflow has no such input{did_you_mean(str(name), workflow.inputs)}",
        )
        for name in islice((name for name in given if name not in workflow.inputs), PROBLEMS_LIMIT)
    ]
    values: dict[str, Json] = {}
    for name, declared in workflow.inputs.items():
        path = (INPUTS, name)
        values[name] = given.get(name, declared.default)
        if name not in given and not declared.has_default:
            if declared.required:
                problems.append(Problem(path=path, message="required, and not given"))
            continue
        impure = [
            Problem(path=path + where, message=message) for where, message in not_plain(values[name], limits)
        ]
        problems += impure
        if not impure:
            broken = check(declared.schema, values[name])
            problems += [Problem(path=path + one.path, message=one.message) for one in broken]
    return values, problems
