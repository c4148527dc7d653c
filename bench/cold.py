"""A cold start with much that is unfinished: how long until each daemon takes part again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.system import System
from bench.workflows import diamond
from bench.workload import Workload
from gleitzeitd.client import Client
from gleitzeitd.model.change import AcceptWorkflow, Change, Fence, MakeReady, TakeShards
from gleitzeitd.model.document import read
from gleitzeitd.model.ledger import ReadyTask
from gleitzeitd.model.names import SHARDS, ComponentId, Role, Shard, TaskId, WorkflowId
from gleitzeitd.plain import Json, to_plain
from gleitzeitd.stores.sqlite import SqliteStore
from tests.daemons import LOOK_SECONDS

AT = "2026-01-01T00:00:00.000Z"
BATCH = 500
NOBODY = "slow/v1"
"""A protocol that nobody serves, so that nothing of what is prepared ever runs."""


async def fill(path: Path, workflows: int) -> None:
    """Put unfinished workflows of five tasks into a new store, the first task of each ready."""
    document = diamond(1)
    for task in document["tasks"]:
        task["protocol"] = NOBODY
    workflow = read(document).workflow
    assert workflow is not None
    plain = to_plain(workflow)
    shards = [Shard(number) for number in range(SHARDS)]
    fence = Fence(role=Role.DEPENDENCY_RESOLVER, asker=ComponentId("bench"), epoch=1)
    store = SqliteStore(path)
    await store.open()
    await store.commit([TakeShards(role=fence.role, owner="bench.1", shards=shards)], AT)
    for start in range(0, workflows, BATCH):
        changes: list[Change] = []
        for number in range(start, min(start + BATCH, workflows)):
            workflow_id = WorkflowId(f"unfinished-{number}")
            changes += [
                AcceptWorkflow(
                    workflow_id=workflow_id,
                    digest="",
                    document=plain,
                    inputs={},
                    correlation_id="0" * 32,
                    fence=fence,
                ),
                MakeReady(
                    name="workflow_analyzed",
                    workflow_id=workflow_id,
                    tasks=[ReadyTask(task_id=TaskId("first"), parameters={"n": 1})],
                    cursor=0,
                    fence=fence,
                ),
            ]
        await store.commit(changes, AT)
    await store.commit([TakeShards(role=fence.role, owner="", shards=shards)], AT)
    await store.close()


async def measure_cold(system: System, size: int) -> dict[str, Json]:  # noqa: ARG001 - as every measure
    """Seconds from the start of all processes until a workflow has run through them; then, for each role
    killed and started again, until it takes part (with all its shards, where it has such); and memory.
    """
    memory = system.memory()
    again = {}
    async with system.client() as client:
        for name in ("persistence", "dependency-resolver", "queue-manager", "execution-engine"):
            system.kill(name)
            started = time.perf_counter()
            system.start(name)
            while not await _takes_part(client, name):  # noqa: ASYNC110 - another process
                await asyncio.sleep(LOOK_SECONDS)
            again[name] = round(time.perf_counter() - started, 2)
    return {"ready_seconds": system.ready_seconds, "again_seconds": again, "memory_mb": memory}


async def _takes_part(client: Client, name: str) -> bool:
    for component in await client.components():
        if component.component_id == name:
            sharded = component.component_type in (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER)
            return not sharded or len(component.shards) == SHARDS
    return False


COLD = {
    "cold": Workload(
        about="a start, and starts of single daemons, with SIZE unfinished workflows",
        measure=measure_cold,
        sizes=[10_000],
        smoke=20,
        figure="ready_seconds",
        prepare=fill,
    )
}
