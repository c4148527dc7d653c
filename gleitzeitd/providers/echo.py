"""``echo/v1``: does nothing, and fails on request; for trying out workflows and measuring the rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from gleitzeitd.bounds import Bounds, bounded
from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, TaskError
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings, method


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoSettings(MethodProviderSettings):
    """How many calls are echoed at once."""

    capacity: int = bounded(512, least=1, most=100_000)
    """Calls that run at once; only ``echo/wait`` takes any time."""


class EchoProvider(MethodProvider):
    """Returns what it is given, waits, or fails: for trying out workflows."""

    protocol_name = "echo/v1"
    Settings: ClassVar[type] = EchoSettings

    async def call(self, call: MethodCall) -> Json:
        if call.method == "echo/echo":  # never waits, and its parameters have crossed the wire as JSON
            return call.parameters
        return await super().call(call)

    @method(returns={"type": "object"})
    async def echo(self, **parameters: Any) -> dict[str, Any]:
        """The parameters, as they are."""
        return parameters

    async def ping(self) -> dict[str, bool]:
        """That somebody is there."""
        return {"pong": True}

    async def fail(
        self,
        call: MethodCall,
        message: str = "told to fail",
        code: Annotated[int | None, "Of the error; -29002, a failed execution, if not given."] = None,
        times: Annotated[int | None, Bounds(least=0), "Attempts that fail; the next one succeeds."] = None,
        retryable: Annotated[bool | None, "Overrides what the error's code says."] = None,
    ) -> dict[str, int]:
        """Fail, always or only the first times: for trying out retries."""
        if times is not None and call.attempt > times:
            return {"attempt": call.attempt}
        raise _error_class(code)(message, retryable=retryable)

    async def wait(
        self,
        call: MethodCall,
        seconds: Annotated[float, Bounds(least=0, most=86400)],
        steps: Annotated[int, Bounds(least=1, most=1000), "Times that progress is reported."] = 1,
    ) -> dict[str, float]:
        """Let time pass."""
        for step in range(steps):
            await asyncio.sleep(seconds / steps)
            call.on_progress((step + 1) / steps, "waiting")
        return {"waited": seconds}


def _error_class(code: int | None) -> type[TaskError]:
    if code is None:
        return ExecutionFailed
    known = {cls.code: cls for cls in TaskError.__subclasses__()}
    if code not in known:
        raise ParameterInvalid(f"echo/fail: code: expected one of {sorted(known)}, found {code}")
    return known[code]
