"""One hub, and workers on other hosts."""

from __future__ import annotations

import json

from gleitzeitd import __version__
from tests.system.fleet import Fleet
from tests.system.workflows import busy, counted, new_id, runs


def test_a_workflow_runs_on_both_workers(fleet: Fleet) -> None:
    made = fleet.hub.submit(new_id("spread"), counted("spread", 24, 0.3))
    fleet.hub.wait_completed(made)
    for worker in fleet.workers:
        assert runs([worker], "spread"), f"nothing ran on {worker.name}"


def test_components_shows_every_host_with_versions_and_metrics(fleet: Fleet) -> None:
    listed = fleet.hub.components()
    ours = [each for each in listed if each["component_type"] != "client"]
    assert {each["hostname"] for each in ours} == {host.name for host in fleet.hosts.all}
    assert {each["version"] for each in ours} == {__version__}
    assert all(each["metrics"]["memory_bytes"] > 0 for each in ours), json.dumps(listed, indent=1)
    shown = fleet.hub.gleitzeit("components")
    for host in fleet.hosts.all:
        assert host.name in shown


def test_a_workflow_of_all_protocols_completes(fleet: Fleet) -> None:
    fleet.hub.wait_completed(fleet.hub.submit(new_id("mixed"), busy(12, 0.1)))
