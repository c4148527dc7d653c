"""How many requests a model gets at once, and when it gets none because its server has asked for rest.

A call waits a little for its turn; then it goes back into the queue, where waiting costs nobody a place, and
is no failure of the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gleitzeitd.errors import ProviderOverloaded, RateLimited


class Lane:
    """The way to one model of one back end."""

    def __init__(self, name: str, places: int) -> None:
        self._name = name
        self._limit = places
        self._places = asyncio.Semaphore(places)
        self._rest_until = 0.0

    @asynccontextmanager
    async def place(self, wait: float) -> AsyncIterator[None]:
        """A place for one request, within ``wait`` seconds. RateLimited inside is remembered, and passes.

        Raises:
            ProviderOverloaded: there is none.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        try:
            async with asyncio.timeout(wait):
                await self._places.acquire()
        except TimeoutError:
            raise ProviderOverloaded(f"{self._name}: {self._limit} requests are under way already") from None
        try:
            while (rest := self._rest_until - loop.time()) > 0:
                left = deadline - loop.time()
                await asyncio.sleep(max(0.0, min(rest, left)))
                if rest > left:
                    raise ProviderOverloaded(f"{self._name}: its server has asked for some seconds of rest")
            yield
        except RateLimited as limited:
            self._rest_until = max(self._rest_until, loop.time() + (limited.retry_after or 0.0))
            raise
        finally:
            self._places.release()
