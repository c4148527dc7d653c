"""A fresh Debian: apt install, and at once, with nothing else typed, the first workflow."""

from __future__ import annotations

from tests.system.fleet import Fleet
from tests.system.host import EXAMPLES


def test_the_first_workflow_completes_within_5_seconds_of_apt(fleet: Fleet) -> None:
    assert fleet.first_run_seconds < 5


def test_the_first_workflow_ran_in_the_daemons(fleet: Fleet) -> None:
    assert fleet.first_run_id in {each["workflow_id"] for each in fleet.hub.asked("list")["workflows"]}
    assert fleet.hub.journal(f"GLEITZEIT_WORKFLOW={fleet.first_run_id}")


def test_members_of_the_group_may_run_workflows_and_others_may_not(fleet: Fleet) -> None:
    hub = fleet.hub
    hub.run("useradd", "--create-home", "--groups", "gleitzeit", "member")
    hub.run("useradd", "--create-home", "stranger")
    hello = ("gleitzeit", "--hub", "http://localhost:8000", "run", f"{EXAMPLES}/hello.yaml")
    assert "completed" in hub.said("runuser", "-u", "member", "--", *hello)
    refused = hub.run("runuser", "-u", "stranger", "--", *hello, check=False)
    assert refused.returncode == 4, refused.stdout + refused.stderr


def test_no_unit_has_failed_anywhere(fleet: Fleet) -> None:
    assert {host.name: host.failed() for host in fleet.hosts.all} == {
        host.name: [] for host in fleet.hosts.all
    }
