"""What waits for a connection of the hub: its order, its bounds, its batches."""

from __future__ import annotations

import asyncio
import json

from gleitzeitd.runtime.hub_connection import BATCH_EVENTS, Outbox
from tests.runtime.hub_peers import scenario


@scenario
async def test_control_goes_before_bulk_and_a_full_outbox_says_so():
    outbox = Outbox(messages=3, characters=100)
    assert outbox.put('"bulk"', control=False)
    assert outbox.put('"more"', control=False)
    assert outbox.put('"heartbeat"', control=True)
    assert not outbox.put('"too many"', control=True)
    assert await outbox.take(batch=True) == '["batch",[["heartbeat"],["bulk"],["more"]]]'
    assert outbox.put('"a"', control=False)
    assert await outbox.take(batch=True) == '["a"]'
    assert not outbox.put('"' + "x" * 100, control=False)
    outbox.finish()
    assert await outbox.take(batch=True) is None


def test_a_batch_is_bounded_in_events_and_in_size():
    async def main():
        outbox = Outbox(messages=2000, characters=10**7)
        for _ in range(BATCH_EVENTS + 100):
            outbox.put('"x"', control=False)
        assert len(json.loads(await outbox.take(batch=True))[1]) == BATCH_EVENTS
        assert len(json.loads(await outbox.take(batch=True))[1]) == min(BATCH_EVENTS, 100)
        while len(outbox):
            await outbox.take(batch=True)
        for _ in range(3):
            outbox.put(json.dumps("y" * 200_000), control=False)
        assert len(json.loads(await outbox.take(batch=True))) == 1

    asyncio.run(main())
