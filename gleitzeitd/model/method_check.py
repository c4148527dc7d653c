"""A workflow's tasks against the methods of the protocols that are registered.

A task whose protocol is not registered is no problem: it waits for a provider. A value that holds a
reference cannot be judged before other tasks have run: what the schema says about its place, about
something in it, or about a table or list around it, does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gleitzeitd.model.problem import Problem
from gleitzeitd.model.protocol import Protocol, SchemaCheck
from gleitzeitd.model.reference import PYTHON_SOURCE, Path, find
from gleitzeitd.model.workflow import Task, Workflow
from gleitzeitd.plain import did_you_mean


def method_problems(
    workflow: Workflow, protocols: Mapping[str, Protocol], check: SchemaCheck
) -> list[Problem]:
    """What the registered ``protocols`` (by name with version) will refuse, in the order of the tasks.

    Places are ``("tasks", index, ...)`` with ``parameters``, however the document spelled it.
    """
    problems = []
    for index, task in enumerate(workflow.tasks):
        protocol = protocols.get(task.protocol)
        if protocol is not None:
            problems += _task_problems(task, ("tasks", index), protocol, check)
    return problems


def _task_problems(task: Task, path: Path, protocol: Protocol, check: SchemaCheck) -> list[Problem]:
    method = protocol.methods.get(task.method)
    if method is None:
        known = (
            did_you_mean(task.method, protocol.methods) or f"; it has {', '.join(protocol.methods) or 'none'}"
        )
        return [
            Problem(path=(*path, "method"), message=f"{protocol.name} has no method {task.method!r}{known}")
        ]
    found = find(task.parameters, PYTHON_SOURCE.get(task.protocol, ()))
    open_places = {where for where, _ in found.references}
    return [
        Problem(path=(*path, "parameters", *problem.path), message=problem.message)
        for problem in check(method.parameters, task.parameters)
        if not is_open(problem.path, open_places)
    ]


def is_open(place: Path, open_places: Collection[Path]) -> bool:
    """Whether the value at ``place`` is a reference, or inside or around one."""
    return any(all(a == b for a, b in zip(place, one, strict=False)) for one in open_places)
