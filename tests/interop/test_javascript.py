"""packaging/sdk/javascript: under 80 lines, passes ``gleitzeit conform``, and does a workflow's work."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.conform import CHECKS, Settings, Trial
from gleitzeitd.conform.arena import Arena
from gleitzeitd.runtime.embedded import Embedded
from tests.interop.node import ROOT, copied

pytestmark = pytest.mark.slow

SOURCE = ROOT / "packaging" / "sdk" / "javascript" / "provider.mjs"
PIPELINE = {
    "name": "backwards",
    "tasks": [
        {"id": "once", "method": "text/reverse", "parameters": {"text": "Zeit gleitet"}},
        {
            "id": "twice",
            "method": "text/reverse",
            "parameters": {"text": "${once.result}"},
            "dependencies": ["once"],
        },
    ],
}


def test_it_is_short() -> None:
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) < 80


async def test_it_does_all_that_a_provider_has_to_do(tmp_path: Path) -> None:
    command = ["node", str(copied(tmp_path))]
    settings = Settings(seconds=10.0, away_seconds=0.5)
    async with Arena() as arena:
        trial = Trial(arena, command=command, settings=settings, only=[n for n in CHECKS if n != "drain"])
        found = {each.name: each async for each in trial.run()}
    assert {name: each.seen for name, each in found.items() if each.status != "ok"} == {}


async def test_it_does_the_work_of_a_workflow_and_ends(tmp_path: Path) -> None:
    provider = copied(tmp_path)
    async with Embedded(database=tmp_path / "db") as system, Client(system.hub_url, system.token) as client:
        told = {"GLEITZEIT_HUB_URL": system.hub_url, "GLEITZEIT_TOKEN": str(system.token)}
        process = await asyncio.create_subprocess_exec("node", str(provider), env={**os.environ, **told})
        try:
            async with asyncio.timeout(20):
                while "text/v1" not in [each.name for each in (await client.protocols()).protocols]:
                    assert process.returncode is None, "node has ended"
                result = await client.run(PIPELINE)
                assert result.status == "completed"
                assert result.tasks["once"].result == "tetielg tieZ"
                assert result.tasks["twice"].result == "Zeit gleitet"

                slow = {"id": "a", "method": "text/wait", "parameters": {"seconds": 60}}
                submitted = await client.submit({"name": "slow", "tasks": [slow]})
                watching = client.watch(submitted.workflow_id)
                async for _ in watching:
                    await client.cancel(submitted.workflow_id)
                    break
                async for _ in client.watch(submitted.workflow_id):
                    pass
                assert (await client.status(submitted.workflow_id)).status == "cancelled"
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 10)
