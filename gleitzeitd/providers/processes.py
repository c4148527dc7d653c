"""What the providers have in common whose work is a process."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from gleitzeitd.bounds import Bounds, bounded, sized
from gleitzeitd.errors import MalformedData, ParameterInvalid
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall, shorter
from gleitzeitd.providers.isolation import Isolation, Reach
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings
from gleitzeitd.providers.pool import OUTPUT, Job, Outcome, WorkerPool, call_environment
from gleitzeitd.providers.resources import Limits, Maxima, Shares, exceeded

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
    """Where the work starts. Empty: in an empty directory of its own, which is removed afterwards; without
    isolation, where the provider was started."""
    isolation: Isolation = Isolation.BEST_EFFORT
    """What the work cannot reach: the network, files beyond those below, other processes. best-effort does
    what the kernel can do, and says in the journal what it cannot; required does not start if that is not
    all; off leaves to the work all that the provider can reach."""
    network: bool = False
    """Whether the work may open sockets."""
    writable: list[str] = sized([], most=100)  # noqa: RUF009 - a field with a factory
    """Directories in which the work may write besides its own, and what it writes stays there. Those that do
    not begin with / are below the provider's state directory, and are made."""
    hidden: list[str] = sized([], most=1000)  # noqa: RUF009 - a field with a factory
    """Files and directories that the work may not read, besides gleitzeit's own, credentials and keys."""
    environment: list[str] = sized([], most=1000)  # noqa: RUF009 - a field with a factory
    """Names of variables of the provider's environment that the work gets, besides PATH, locale and zone."""
    limits: Limits = field(default_factory=Limits)
    """What a task may take that says nothing itself. A task that takes more is ended, and has failed."""
    maxima: Maxima = field(default_factory=Maxima)
    """The most that a task may ask for in its resources. A task that asks for more has failed at once."""

    def reach(self) -> Reach:
        """What its work can reach."""
        return Reach(
            isolation=self.isolation,
            network=self.network,
            writable=tuple(self.writable),
            hidden=tuple(self.hidden),
            environment=tuple(self.environment),
        )

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
        self._shares = Shares(limits=self.settings.limits, maxima=self.settings.maxima)

    @property
    def capacity(self) -> int:
        return self.settings.capacity or len(os.sched_getaffinity(0))

    def _new_pool(self) -> WorkerPool:
        return WorkerPool(
            warm=min(self.settings.warm, self.capacity), keep=self.capacity, reach=self.settings.reach()
        )

    async def start(self) -> None:
        """Raises ConfigError if no worker process can be started."""
        await super().start()
        await self._pool.start()

    async def stop(self) -> None:
        await self._pool.stop()
        await super().stop()

    def _place(self, path: str) -> str:
        """A path that a task gives: from where its work starts, or, as there is nothing yet in a directory of
        its own, from where the provider was started.
        """
        place: str = self.settings.working_directory
        if not place and self.settings.isolation is not Isolation.OFF:
            place = os.getcwd()  # noqa: PTH109 - a text
        return os.path.join(place, path)  # noqa: PTH118 - "" stays ""

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
        limit, share = self.settings.max_result_bytes, self._shares.of(call.resources)
        body = {
            **work,
            "env": {**call_environment(call), **own},
            "cwd": self._place(directory) if directory else self.settings.working_directory,
            "result_limit": limit,
        }
        job = Job(
            body=body,
            timeout=shorter(timeout, call.timeout),
            grace_seconds=self.settings.kill_after_seconds,
            output_limit=self.settings.max_output_bytes,
            answer_limit=limit,
            limits={name: value for name, value in share.items() if name != OUTPUT},
            most_output=share.get(OUTPUT, 0),
        )
        outcome = await self._pool.run(job, call)
        if name := outcome.exceeded or _limit_met(outcome, share):
            raise exceeded(name, share)
        if outcome.answer and outcome.answer.get("kind") == "parameter":
            raise ParameterInvalid(f"{call.method}: {outcome.answer['error']}")
        return outcome


def _limit_met(outcome: Outcome, share: Mapping[str, Json]) -> str:
    """The limit that a process of the work has met, if it can be told by its end; empty if not."""
    said = (outcome.answer or {}).get("limit", "")
    # A shell tells the signal that has ended what it ran as 128 and its number.
    number = -outcome.exit_code if outcome.exit_code < 0 else outcome.exit_code - 128
    if not said and number == signal.SIGXFSZ:
        said = "file_size"
    if not said and number == signal.SIGXCPU:
        said = "cpu_seconds"
    return str(said) if said in share else ""
