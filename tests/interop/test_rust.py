"""packaging/sdk/rust: under 80 lines, passes ``gleitzeit conform``, and does a workflow's work."""

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
from tests.interop.rust import SOURCE, built

pytestmark = pytest.mark.slow

PIPELINE = {
    "name": "counted",
    "tasks": [
        {"id": "text", "method": "words/count", "parameters": {"text": "Zeit gleitet  dahin,\nÜber Nacht"}},
        {"id": "count", "method": "words/count", "parameters": {"text": "there are ${text.result} words"}},
        {"id": "late", "method": "words/wait", "parameters": {"seconds": 60}, "timeout": 1},
    ],
}


def test_it_is_short() -> None:
    for source in SOURCE.glob("*.rs"):
        assert len(source.read_text(encoding="utf-8").splitlines()) < 80, source.name


async def test_it_does_all_that_a_provider_has_to_do() -> None:
    settings = Settings(seconds=10.0, away_seconds=0.5)
    async with Arena() as arena:
        checks = [name for name in CHECKS if name != "drain"]
        trial = Trial(arena, command=[str(built())], settings=settings, only=checks)
        found = {each.name: each async for each in trial.run()}
    assert {name: each.seen for name, each in found.items() if each.status != "ok"} == {}


async def test_it_does_the_work_of_a_workflow_and_ends(tmp_path: Path) -> None:
    program = built()
    async with Embedded(database=tmp_path / "db") as system, Client(system.hub_url, system.token) as client:
        told = {"GLEITZEIT_HUB_URL": system.hub_url, "GLEITZEIT_TOKEN": str(system.token)}
        process = await asyncio.create_subprocess_exec(str(program), env={**os.environ, **told})
        try:
            async with asyncio.timeout(20):
                while "words/v1" not in [each.name for each in (await client.protocols()).protocols]:
                    assert process.returncode is None, "the provider has ended"
                result = await client.run(PIPELINE)
                assert result.tasks["text"].result == 5
                assert result.tasks["count"].result == 4
                late = result.tasks["late"].error
                assert late is not None and late.name == "TASK_TIMEOUT"

                slow = {"id": "a", "method": "words/wait", "parameters": {"seconds": 60}}
                submitted = await client.submit({"name": "slow", "tasks": [slow]})
                async for _ in client.watch(submitted.workflow_id):
                    await client.cancel(submitted.workflow_id)
                    break
                async for _ in client.watch(submitted.workflow_id):
                    pass
                assert (await client.status(submitted.workflow_id)).status == "cancelled"
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 10)
