"""A worker's cable is cut without a sign, and mended 20 seconds later."""

from __future__ import annotations

import time

from tests.system.fleet import Fleet
from tests.system.progress import wait_until
from tests.system.workflows import counted, new_id, runs

AWAY = 20.0


def test_a_worker_that_is_cut_off_for_20_seconds_costs_nothing_but_time(fleet: Fleet) -> None:
    """What may run twice is what the worker had begun and not reported when it was cut off: that runs again
    elsewhere, as ``on_lost: rerun`` says, and nothing else does.
    """
    hub, (_, worker) = fleet.hub, fleet.workers
    made = new_id("cut")
    hub.submit(made, counted(made, 60, 1.0))
    hub.wait_until(f"{worker.name} works", lambda: runs([worker], made, "ended"))
    with fleet.hosts.network.cut(worker.name):
        until = time.monotonic() + AWAY
        hub.wait_until("the hub misses the worker", lambda: worker.name not in connected(fleet), within=10)
        wait_until("the cable is mended", lambda: time.monotonic() > until, AWAY + 1)
        before = runs([worker], made)
    hub.wait_until("the worker is back", lambda: worker.name in connected(fleet), within=10)
    hub.wait_completed(made)
    begun = runs(fleet.hosts.all, made)
    assert len(begun) == 60
    twice = {task for task, count in begun.items() if count > 1}
    print(f"ran twice: {sorted(twice)}")
    assert twice <= set(before), "something ran twice that the lost worker did not have"
    assert max(begun.values()) <= 2


def connected(fleet: Fleet) -> set[str]:
    """Hosts of which the hub knows."""
    return {each["hostname"] for each in fleet.hub.components()}
