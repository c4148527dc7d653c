"""``python -m bench.crowd SIZE URL``: components that are connected, beat, and do nothing else.

The token is in ``GLEITZEIT_TOKEN``. Once all of them are registered, it writes ``ready`` and waits for the
end of its stdin.
"""

from __future__ import annotations

import asyncio
import os
import sys

from gleitzeitd.client import Client

AT_ONCE = 20
"""Connections that are being made at the same time."""


async def gather(size: int, hub_url: str) -> None:
    """Connect, say so, and stay until nobody wants it any more."""
    limit = asyncio.Semaphore(AT_ONCE)
    clients = [
        Client(hub_url, os.environ["GLEITZEIT_TOKEN"], name=f"idle-{number}", connect_timeout=60)
        for number in range(size)
    ]

    async def connect(client: Client) -> None:
        async with limit:
            await client.__aenter__()

    await asyncio.gather(*(connect(client) for client in clients))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    try:
        asyncio.run(asyncio.wait_for(gather(int(sys.argv[1]), sys.argv[2]), 3600))
    finally:
        os._exit(0)  # nobody waits for so many goodbyes
