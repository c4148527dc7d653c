"""What the providers have in common whose work is a process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from gleitzeitd.bounds import Bounds, bounded, sized
from gleitzeitd.errors import MalformedData, ParameterInvalid
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall, shorter
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings
from gleitzeitd.providers.pool import Job, Outcome, WorkerPool, call_environment

Seconds = Annotated[float | None, Bounds(least=1, most=86400), "Seconds the work may take."]
Environment = Annotated[dict[str, str] | None, "Added to the environment of the work."]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings(MethodProviderSettings):
    """What every provider can be told whose work is a process."""

    capacity: int = bounded(0, least=0, most=10_000)
    """Calls that run at once, each in a worker process of its own. 0 is one per processor."""
    warm: int = bounded(1, least=0, most=1000)
    """Worker processes that are started at once, before there is any work."""
    max_output_bytes: int = bounded(256 * 1024, least=1024, most=2**28, unit="bytes")
    """Of each stream that are passed on: the first half as it comes, the last half at the end."""
    working_directory: str = sized("", most=4096)
    """Where the work starts. Empty: where the provider was started."""

    def __post_init__(self) -> None:
        if 2 * self.max_output_bytes > self.max_result_bytes:
            # The output is part of the result.
            raise MalformedData("max_output_bytes", "expected at most half of max_result_bytes")


class ProcessProvider(MethodProvider):
    """Base of providers that hand their work to a :class:`WorkerPool`."""

    times_itself: ClassVar[bool] = True
    settings: Any

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._pool = self._new_pool()

    @property
    def capacity(self) -> int:
        return self.settings.capacity or len(os.sched_getaffinity(0))

    def _new_pool(self) -> WorkerPool:
        return WorkerPool(warm=min(self.settings.warm, self.capacity), keep=self.capacity)

    async def start(self) -> None:
        """Raises ConfigError if no worker process can be started."""
        await super().start()
        await self._pool.start()

    async def stop(self) -> None:
        await self._pool.stop()
        await super().stop()

    async def _run(
        self,
        call: MethodCall,
        work: dict[str, Json],
        *,
        timeout: float | None,  # noqa: ASYNC109 - enforced by the pool
        environment: dict[str, str] | None,
        directory: str = "",
    ) -> Outcome:
        """Do ``work`` in a worker; ``worker.py`` says what it may contain."""
        own = environment or {}
        for name, value in own.items():
            if not name or "=" in name or "\0" in name + value:
                raise ParameterInvalid(f"{call.method}: env.{name}: an environment cannot hold this")
        limit = self.settings.max_result_bytes
        body = {
            **work,
            "env": {**call_environment(call), **own},
            "cwd": os.path.join(self.settings.working_directory, directory),  # noqa: PTH118 - "" stays ""
            "result_limit": limit,
        }
        job = Job(
            body=body,
            timeout=shorter(timeout, call.timeout),
            grace_seconds=self.settings.kill_after_seconds,
            output_limit=self.settings.max_output_bytes,
            answer_limit=limit,
        )
        outcome = await self._pool.run(job, call)
        if outcome.answer and outcome.answer.get("kind") == "parameter":
            raise ParameterInvalid(f"{call.method}: {outcome.answer['error']}")
        return outcome
