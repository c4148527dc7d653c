"""What an operator sees of a hub's process."""

from __future__ import annotations

import asyncio

from gleitzeitd.machines.hub_settings import Settings as HubSettings
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub_daemon import HubDaemon


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_hub_says_who_is_there_who_is_not_and_where_it_listens() -> None:
    one = HubDaemon(HubSettings(port=0), Gate.closed())
    assert one.status_line() == "starting"
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run())
        await until(one.is_ready)
        line = one.status_line()
        assert line.startswith("no dependency-resolver, no queue-manager, ")
        assert "; 0 components on 0 hosts; 0 workflows, 0 queued, 0 blocked; listening on 127.0.0.1:" in line
        one.stop()
