"""A provider that does what it has to do passes; each of its faults is found, and by the right check."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gleitzeitd.conform import CHECKS, Outcome, Settings, Trial
from gleitzeitd.conform.arena import Arena
from tests.conform.faulty import FAULTS, Faulty

SETTINGS = Settings(seconds=1.5, start_seconds=3.0, away_seconds=0.3, large_bytes=2**18)
PATIENT = Settings(seconds=10.0, away_seconds=0.3)
CONTROL = {"call", "health"}
"""What is looked at besides, and has to be right unless it is what is wrong."""


@asynccontextmanager
async def provider(arena: Arena, fault: str = "") -> AsyncIterator[None]:
    serving = asyncio.ensure_future(Faulty(arena.hub_url, arena.token, fault).run())
    try:
        yield
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def outcomes(
    arena: Arena, settings: Settings, only: Sequence[str] = (), command: Sequence[str] = ()
) -> dict[str, Outcome]:
    trial = Trial(arena, settings=settings, only=only, command=command)
    return {each.name: each async for each in trial.run()}


async def test_who_does_all_of_it_passes() -> None:
    async with Arena() as arena, provider(arena):
        found = await outcomes(arena, PATIENT, [name for name in CHECKS if name != "drain"])
    assert {name: each.seen for name, each in found.items() if each.status == "failed"} == {}
    assert {name for name, each in found.items() if each.status == "skipped"} == {"end"}
    assert set(found) == CHECKS.keys() - {"drain"}


async def test_one_that_does_not_know_drain_component_passes() -> None:
    async with Arena() as arena, provider(arena):
        found = await outcomes(arena, SETTINGS, ["drain"])
    assert found["drain"].status == "ok"
    assert "does not know drain_component" in found["drain"].seen


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_found(fault: str) -> None:
    async with Arena() as arena, provider(arena, fault):
        found = await outcomes(arena, SETTINGS, sorted(FAULTS[fault] | CONTROL))
    failed = {name for name, each in found.items() if each.status == "failed"}
    assert failed == FAULTS[fault], {name: each.seen for name, each in found.items()}
    assert all(each.seen for each in found.values() if each.status != "ok")


async def test_a_command_that_ends_at_once_is_seen() -> None:
    async with Arena() as arena:
        found = await outcomes(arena, SETTINGS, command=[sys.executable, "-c", "raise SystemExit(3)"])
    assert found["connect"].status == "failed"
    assert "ended with 3" in found["connect"].seen
    assert {each.status for name, each in found.items() if name != "connect"} == {"skipped"}


async def test_our_own_provider_passes_and_is_drained(tmp_path: Path) -> None:
    (tmp_path / "sky.py").write_text(
        "from gleitzeitd.providers import MethodProvider\n"
        "import asyncio\n"
        "class Sky(MethodProvider):\n"
        "    protocol_name = 'sky/v1'\n"
        "    async def forecast(self, city: str) -> str:\n"
        "        return city\n"
        "    async def wait(self, seconds: float) -> None:\n"
        "        await asyncio.sleep(seconds)\n"
    )
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); from gleitzeitd.__main__ import main; main()"
    command = [sys.executable, "-c", run, str(tmp_path), "provider", "--module", "sky:Sky"]
    async with Arena() as arena:
        found = await outcomes(arena, PATIENT, command=command)
    assert {name: each.seen for name, each in found.items() if each.status != "ok"} == {}
    assert "TASK" in found["wrong-parameters"].seen
    assert "PROVIDER" in found["drain"].seen
