"""Each daemon is killed in the middle of a workflow; systemd brings it back, and the workflow completes."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

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
    """One after the other on each host, on two hosts at once."""
    made = []
    with ThreadPoolExecutor() as pool:
        for host in (fleet.hub, fleet.workers[0]):
            made.append(pool.submit(kill_in_turn, fleet.hub, host))
    for each in itertools.chain.from_iterable(done.result() for done in made):
        fleet.hub.wait_completed(each)
    assert {host.name: host.failed() for host in fleet.hosts.all} == {
        host.name: [] for host in fleet.hosts.all
    }


def kill_in_turn(hub: Host, host: Host) -> list[str]:
    """Kill every unit of the host; the workflows in the middle of which that happened."""
    made = []
    units = host.daemons()
    assert len(units) >= 4
    for unit in units:
        made.append(hub.submit(new_id(f"killed-{host.name}"), busy(18, 0.5)))
        say(f"  {unit} on {host.name} is back", kill(host, unit))
    return made
