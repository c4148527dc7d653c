"""A provider of little methods to talk to, and what its tests tell it and expect of it."""

from __future__ import annotations

from gleitzeitd.errors import (
    MalformedData,
)
from gleitzeitd.events import provider as v
from gleitzeitd.machines.provider import ProviderMachine, Settings, Work
from gleitzeitd.model.names import ComponentId, TaskId, WorkflowId
from gleitzeitd.model.protocol import Method, Protocol, SchemaProblem
from tests.drive import CORRELATION, SOMEBODY, Dialogue

ME, ENGINE, OTHER = ComponentId("provider-1"), ComponentId("engine-1"), ComponentId("engine-2")
MATHS = Protocol(
    name="maths/v1",
    methods={
        "maths/double": Method(parameters={"number": "n"}, returns={"number": ""}),
        "maths/any": Method(parameters={}),
        "maths/broken": Method(parameters={"broken": 1}, returns={"broken": 1}),
    },
)
W = WorkflowId("w")


def check(schema, value):
    """A little schema language: ``{"number": key}`` wants a number, at that key if there is one."""
    if "broken" in schema:
        raise MalformedData("schema", "is none")
    key = schema["number"]
    found = value.get(key) if key else value
    if isinstance(found, int):
        return []
    path = (key,) if key else ()
    return [SchemaProblem(path=path, message="expected a number"), SchemaProblem(path=path, message="really")]


def provider(capacity=1, **options):
    return Dialogue(ProviderMachine(ME, MATHS, capacity, check, Settings(**options)))


def execute(task, *, method="maths/double", attempt=1, n=2, **more):
    return v.ExecuteMethod(
        workflow_id=W, task_id=TaskId(task), attempt=attempt, method=method, parameters={"n": n}, **more
    )


def cancel(task, **more):
    return v.CancelMethod(workflow_id=W, task_id=TaskId(task), attempt=1, **more)


def work(task, n=2, timeout=None):
    return Work(
        workflow_id=W,
        task_id=TaskId(task),
        attempt=1,
        method="maths/double",
        parameters={"n": n},
        timeout=timeout,
        correlation_id=CORRELATION,
    )


def result(task, value):
    return v.MethodResult(workflow_id=W, task_id=TaskId(task), attempt=1, result=value)


def call_id(task, engine=SOMEBODY):
    return f"w/{task}/1@{engine}"
