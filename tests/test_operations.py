"""What an operator does with a system at work: look, copy, take out of service."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from gleitzeitd.runtime import backup
from tests.daemons import Daemons

pytestmark = [pytest.mark.slow, pytest.mark.alone]

STEPS = 8
CHAIN = {
    "id": "chain",
    "name": "chain",
    "tasks": [
        {
            "id": f"step{n}",
            "method": "echo/wait",
            "parameters": {"seconds": 0.3},
            "dependencies": [f"step{n - 1}"] if n else [],
        }
        for n in range(STEPS)
    ],
}


async def gleitzeit(daemons: Daemons, *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of the command, with these daemons."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from gleitzeitd.cli import main; main()",
        *arguments,
        env=daemons.environment(),
        stdout=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_what_was_unfinished_in_a_backup_is_finished_by_whoever_restores_it(tmp_path: Path) -> None:
    document = tmp_path / "chain.json"
    document.write_text(json.dumps(CHAIN))
    copy = tmp_path / "copy.db"
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    async with Daemons(here) as daemons:
        async with daemons.client() as client:
            await client.submit(document)
            async for published in client.watch("chain"):
                if published.event.name == "task_completed":
                    break
            code, out = await gleitzeit(daemons, "backup", str(copy), "--json")
            assert (code, json.loads(out)["unfinished"]) == (0, 1)
            assert (await client.status("chain")).status == "running"
        for name in daemons.names:  # the host is lost
            daemons.kill(name)
    backup.restore(copy, there / "gleitzeit.db")
    async with Daemons(there) as daemons, daemons.client() as client, asyncio.timeout(30):
        async for _ in client.watch("chain"):
            pass
        result = await client.result("chain")
        code, out = await gleitzeit(daemons, "doctor", "--json")
    assert result.status == "completed"
    assert len(result.tasks) == STEPS
    assert {task.status for task in result.tasks.values()} == {"completed"}
    assert code == 0, out
    levels = {each["about"]: each["level"] for each in json.loads(out)["findings"]}
    assert {levels[about] for about in ("database", "disk", "hub", "components", "versions", "work")} == {
        "ok"
    }


async def test_a_drained_engine_finishes_what_runs_and_another_one_gets_the_rest(tmp_path: Path) -> None:
    document = tmp_path / "chain.json"
    document.write_text(json.dumps(CHAIN))
    async with Daemons(tmp_path, twice={"execution-engine"}) as daemons, daemons.client() as client:
        await client.submit(document)
        async for published in client.watch("chain"):
            if published.event.name == "task_started":
                break
        code, out = await gleitzeit(daemons, "drain", "execution-engine-2", "--wait", "--json")
        assert (code, json.loads(out)["finished"]) == (0, True), out
        found = {each.component_id: each.status for each in await client.components()}
        assert found["execution-engine-2"] == "draining"
        daemons.terminate("execution-engine-2")
        async for _ in client.watch("chain"):
            pass
        tasks = await client.tasks("chain")
        assert {(task.status, task.crashes) for task in tasks} == {("completed", 0)}
        code, out = await gleitzeit(daemons, "drain", "execution-engine", "--json")
        assert json.loads(out)["draining"]
        code, out = await gleitzeit(daemons, "drain", "--undo", "execution-engine", "--json")
        assert not json.loads(out)["draining"]
        async with asyncio.timeout(20):
            result = await client.run({"name": "after", "tasks": [{"id": "a", "method": "echo/ping"}]})
        assert result.completed


async def test_a_provider_that_is_stopped_hands_back_what_it_cannot_finish(tmp_path: Path) -> None:
    slow = {"id": "slow", "tasks": [{"id": "a", "method": "echo/wait", "parameters": {"seconds": 4}}]}
    document = tmp_path / "slow.json"
    document.write_text(json.dumps(slow))
    hand_back = {"GLEITZEIT_CALLS_HAND_BACK_SECONDS": "0.5"}
    async with (
        Daemons(tmp_path, twice={"provider-echo"}, environment=hand_back) as daemons,
        daemons.client() as client,
        asyncio.timeout(60),
    ):
        await client.submit(document)
        async for published in client.watch("slow"):
            if published.event.name == "task_started":
                break
        (task,) = await client.tasks("slow")
        assert task.provider is not None
        assert daemons.terminate(task.provider) == 0
        async for _ in client.watch("slow"):
            pass
        (again,) = await client.tasks("slow")
    assert (again.status, again.attempt, again.crashes, again.failures) == ("completed", 2, 0, 0)
    assert again.provider != task.provider
