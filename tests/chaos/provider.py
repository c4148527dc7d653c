"""A provider that keeps its own record of what really ran.

Every execution that begins, and every one that ends, is one line, written at once to a file opened with
O_APPEND, so that lines of several processes never mix, and a killed process has written all it did:

    begin WORKFLOW TASK ATTEMPT PID MONOTONIC
    end   WORKFLOW TASK ATTEMPT PID MONOTONIC ok|failed|cancelled
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from gleitzeitd.bounds import bounded, sized
from gleitzeitd.errors import ExecutionFailed
from gleitzeitd.providers.base import MethodCall
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings
from tests.chaos.workload import added


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgeredSettings(MethodProviderSettings):
    """Where the record is."""

    capacity: int = bounded(64, least=1, most=100_000)
    """Calls that run at once."""
    record: str = sized("", most=4096)
    """The file; GLEITZEIT_PROVIDER_RECORD."""


class Ledgered(MethodProvider):
    """Adds numbers, and writes down that it did."""

    protocol_name = "ledgered/v1"
    Settings: ClassVar[type] = LedgeredSettings

    async def start(self) -> None:
        await super().start()
        flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
        self._record = os.open(self.settings.record or os.devnull, flags, 0o600)

    async def stop(self) -> None:
        os.close(self._record)
        await super().stop()

    @contextmanager
    def _recorded(self, call: MethodCall) -> Iterator[None]:
        self._write("begin", call, "")
        outcome = "cancelled"
        try:
            yield
            outcome = "ok"
        except ExecutionFailed:
            outcome = "failed"
            raise
        finally:
            self._write("end", call, outcome)

    def _write(self, what: str, call: MethodCall, outcome: str) -> None:
        line = f"{what} {call.workflow_id} {call.task_id} {call.attempt} {os.getpid()} {time.monotonic()} {outcome}"
        os.write(self._record, line.rstrip().encode() + b"\n")

    async def ready(self) -> dict[str, bool]:
        """That somebody is there; not recorded."""
        return {"ready": True}

    async def add(self, call: MethodCall, values: list[int], plus: int, seconds: float) -> dict[str, int]:
        """The sum, after a while."""
        with self._recorded(call):
            await asyncio.sleep(seconds)
            return {"value": added(values, plus)}

    async def flaky(
        self, call: MethodCall, values: list[int], plus: int, seconds: float, times: int
    ) -> dict[str, int]:
        """Fail in the first attempts, as many as ``times``."""
        with self._recorded(call):
            await asyncio.sleep(seconds)
            if call.attempt <= times:
                raise ExecutionFailed(f"attempt {call.attempt} of {times} that fail")
            return {"value": added(values, plus)}
