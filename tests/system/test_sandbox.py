"""How much of the system each of our units can reach, as systemd itself judges it."""

from __future__ import annotations

import re

from tests.system.fleet import Fleet
from tests.system.host import Host

RUNS_NO_USER_CODE = 1.5
RUNS_USER_CODE = 2.5
"""Providers run what users hand in."""


def exposure(host: Host, unit: str) -> float:
    """0 is the best, 10 the worst."""
    judged = host.said("systemd-analyze", "--no-pager", "security", unit, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged)
    assert found, judged
    return float(found[1])


def test_every_unit_is_sandboxed(fleet: Fleet) -> None:
    files = fleet.hub.said(
        "systemctl", "list-unit-files", "--no-legend", "--no-pager", "--type=service", "gleitzeit*"
    )
    units = [line.split()[0] for line in files.splitlines()]
    units = [unit for unit in units if "@." not in unit] + fleet.hub.daemons()
    found = {unit: exposure(fleet.hub, unit) for unit in sorted({*units})}
    print("\n".join(f"{figure:5.1f} {unit}" for unit, figure in found.items()))
    allowed = {unit: RUNS_USER_CODE if "provider@" in unit else RUNS_NO_USER_CODE for unit in found}
    assert not {unit: figure for unit, figure in found.items() if figure > allowed[unit]}
    assert len(found) >= 10


def test_systemd_has_nothing_to_say_about_our_units(fleet: Fleet) -> None:
    listed = fleet.hub.shell("ls /usr/lib/systemd/system/gleitzeit*").stdout.split()
    verified = fleet.hub.run("systemd-analyze", "verify", "--man=no", *listed, check=False)
    said = verified.stdout + verified.stderr
    ours = [line for line in said.splitlines() if "gleitzeit" in line]
    assert (verified.returncode, ours) == (0, [])
