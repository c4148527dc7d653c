"""Daemons are killed, or hang, in the middle of workflows; systemd brings them back, and the workflows complete."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.system.fleet import Fleet
from tests.system.host import Host
from tests.system.progress import say
from tests.system.workflows import busy, new_id

WITHIN = 15
"""Seconds until one that hangs runs again."""

Unit = tuple[Host, str]


def test_every_unit_survives_being_killed_and_three_that_hang_are_restarted(fleet: Fleet) -> None:
    """Some at once, as it comes. One that hangs is killed, too: by systemd, when its watchdog has waited."""
    hub, (one, other) = fleet.hub, fleet.workers
    hanging = [
        (hub, "gleitzeit-dependency-resolver.service"),
        (one, "gleitzeit-execution-engine.service"),
        (other, "gleitzeit-provider@shell.service"),
    ]
    units = [(host, unit) for host in (one, hub) for unit in host.daemons()]
    assert len(units) >= 15
    # Far from each other, what can run the same task: one that is lost three times is not tried again.
    units.sort(key=lambda each: each[0] is hub and "provider@" in each[1])
    with ThreadPoolExecutor(max_workers=4) as pool:
        restarted = pool.submit(hang, hub, hanging)
        killed = [
            pool.submit(kill_in_the_middle, hub, host, victims)
            for host in (one, hub)
            for victims in pairs(
                [unit for each, unit in units if each is host and (each, unit) not in hanging]
            )
        ]
        made = [restarted.result(), *(each.result() for each in killed)]
        list(pool.map(hub.wait_completed, made))
    failed = {host.name: host.failed() for host in fleet.hosts.all}
    assert not any(failed.values()), failed


def pairs(units: Sequence[str]) -> list[Sequence[str]]:
    """Two and two of them; the last may be alone."""
    return [units[first : first + 2] for first in range(0, len(units), 2)]


def kill_in_the_middle(hub: Host, host: Host, units: Sequence[str]) -> str:
    """The workflow that runs meanwhile."""
    made = hub.submit(new_id(f"killed-{host.name}"), busy(18, 0.5))
    before = {unit: host.property(unit, "InvocationID") for unit in units}
    begun = time.monotonic()
    host.systemctl("kill", "--signal=KILL", *units)
    for unit in units:
        wait_for_another_process(host, unit, before[unit])
        say(f"  {unit} on {host.name} is back", time.monotonic() - begun)
    return made


def wait_for_another_process(host: Host, unit: str, before: str) -> None:
    """Until it runs in another invocation."""

    def is_back() -> bool:
        state = host.said("systemctl", "show", "--value", "--property=InvocationID,ActiveState", unit).split()
        return before not in state and "active" in state

    host.wait_until(f"{unit} runs again", is_back, within=20, unit=unit)


def hang(hub: Host, victims: Sequence[Unit]) -> str:
    """Stop them as a debugger does, and wait for their watchdogs; the workflow that runs meanwhile."""
    made = hub.submit(new_id("hanging"), busy(18, 0.5))
    restarts = {unit: host.property(unit, "NRestarts") for host, unit in victims}
    begun = time.monotonic()
    for host, unit in victims:
        host.systemctl("kill", "--signal=STOP", "--kill-whom=main", unit)
    for host, unit in victims:
        wait_for_restart(host, unit, restarts[unit])
        say(f"  {unit} on {host.name}, which hung, is back", time.monotonic() - begun)
    assert time.monotonic() - begun < WITHIN
    return made


def wait_for_restart(host: Host, unit: str, restarts: str) -> None:
    """Until systemd has restarted the unit once more than so often."""
    host.wait_until(
        f"{unit} was restarted",
        lambda: host.property(unit, "NRestarts") != restarts and host.is_active(unit),
        within=2 * WITHIN,
        unit=unit,
    )
