"""Who carries out what a machine asks for with ``Call``: commits, queries, a provider's work.

A machine that calls has one performer; the component starts it before the first connection and stops
it after the last. Answers come back through ``finished``, in any order, each exactly once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from gleitzeitd.machines.base import Request

Finished = Callable[[str, object], None]
"""``(call_id, answer)``; the answer may be an exception. Call it in the event loop."""


class Performer(ABC):
    """Does I/O for one machine."""

    async def start(self, finished: Finished) -> None:
        """Acquire what calls need; before the first ``perform``.

        Raises:
            GleitzeitError: this process cannot do its work; the message says why.
        """
        self.finished = finished

    @abstractmethod
    def perform(self, call_id: str, request: Request) -> None:
        """Begin the call, and return at once; ``finished`` is told of its end."""

    def cancel(self, call_id: str) -> None:  # noqa: B027 - most calls are short
        """Stop a call; it still finishes, with whatever came of it. Unknown ids are ignored."""

    async def stop(self) -> None:  # noqa: B027 - many hold nothing
        """Release everything; repeating it changes nothing. Nothing calls ``finished`` afterwards."""
