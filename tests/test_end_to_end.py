"""Real processes, a real database, the real command line: what a user does, and what must come of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemons import Daemons

pytestmark = [pytest.mark.slow, pytest.mark.alone]

EXAMPLES = Path(__file__).parent.parent / "examples"
PROVIDERS = ("echo", "python", "shell")


@pytest.fixture
async def daemons(tmp_path: Path) -> AsyncIterator[Daemons]:
    """One of each; tasks of the shell may leave marks in the directory of the test."""
    own = {"provider-shell": {"GLEITZEIT_PROVIDER_WRITABLE": str(tmp_path)}}
    async with Daemons(
        tmp_path, providers=PROVIDERS, environment_of=lambda name: own.get(name, {})
    ) as running:
        yield running


async def gleitzeit(daemons: Daemons, *arguments: str) -> tuple[int, str, str]:
    """Run the command with these daemons: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from gleitzeitd.cli import main; main()",
        *arguments,
        env=daemons.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def write(path: Path, document: Any) -> str:
    path.write_text(json.dumps(document))
    return str(path)


async def test_a_workflow_runs_through_separate_processes(daemons: Daemons) -> None:
    code, out, err = await gleitzeit(daemons, "run", str(EXAMPLES / "pipeline.yaml"), "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["status"] == "completed"
    assert result["tasks"]["join"]["result"]["result"].startswith("8 values")
    code, out, _ = await gleitzeit(daemons, "components", "--json")
    assert code == 0
    components = json.loads(out)
    components = components["components"] if isinstance(components, dict) else components
    roles = {each["component_type"] for each in components}
    assert roles >= {
        "hub", "persistence", "dependency_resolver", "queue_manager", "execution_engine",
        "protocol_registry", "provider",
    }  # fmt: skip
    for each in components:
        if each["component_type"] != "client":
            assert each["metrics"]["memory_bytes"] > 1_000_000, each


async def test_two_of_each_role_complete_every_time(tmp_path: Path) -> None:
    twice = {"dependency-resolver", "queue-manager", "execution-engine", "protocol-registry"}
    async with Daemons(tmp_path, providers=PROVIDERS, twice=twice) as daemons, daemons.client() as client:
        for _ in range(10):
            result = await client.run(EXAMPLES / "pipeline.yaml")
            assert result.status == "completed", result


async def test_workflows_with_the_same_task_ids_get_their_own_results(daemons: Daemons) -> None:
    def document(text: str) -> Any:
        first = {"id": "a", "method": "echo/echo", "parameters": {"text": text}}
        second = {"id": "b", "method": "echo/echo", "parameters": {"text": "${a.text}!"}}
        return {"name": "same ids", "tasks": [first, second]}

    async with daemons.client() as client:
        names = [f"text {i}" for i in range(20)]
        results = await asyncio.gather(*(client.run(document(name)) for name in names))
    assert [result.tasks["b"].result["text"] for result in results] == [f"{name}!" for name in names]


async def test_a_file_with_five_mistakes_is_refused_with_all_of_them(
    daemons: Daemons, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        "name: wrong\n"
        "tasks:\n"
        "  - id: a\n"
        "    method: echo/echo\n"
        "    parametres: {}\n"
        "  - id: a\n"
        "    method: echo/echo\n"
        "    dependencies: [nobody]\n"
        "  - id: c\n"
        "    method: echo/echo\n"
        "    dependencies: [d]\n"
        "    parameters: {x: '${ghost.value}'}\n"
        "  - id: d\n"
        "    method: echo/echo\n"
        "    dependencies: [c]\n"
    )
    code, out, err = await gleitzeit(daemons, "run", str(path))
    assert code == 2
    text = out + err
    for place in (":5:5:", ":6:5:", ":8:20:", ":12:18:", ":11:20:"):
        assert place in text, text
    for words in ("did you mean parameters?", "nobody", "ghost", "c -> d -> c"):
        assert words in text, text
    async with daemons.client() as client:
        assert [w.name for w in await client.list()] == ["ready"], "something of it ran"


async def test_wrong_parameters_of_a_registered_protocol_are_refused_before_anything_runs(
    daemons: Daemons, tmp_path: Path
) -> None:
    document = {
        "tasks": [
            {"id": "fine", "method": "echo/ping"},
            {"id": "method", "method": "echo/pong"},
            {"id": "type", "method": "echo/wait", "parameters": {"seconds": "soon"}},
        ]
    }
    code, out, err = await gleitzeit(daemons, "run", write(tmp_path / "w.json", document))
    assert code == 2, out + err
    assert "did you mean echo/ping" in out + err
    assert "seconds" in out + err


async def test_an_endless_loop_ends_with_its_timeout_and_leaves_no_process(
    daemons: Daemons, tmp_path: Path
) -> None:
    code = "import os\nif os.fork() == 0:\n    os.setsid()\nwhile True: pass"
    loop = {"id": "loop", "method": "python/execute", "timeout": 2, "parameters": {"code": code}}
    started = time.monotonic()
    status, out, err = await gleitzeit(
        daemons, "run", write(tmp_path / "loop.json", {"tasks": [loop]}), "--json"
    )
    assert status == 1, err
    assert json.loads(out)["tasks"]["loop"]["error"]["name"] == "TASK_TIMEOUT"
    assert time.monotonic() - started < 6, "the command itself takes up to 2 s here"
    provider = psutil.Process(daemons.processes["provider-python"].pid)
    busy = [p for p in provider.children(recursive=True) if p.cpu_percent(0.1) > 50]
    assert not busy


async def test_a_script_that_raises_fails_its_task_and_skips_what_depends_on_it(
    daemons: Daemons, tmp_path: Path
) -> None:
    document = {
        "tasks": [
            {"id": "bad", "method": "python/execute", "parameters": {"code": "raise ValueError('so be it')"}},
            {"id": "after", "method": "echo/ping", "dependencies": ["bad"]},
            {"id": "other", "method": "echo/ping"},
        ]
    }
    code, out, _ = await gleitzeit(daemons, "run", write(tmp_path / "bad.json", document), "--json")
    assert code == 1
    tasks = json.loads(out)["tasks"]
    assert "ValueError: so be it" in tasks["bad"]["error"]["message"]
    assert tasks["after"]["status"] == "skipped"
    assert "bad" in tasks["after"]["error"]["message"]
    assert tasks["other"]["status"] == "completed"


@pytest.mark.parametrize(
    "victim",
    [
        "hub", "persistence", "dependency-resolver", "queue-manager", "protocol-registry",
        "execution-engine", "provider-echo",
    ],
)  # fmt: skip
async def test_a_daemon_killed_in_the_middle_and_restarted_loses_nothing(tmp_path: Path, victim: str) -> None:
    steps = [
        {
            "id": f"s{i}",
            "method": "echo/wait",
            "parameters": {"seconds": 0.1},
            "dependencies": [f"s{i - 1}"] if i else [],
        }
        for i in range(10)
    ]
    async with Daemons(tmp_path, providers=["echo"]) as daemons, daemons.client() as client:
        submitted = await client.submit({"name": "chain", "tasks": steps})
        killed = False
        async for published in client.watch(submitted.workflow_id):
            if published.event.name == "task_completed" and not killed:
                killed = True
                daemons.kill(victim)
                daemons.start(victim)
        assert killed
        result = await client.result(submitted.workflow_id)
    assert result.status == "completed", {t: r.status for t, r in result.tasks.items()}


async def test_every_daemon_ends_with_zero_when_asked_to(daemons: Daemons) -> None:
    names = list(daemons.processes)
    names.remove("hub")
    codes = {name: await asyncio.to_thread(daemons.terminate, name) for name in [*names, "hub"]}
    assert set(codes.values()) == {0}, codes


async def test_a_running_task_is_finished_or_handed_back_when_its_engine_ends(tmp_path: Path) -> None:
    task = {"id": "slow", "method": "echo/wait", "parameters": {"seconds": 1.5}}
    async with (
        Daemons(tmp_path, providers=["echo"], twice={"execution-engine"}) as daemons,
        daemons.client() as client,
    ):
        submitted = await client.submit({"tasks": [task]})
        async for published in client.watch(submitted.workflow_id):
            if published.event.name == "task_started":
                holder = published.event.engine_id  # type: ignore[attr-defined]
                code = await asyncio.to_thread(daemons.terminate, holder)
                assert code == 0
        result = await client.result(submitted.workflow_id)
    assert result.status == "completed"
    assert result.tasks["slow"].attempt == 1, "the engine had time to finish it"


async def test_a_wrong_token_is_refused_with_exit_code_4(daemons: Daemons) -> None:
    daemons.token = "wrong"
    code, out, err = await gleitzeit(daemons, "components")
    assert code == 4, out + err
    assert "token" in out + err


async def test_a_hub_that_is_not_there_gives_exit_code_3(tmp_path: Path) -> None:
    nobody = Daemons(tmp_path)
    code, out, err = await gleitzeit(nobody, "components")
    assert code == 3, out + err
    assert str(nobody.port) in out + err


async def test_http_pages_tell_readiness_and_metrics(daemons: Daemons) -> None:
    import aiohttp

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {daemons.token}"}) as session:
        for page, expected in (("healthz", ""), ("readyz", ""), ("metrics", "gleitzeit_")):
            async with session.get(f"{daemons.hub_url}/{page}") as response:
                assert response.status == 200, (page, await response.text())
                assert expected in await response.text()


def test_the_embedded_run_needs_no_daemon(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GLEITZEIT_")}
    environment["XDG_STATE_HOME"] = str(tmp_path)
    command = [sys.executable, "-c", "from gleitzeitd.cli import main; main()"]
    run = subprocess.run(
        [*command, "run", str(EXAMPLES / "hello.yaml"), "--json"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    workflow_id = json.loads(run.stdout)["workflow_id"]
    again = subprocess.run(
        [*command, "result", workflow_id, "--json"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert json.loads(again.stdout) == json.loads(run.stdout), again.stderr


async def test_a_workflow_whose_time_is_over_leaves_no_process(daemons: Daemons, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # One process in the background, and one in a session of its own besides.
    script = f"sleep 301 & echo $! >> {pids}; setsid sleep 302 & echo $! >> {pids}; wait"
    document = {
        "timeout": 4,
        "tasks": [
            {"id": "a", "method": "shell/execute", "parameters": {"script": script}, "timeout": 600},
            {"id": "b", "method": "echo/echo", "dependencies": ["a"]},
        ],
    }
    async with daemons.client() as client:
        result = await asyncio.wait_for(client.run(document), 60)
        assert result.status == "failed"
        assert result.error is not None
        assert result.error.name == "WORKFLOW_TIMEOUT"
        assert {task.status for task in result.tasks.values()} == {"cancelled"}
        left = [pid for pid in map(int, pids.read_text().split()) if psutil.pid_exists(pid)]
        assert len(pids.read_text().split()) == 2
        assert not [pid for pid in left if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    code, out, err = await gleitzeit(daemons, "why", result.workflow_id, "b")
    assert code == 0, err
    assert "it took longer than its timeout of 4 s" in out


async def test_a_task_that_falls_silent_is_ended_and_tried_again(daemons: Daemons, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"if [ -e {mark} ]; then echo spoken; else touch {mark}; echo begun; sleep 303; fi"
    task = {
        "id": "a",
        "method": "shell/execute",
        "parameters": {"script": script},
        "timeouts": {"silence": 1},
        "retry": {"max_attempts": 2, "base_delay": 0.1, "on": ["TASK_TIMEOUT"]},
    }
    async with daemons.client() as client:
        result = await asyncio.wait_for(client.run({"tasks": [task]}), 60)
    assert result.status == "completed", result
    assert result.tasks["a"].attempt == 2
