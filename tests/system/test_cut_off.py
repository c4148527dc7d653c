"""A worker's cable is cut without a sign, and mended 20 seconds later."""

from __future__ import annotations

import time
from typing import Any

from tests.system.fleet import Fleet
from tests.system.host import Host
from tests.system.progress import wait_until
from tests.system.workflows import counted, new_id, runs

AWAY = 20.0


def test_a_worker_that_is_cut_off_for_20_seconds_costs_nothing_but_time(fleet: Fleet) -> None:
    """What may run twice is what the worker's engine held, or its provider worked at, when it was cut off:
    that runs again elsewhere, as ``on_lost: rerun`` says, and nothing else does.
    """
    hub, (_, worker) = fleet.hub, fleet.workers
    made = new_id("cut")
    hub.submit(made, counted(made, 60, 1.0))
    hub.wait_until(f"{worker.name} works", lambda: runs([worker], made, "ended"))
    held = {
        task["task_id"] for task in tasks(hub, made) if worker.name in f"{task['engine']} {task['provider']}"
    }
    with fleet.hosts.network.cut(worker.name):
        until = time.monotonic() + AWAY
        hub.wait_until("the hub misses the worker", lambda: worker.name not in connected(fleet), within=10)
        wait_until("the cable is mended", lambda: time.monotonic() > until, AWAY + 1)
        held |= {*runs([worker], made)}
    hub.wait_until("the worker is back", lambda: worker.name in connected(fleet), within=10)
    hub.wait_completed(made)
    held |= {str(record.get("GLEITZEIT_TASK")) for record in worker.journal(f"GLEITZEIT_WORKFLOW={made}")}
    begun = runs(fleet.hosts.all, made)
    assert len(begun) == 60
    twice = {task for task, count in begun.items() if count > 1}
    print(f"ran twice: {sorted(twice)}")
    assert twice <= held, "something ran twice that the lost worker had nothing to do with"
    assert max(begun.values()) <= 2


def tasks(hub: Host, workflow_id: str) -> list[dict[str, Any]]:
    """As ``gleitzeit status`` shows them."""
    return list(hub.asked("status", workflow_id)["tasks"])


def connected(fleet: Fleet) -> set[str]:
    """Hosts of which the hub knows."""
    return {each["hostname"] for each in fleet.hub.components()}
