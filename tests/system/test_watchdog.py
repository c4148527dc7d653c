"""A daemon that hangs is restarted by its watchdog."""

from __future__ import annotations

import time

from tests.system.fleet import Fleet
from tests.system.host import Host
from tests.system.progress import say
from tests.system.workflows import busy, new_id

WITHIN = 15


def test_a_daemon_that_is_stopped_is_restarted_within_15_seconds(fleet: Fleet) -> None:
    hub, (one, other) = fleet.hub, fleet.workers
    victims = [
        (hub, "gleitzeit-dependency-resolver.service"),
        (one, "gleitzeit-execution-engine.service"),
        (other, "gleitzeit-provider@shell.service"),
    ]
    made = hub.submit(new_id("hanging"), busy(18, 0.5))
    hanging = [(host, unit, host.property(unit, "NRestarts")) for host, unit in victims]
    begun = time.monotonic()
    for host, unit in victims:
        host.systemctl("kill", "--signal=STOP", "--kill-whom=main", unit)
    for host, unit, restarts in hanging:
        wait_for_restart(host, unit, restarts)
        say(f"  {unit} on {host.name} is back", time.monotonic() - begun)
    took = time.monotonic() - begun
    hub.wait_completed(made)
    assert took < WITHIN


def wait_for_restart(host: Host, unit: str, restarts: str) -> None:
    """Until systemd has restarted the unit once more than so often."""
    host.wait_until(
        f"{unit} was restarted",
        lambda: host.property(unit, "NRestarts") != restarts and host.is_active(unit),
        within=2 * WITHIN,
        unit=unit,
    )
