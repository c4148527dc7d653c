"""A class of ten lines in somebody's own module, or a function of five, run with ``gleitzeitd provider --module``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.runtime.embedded import Embedded

WEATHER = '''
from gleitzeitd.providers import MethodProvider

class Weather(MethodProvider):
    """What the sky will do."""
    protocol_name = "weather/v1"

    async def forecast(self, city: str, days: int = 3) -> dict:
        """The weather of the next days."""
        return {"city": city, "days": days}
'''


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Embedded]:
    async with Embedded(database=tmp_path / "db") as running:
        yield running


FUNCTION = '''
from gleitzeitd.providers import method

@method
def forecast(city: str, days: int = 3) -> dict:
    """The weather of the next days."""
    return {"city": city, "days": days}
'''


DAEMON = ["-m", "gleitzeitd", "provider", "--module"]
COMMAND = ["-c", "from gleitzeitd.cli import main; main()", "provider", "--module"]


async def started(system: Embedded, directory: Path, spec: str, how: list[str]) -> asyncio.subprocess.Process:
    (directory / "sky.py").write_text(WEATHER)
    (directory / "weather.py").write_text(FUNCTION)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(directory), *sys.path]),
        "GLEITZEIT_HUB_URL": system.hub_url,
        "GLEITZEIT_TOKEN": str(system.token),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, *how, spec, env=environment, cwd=directory, stderr=asyncio.subprocess.PIPE
    )


@pytest.mark.parametrize(
    ("spec", "how"), [("sky:Weather", DAEMON), ("weather", DAEMON), ("weather", COMMAND)]
)
async def test_it_serves_what_its_type_hints_say_and_ends_when_it_is_told_to(
    system: Embedded, tmp_path: Path, spec: str, how: list[str]
) -> None:
    process = await started(system, tmp_path, spec, how)
    try:
        async with Client(system.hub_url, system.token) as client, asyncio.timeout(30):
            while "weather/v1" not in (known := {p.name: p for p in (await client.protocols()).protocols}):
                assert process.returncode is None
            method = known["weather/v1"].methods["weather/forecast"]
            assert method.description == "The weather of the next days."
            assert method.parameters["required"] == ["city"]
            task = {"id": "a", "method": "weather/forecast", "parameters": {"city": "Ulm"}}
            result = await client.run({"name": "w", "tasks": [task]})
            assert result.tasks["a"].result == {"city": "Ulm", "days": 3}
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, err.decode()
    assert "Traceback" not in err.decode()
    assert str(system.token) not in err.decode()
