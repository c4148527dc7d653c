"""Real daemons at work, and attackers on the same hub, with tokens that are good for what they are.

What each attack comes to is shown with machines alone in the other files here; this is the same over sockets,
with the hub, the ledger and the engine that users run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import socketio

from gleitzeitd.client import Client
from gleitzeitd.errors import NotPermitted
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events.codec import encode_body
from gleitzeitd.model.access import Grant, UserRole
from gleitzeitd.model.names import Role, TaskId, WorkflowId
from gleitzeitd.runtime.tokens import KeyRing
from tests.daemons import Daemons
from tests.runtime.hub_peers import WAIT, Peer
from tests.security.relay import Relay, relay

pytestmark = pytest.mark.slow

SECONDS = 3.0
FORGED = {"n": 666}
LEDGER, ENGINE = "persistence", "execution-engine"
DOCUMENT = {
    "name": "attacked",
    "tasks": [{"id": "long", "method": "echo/wait", "parameters": {"seconds": SECONDS}}],
}


@dataclass
class Scene:
    """A system that works, and a way to come in as somebody."""

    daemons: Daemons
    client: Client
    between: Relay
    """Between the engine and the hub."""
    peers: list[Peer]

    @property
    def port(self) -> int:
        return self.daemons.port

    def token(self, subject: str, *roles: Role, user: UserRole | None = None) -> str:
        ring = KeyRing.load(self.daemons.directory / "gleitzeit.keys")
        return ring.issue(Grant(subject=subject, components=frozenset(roles), user=user), now=time.time())

    def peer(self, role: Role, name: str) -> Peer:
        self.peers.append(Peer(role.value, name, own=True))
        return self.peers[-1]

    async def intruder(self, role: Role) -> Peer:
        user = UserRole.ADMIN if role is Role.CLIENT else None
        token = self.token("mallory", *([] if user else [role]), user=user)
        return await self.peer(role, "mallory").join(self, token)

    async def refused(self, role: Role, name: str, token: str | None) -> str:
        """The error by which the hub refuses a connection."""
        one = self.peer(role, name)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await one.connect(self, token)
        return str(one.refusals[0]["message"])

    async def running(self, workflow_id: str) -> WorkflowId:
        """A workflow whose task is running in the engine."""
        await self.client.submit(DOCUMENT, workflow_id=workflow_id)
        async with asyncio.timeout(WAIT):
            while [each.status for each in await self.client.tasks(workflow_id)] != ["running"]:
                await asyncio.sleep(0.02)
        return WorkflowId(workflow_id)

    async def finished(self, workflow_id: str) -> dict[str, Any]:
        """It ends as it would have: its one result."""
        async with asyncio.timeout(4 * WAIT):
            while (await self.client.status(workflow_id)).status not in ("completed", "failed"):
                await asyncio.sleep(0.05)
        found = await self.client.result(workflow_id)
        assert found.status == "completed"
        values = {name: task.result for name, task in found.tasks.items()}
        assert "666" not in repr(values)
        return values


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with _scene(tmp_path) as made:
        yield made


@asynccontextmanager
async def _scene(directory: Path) -> AsyncIterator[Scene]:
    async with relay() as between:
        daemons = Daemons(
            directory, hub_urls_of=lambda name: [between.url] if name == ENGINE else daemons.hub_urls
        )
        between.hub_url = daemons.hub_url
        async with daemons, daemons.client() as client:
            made = Scene(daemons, client, between, [])
            try:
                yield made
            finally:
                for each in made.peers:
                    await asyncio.wait_for(each.leave(), WAIT)


async def tell(mallory: Peer, event: e.TaskCompleted, **envelope: str) -> None:
    shard = event.shard()
    more = {} if shard is None else {"_shard": shard}
    packet = mallory.envelope(_topic=event.topic(), **more, **envelope)
    await mallory.sio.emit(event.name, (packet, encode_body(event)))


def completed(workflow_id: WorkflowId) -> e.TaskCompleted:
    return e.TaskCompleted(workflow_id=workflow_id, task_id=TaskId("long"), attempt=1, result=FORGED)


async def test_who_is_neither_the_engine_nor_any_ends_no_attempt_that_is_leased_to_it(scene: Scene) -> None:
    workflow = await scene.running("w-forged")
    for role in (Role.PROVIDER, Role.CLIENT, Role.QUEUE_MANAGER, Role.DEPENDENCY_RESOLVER):
        mallory = await scene.intruder(role)
        await tell(mallory, completed(workflow), _source_component=ENGINE)
        _, body = await mallory.expect("event_refused")
        assert body["error"]["code"] == NotPermitted.code, role
        await mallory.leave()
        scene.peers.remove(mallory)
    mallory = await scene.intruder(Role.EXECUTION_ENGINE)
    await tell(mallory, completed(workflow), _source_component=ENGINE)
    _, body = await mallory.expect("data_saved")
    assert body["status"] == "stale"
    await scene.finished(workflow)


async def test_frames_of_an_engine_that_another_sends_again_change_nothing(scene: Scene) -> None:
    first = await scene.running("w-first")
    before = await scene.finished(first)
    frames = [each for each in scene.between.frames if each.startswith("42") and "task_completed" in each]
    assert any(first in each for each in frames)
    second = await scene.running("w-second")
    relabelled = [each.replace(first, second) for each in frames if first in each]
    mallory = await scene.intruder(Role.EXECUTION_ENGINE)
    for frame in relabelled:  # first: nobody can say that they are only repeats of its own
        await mallory.sio.eio.send(frame.removeprefix("4"))
        _, body = await mallory.expect("data_saved")
        assert body["status"] == "stale"
    for frame in frames:
        await mallory.sio.eio.send(frame.removeprefix("4"))
    assert [each.status for each in await scene.client.tasks(second)] == ["running"]
    await scene.finished(second)
    assert await scene.finished(first) == before


async def test_nobody_comes_in_as_hub_or_ledger_or_under_a_living_name(scene: Scene) -> None:
    workflow = await scene.running("w-named")
    alice = scene.token("alice", user=UserRole.ADMIN)
    engine = scene.token("mallory", Role.EXECUTION_ENGINE)
    for role, name, token, number in (
        (Role.CLIENT, "c", None, "-25005"),
        (Role.CLIENT, "c", KeyRing.make().issue(Grant(subject="a", user=UserRole.ADMIN), now=0.0), "-25005"),
        (Role.HUB, "hub-2", alice, "-25006"),
        (Role.HUB, "hub-2", engine, "-25006"),
        (Role.PERSISTENCE, LEDGER, alice, "-25006"),
        (Role.PERSISTENCE, "ledger-2", engine, "-25006"),
    ):
        assert number in await scene.refused(role, name, token), (role, name)
    for role, name in ((Role.EXECUTION_ENGINE, ENGINE), (Role.PERSISTENCE, LEDGER)):
        thief = await scene.peer(role, name).connect(scene, scene.token("mallory", role))
        own = {
            "component_id": name,
            "component_type": role.value,
            "capabilities": ["envelope"],
            "epoch": 9**9,
        }
        await thief.send("register_component", own)
        _, body = await thief.expect("registration_refused")
        assert "connected with the token of test" in body["error"]["message"]
        await asyncio.wait_for(thief.gone.wait(), WAIT)
    await scene.finished(workflow)
