"""Providers whose protocols are in files, through the whole system; and methods that are called directly."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.model.names import Role
from gleitzeitd.runtime import assembly
from gleitzeitd.runtime.embedded import Embedded, Part, default_parts
from tests.fake_llm import FakeLlm

ROOT = Path(__file__).resolve().parent.parent
FILE = """\
name: sky
version: {version}
description: What the sky will do.
methods:
  forecast:
    description: The weather of the next days.
    parameters:
      city: {{type: string, required: true}}
      days: {{type: integer, maximum: 14, default: {days}}}
    returns: {{type: object, properties: {{sky: {{type: string, required: true}}}}}}
    examples: [{{description: The usual, request: {{city: Ulm}}}}]
"""
MODULE = '''\
"""Two versions of one protocol."""

from gleitzeitd.providers import MethodProvider


class First(MethodProvider):
    """Grey."""

    def forecast(self, city, days):
        return {"sky": f"grey over {city} for {days} days"}


class Second(MethodProvider):
    """Blue."""

    async def forecast(self, city, days):
        return {"sky": f"blue over {city} for {days} days"}
'''


@asynccontextmanager
async def system(folder: Path) -> AsyncIterator[Embedded]:
    """With sky/v1 and sky/v2 beside what comes with it."""
    (folder / "sky_in_files.py").write_text(MODULE)
    own = []
    for version, days, name in (("v1", 3, "First"), ("v2", 7, "Second")):
        file = folder / f"sky-{version}.yaml"
        file.write_text(FILE.format(version=version, days=days))
        made = assembly.provider(f"sky-{version}", f"sky_in_files:{name}", file)
        own.append(Part(role=Role.PROVIDER, label=f"provider-sky-{version}", assembly=made))
    parts = [each for each in default_parts(folder / "gleitzeit.db") if each.label not in _TOO_MANY]
    async with Embedded(parts=[*parts[:-1], *own, parts[-1]]) as running:
        yield running


_TOO_MANY = {f"provider-{name}" for name in ("shell", "http", "mcp", "grpc")}


async def gleitzeit(running: Embedded, *words: str) -> tuple[int, str, str]:
    """The exit code, and what is on the two streams."""
    return await typed(
        {**os.environ, "GLEITZEIT_HUB_URL": running.hub_url, "GLEITZEIT_TOKEN": str(running.token)}, *words
    )


async def typed(environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    """As ``gleitzeit``, with this environment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from gleitzeitd.cli import main; main()",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=ROOT,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow
async def test_versions_live_side_by_side_with_their_own_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    tasks = [
        {"id": "one", "method": "sky/forecast", "params": {"city": "Ulm"}},
        {"id": "two", "method": "sky/forecast", "protocol": "sky/v2", "params": {"city": "Bonn"}},
    ]
    async with system(tmp_path) as running, Client(running.hub_url, running.token) as client:
        result = await client.run({"name": "Sky", "tasks": tasks})
        assert {name: each.result for name, each in result.tasks.items()} == {
            "one": {"sky": "grey over Ulm for 3 days"},
            "two": {"sky": "blue over Bonn for 7 days"},
        }
        tasks[1]["params"] = {"city": "Bonn", "days": 15}
        with pytest.raises(WorkflowInvalid) as refused:
            await client.run({"name": "Sky", "tasks": tasks})
        (problem,) = refused.value.problems
        assert str(problem) == "tasks[1].parameters.days: expected at most 14, found 15"
        code, out, err = await gleitzeit(running, "protocols", "show", "sky")
        assert (code, err) == (0, "")
        assert out.startswith("sky/v2\n")
        assert "days: integer of at most 14 = 7" in out
        assert "gleitzeit call sky/forecast --param city=Ulm" in out
        code, out, err = await gleitzeit(running, "call", "sky/forecast", "-p", "city=Ulm", "--json")
        assert (code, json.loads(out)["result"]) == (0, {"sky": "grey over Ulm for 3 days"})
        code, out, err = await gleitzeit(running, "call", "sky/forecast", "-p", "days=2")
        assert (code, out) == (2, "")
        assert err == "gleitzeit: sky/forecast: city: missing\n"
        call = ["call", "sky/forecast", "--protocol", "sky/v2", "-p", "city=3", "--id", "once"]
        assert await gleitzeit(running, *call) == (0, '{\n  "sky": "blue over 3 for 7 days"\n}\n', "")
        report = await client.status("once")  # as durable as any other
        assert (report.status, report.name) == ("completed", "sky/forecast")


@pytest.mark.slow
async def test_without_a_hub_a_model_is_asked_here_and_its_answer_is_seen_while_it_grows(
    tmp_path: Path,
) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GLEITZEIT_")}
    async with FakeLlm().serve() as llm:
        environment |= {"OLLAMA_HOST": llm.url, "XDG_STATE_HOME": str(tmp_path)}
        prompt = "Why is ${this} blue? " * 10
        code, out, err = await typed(
            environment, "call", "llm/chat", "-p", "model=m", "-p", f"prompt={prompt}"
        )
        assert (code, out) == (0, f"You said: {prompt}\n")
        assert "You said: Why is ${this}" in err  # while it grew
        (asked,) = llm.asked
        assert asked.body["messages"][-1]["content"] == prompt
        llm.fail(500)
        code, out, err = await typed(environment, "call", "llm/chat", "-p", "prompt=x", "--json")
        assert (code, err) == (1, "")
        assert json.loads(out)["error"]["name"] == "TASK_EXECUTION_FAILED"
