"""Each daemon is killed in the middle of a workflow; systemd brings it back, and the workflow completes."""

from __future__ import annotations

import time

from tests.system.fleet import Fleet
from tests.system.host import Host
from tests.system.progress import say
from tests.system.workflows import busy, new_id


def kill(host: Host, unit: str) -> float:
    """Kill the unit; seconds until it runs again, as another process."""
    before = host.property(unit, "InvocationID")
    begun = time.monotonic()
    host.systemctl("kill", "--signal=KILL", unit)

    def is_back() -> bool:
        return host.property(unit, "InvocationID") != before and host.is_active(unit)

    host.wait_until(f"{unit} runs again", is_back, within=20, unit=unit)
    return time.monotonic() - begun


def test_every_unit_survives_being_killed_in_the_middle_of_a_workflow(fleet: Fleet) -> None:
    hub, worker = fleet.hub, fleet.workers[0]
    victims = [(hub, unit) for unit in hub.daemons()] + [(worker, unit) for unit in worker.daemons()]
    assert len(victims) >= 12
    made = []
    for host, unit in victims:
        made.append(hub.submit(new_id("killed"), busy(18, 0.5)))
        say(f"  {unit} on {host.name} is back", kill(host, unit))
    for each in made:
        hub.wait_completed(each)
    assert {host.name: host.failed() for host in fleet.hosts.all} == {
        host.name: [] for host in fleet.hosts.all
    }
