"""What a provider is: it does the work of one protocol, and nothing else in gleitzeitd does any work.

A provider knows no event, no hub and no workflow. Whoever runs it (a component of the role ``provider``,
a test) starts it, hands it calls, at most ``capacity`` of them at once, and stops it:

    made -- start() --> serving -- stop() --> stopped -- start() --> serving ...

Promises of every provider, checked by ``tests/providers/contract.py``:

* ``call`` ends with a result that is JSON, with a :class:`~gleitzeitd.errors.TaskError`, or with the
  cancellation that it was sent. Nothing else leaves it.
* When ``call`` has ended, in whatever way, nothing that it started is alive any more.
* The work's time is counted by the provider, from the moment the work begins; when it is over, the call
  raises :class:`~gleitzeitd.errors.TaskTimeout`.
* ``on_output`` and ``on_partial`` are called in the order in which the work wrote to each stream, never after
  ``call`` has ended.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from gleitzeitd.errors import TaskTimeout
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.model.resources import Resources
from gleitzeitd.plain import Json


def ignore_output(_stream: str, _text: str) -> None:
    """For callers that do not want the work's output."""


def ignore_partial(_text: str) -> None:
    """For callers that want the result alone."""


def ignore_progress(_ratio: float, _message: str) -> None:
    """For callers that do not want to know how far the work is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCall:
    """One call of a method, as a provider gets it."""

    method: str
    """Full name: ``python/execute``."""
    parameters: dict[str, Json] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds that the work may take, from the moment it begins. None: as long as it likes."""
    on_output: Callable[[str, str], None] = ignore_output
    """``(stream, text)``, stream is ``stdout`` or ``stderr``; in the event loop, as the work writes."""
    on_partial: Callable[[str], None] = ignore_partial
    """More of a text that will be the result; in the event loop. Shown to watchers, and kept nowhere."""
    on_progress: Callable[[float, str], None] = ignore_progress
    """``(ratio, message)``, ratio is 0..1; in the event loop. Must not block, as those above."""
    workflow_id: str = ""
    task_id: str = ""
    resources: Resources | None = None
    """What the work may take of the machine; only providers whose work is a process can see to it."""
    attempt: int = 0
    """Starts with 1; 0 is a call without a task. With the two ids: for logs and the work's environment."""


class Provider(ABC):
    """One protocol's work.

    An instance is whole after ``__init__(settings)``, which acquires nothing: the protocol and the capacity
    can be asked of a provider that was never started.
    """

    Settings: ClassVar[type]
    """Frozen dataclass: the section ``[provider]`` of the provider's TOML."""

    @abstractmethod
    def protocol(self) -> Protocol:
        """What it serves. The same at every call, but for those who call back; see ``watch_protocol``."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """Calls that can run at once, at least 1."""

    def watch_protocol(self, changed: Callable[[], None]) -> None:  # noqa: B027 - most never change
        """``changed`` is to be called, in the event loop, whenever ``protocol()`` has become another one of
        the same name. A method may go only when no call of it is under way.
        """

    async def start(self) -> None:  # noqa: B027 - most providers hold nothing
        """Acquire what calls need; repeating it changes nothing.

        Raises:
            ConfigError: the settings cannot work on this machine.
        """

    async def stop(self) -> None:  # noqa: B027 - most providers hold nothing
        """Release everything, once no call is running; repeating it changes nothing."""

    @abstractmethod
    async def call(self, call: MethodCall) -> Json:
        """The result, as plain JSON.

        Cancelling the call cancels the work: whatever it started is dead before ``CancelledError`` leaves.

        Raises:
            MethodNotSupported: the protocol has no such method.
            ParameterInvalid: the parameters break the method's schema.
            ResultInvalid: the work's result is no JSON, breaks the schema, or is too large.
            TaskTimeout: the work took longer than allowed; it is dead.
            ProviderOverloaded: ``capacity`` calls are running already.
            TaskError: any other reason why there is no result; see ``errors.py`` for which can be retried.
        """

    async def health(self) -> str:
        """``ok``, or what is wrong, in words for an operator."""
        return "ok"


@asynccontextmanager
async def time_limit(seconds: float | None) -> AsyncIterator[None]:
    """Cancel what runs inside after ``seconds``; None is no limit.

    Raises:
        TaskTimeout: the time was over; whatever the inside did about its cancellation is done.
    """
    try:
        async with asyncio.timeout(seconds) as scope:
            yield
    except TimeoutError:
        if not scope.expired():
            raise  # the work's own
        raise TaskTimeout(f"took longer than {seconds:g} s and was stopped") from None


def shorter(*limits: float | None) -> float | None:
    """The shortest of several time limits; None is no limit."""
    return min((limit for limit in limits if limit is not None), default=None)
