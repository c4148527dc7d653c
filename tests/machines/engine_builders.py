"""An execution engine to talk to, and what its tests tell it and expect of it."""

from __future__ import annotations

from gleitzeitd import errors
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.events.persistence import ShardOwners
from gleitzeitd.machines.base import CancelAsk, CancelTimer, SetTimer
from gleitzeitd.machines.execution_engine import ExecutionEngine, Settings
from gleitzeitd.machines.starts import HELD_SECONDS
from gleitzeitd.model.ledger import Execution
from gleitzeitd.model.names import SHARDS, ComponentId, TaskId, WorkflowId
from tests.drive import Dialogue, asks, tells

ME, P1, P2, QUEUE = map(ComponentId, ("engine-1", "provider-1", "provider-2", "queue-1"))
W = WorkflowId("w")
ECHO = "echo/v1"
TOO_LARGE = errors.MalformedEvent("event", "too large").info()


def provider(name=P1, capacity=1, protocol=ECHO):
    return r.ProviderRegistered(
        provider=r.ProviderInfo(component_id=name, protocol=protocol, capacity=capacity)
    )


def engine(*providers, slots=2):
    d = Dialogue(ExecutionEngine(ME, Settings(slots=slots)))
    owners = {str(shard): QUEUE for shard in range(SHARDS)}
    assert d.machine.lessors.hear(ShardOwners(owners=owners), 0.0) == ([], [])
    d.start() << asks(r.FindProvider, key="providers") << SetTimer("request", 1.0)
    d.hub_connected() << tells(e.CapacityUpdate(slots=slots)) << asks(r.FindProvider)
    infos = [one.provider for one in providers]
    d.answer(r.ProviderFound(providers=infos), key="providers").settle() << tells(q.RequestNextTask)
    return d


def execute(task="a", attempt=1, timeout=None, number=1, protocol=ECHO, **more):
    run = Execution(
        workflow_id=W,
        task_id=TaskId(task),
        attempt=attempt,
        engine_id=ME,
        method="echo/echo",
        protocol=protocol,
        parameters={"n": 1},
        timeout=timeout,
        **more,
    )
    return q.ExecuteTask(task=run, number=number)


def about(task="a", attempt=1):
    return {"workflow_id": W, "task_id": TaskId(task), "attempt": attempt}


def result(task="a", attempt=1, value=7):
    return v.MethodResult(**about(task, attempt), result=value, finished_at="then")


def error(problem, task="a"):
    return v.ProviderError(**about(task), error=problem.info())


def called(d, task="a", to=P1, attempt=1, *, held=False):
    """``held``: the start of another was told a moment ago, so that this one is told later."""
    d << asks(v.ExecuteMethod, key=f"call/w/{task}/{attempt}", to=to, **about(task, attempt))
    if held:
        return d
    d << asks(e.TaskStarted, key=f"start/w/{task}/{attempt}", provider_id=to)
    return d << SetTimer("starts", HELD_SECONDS)


def ending(order):
    """In place of the call: that one is not asked for again."""
    return asks(order, key="call/w/a/1", to=P1)


def calling(**more):
    """An engine whose task ``a`` is being run by P1."""
    d = engine(provider())
    d.receive(execute(**more), source=QUEUE)
    called(d)
    if "timeout" in more:
        d << SetTimer("deadline/w/a/1", more["timeout"] + 5.0)
    return d


def reported(d, event, task="a", *, timer=False):
    d << CancelAsk(f"call/w/{task}/1")
    if timer:
        d << CancelTimer(f"deadline/w/{task}/1")
    return d << CancelAsk(f"start/w/{task}/1") << asks(event, key=f"end/w/{task}/1")
