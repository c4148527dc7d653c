"""A disk that is full: what is new is refused with a number, what runs goes on, and it is told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gleitzeitd.errors import StoreError
from tests.daemons import Daemons

pytestmark = [pytest.mark.slow, pytest.mark.alone]

LIMIT = {"GLEITZEIT_SQLITE_LIMIT_MEGABYTES": "2"}


def large(number: int) -> Any:
    """A workflow whose document fills some of the file."""
    return {
        "name": f"large {number}",
        "tasks": [{"id": "a", "method": "echo/ping", "metadata": {"filler": f"{number} " * 40_000}}],
    }


async def test_new_work_is_refused_and_nothing_is_half_accepted(tmp_path: Path) -> None:
    async with (
        Daemons(tmp_path, providers=["echo"], environment=LIMIT) as daemons,
        daemons.client() as client,
    ):
        accepted: list[str] = []
        with pytest.raises(StoreError) as refusal:
            for number in range(100):
                submitted = await client.submit(large(number), workflow_id=f"large-{number}")
                accepted.append(submitted.workflow_id)
        assert refusal.value.code == StoreError.code
        assert "full" in str(refusal.value)
        kept = {report.workflow_id for report in await client.list(limit=1000)}
        assert kept >= set(accepted)
        assert f"large-{len(accepted)}" not in kept
        assert daemons.log("persistence").count("a transaction failed") >= 1
        assert daemons.processes["persistence"].poll() is None
