"""A provider that keeps its own record of what really ran, and that a task can kill."""

from __future__ import annotations

import asyncio
import os
import signal

from gleitzeitd.providers.base import MethodCall
from tests.chaos.provider import Ledgered


class Recorded(Ledgered):
    """Counts, slowly; its record has the form of the one it inherits."""

    protocol_name = "recorded/v1"

    async def step(self, call: MethodCall, seconds: float, before: int) -> dict[str, int]:
        """The number after ``before``, after a while."""
        with self._recorded(call):
            await asyncio.sleep(seconds)
            return {"number": before + 1}

    async def deadly(self, call: MethodCall) -> dict[str, int]:
        """End this process, without a warning."""
        with self._recorded(call):
            os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(60)
            return {}
