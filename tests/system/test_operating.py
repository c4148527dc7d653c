"""What an operator does on hosts with packages and units: look, drain, copy, put back."""

from __future__ import annotations

import json

from tests.system.fleet import Fleet
from tests.system.workflows import counted, new_id

COPY = "/var/backups/gleitzeit-test.db"


def test_the_doctor_finds_no_problem(fleet: Fleet) -> None:
    done = fleet.hub.run("gleitzeit", "doctor", "--json", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {(each["about"], each["level"]) for each in json.loads(done.stdout)["findings"]}
    for about in ("units", "configuration", "token", "database", "disk", "hub", "components", "versions"):
        assert (about, "ok") in found, done.stdout


def test_the_origin_of_a_setting_is_the_variable_of_its_unit(fleet: Fleet) -> None:
    drop_in = "/etc/systemd/system/gleitzeit-queue-manager.service.d/level.conf"
    fleet.hub.put(drop_in, "[Service]\nEnvironment=LOG_LEVEL=debug\n")
    fleet.hub.systemctl("daemon-reload")
    fleet.hub.systemctl("restart", "gleitzeit-queue-manager")
    shown = fleet.hub.gleitzeit("config", "show", "--origin", "queue-manager").splitlines()
    fleet.hub.systemctl("revert", "gleitzeit-queue-manager")
    fleet.hub.systemctl("restart", "gleitzeit-queue-manager")
    assert shown[0] == "# Variables are those of gleitzeit-queue-manager.service."
    assert 'level = "debug"  # environment LOG_LEVEL' in shown


def test_a_drained_engine_is_shown_and_brought_back(fleet: Fleet) -> None:
    (engine, *_) = [e for e in fleet.hub.components() if e["component_type"] == "execution_engine"]
    told = fleet.hub.asked("drain", engine["component_id"], "--wait")
    assert told == {"component_id": engine["component_id"], "draining": True, "load": 0, "finished": True}
    again = {each["component_id"]: each["status"] for each in fleet.hub.components()}
    assert again[engine["component_id"]] == "draining"
    assert not fleet.hub.asked("drain", "--undo", engine["component_id"])["draining"]


def test_a_backup_taken_at_work_is_put_back_and_goes_on(fleet: Fleet) -> None:
    made = fleet.hub.submit(new_id("kept"), counted("kept", 12, 0.5))
    copied = fleet.hub.asked("backup", COPY, "--force")
    assert copied["unfinished"] >= 1
    mode = fleet.hub.said("stat", "-c", "%a %U", COPY).split()
    assert mode == ["600", "root"]
    refused = fleet.hub.run("gleitzeit", "restore", COPY, check=False)
    assert refused.returncode == 2
    assert "systemctl stop gleitzeit-persistence" in refused.stderr
    before = fleet.hub.said("stat", "-c", "%a %U %G", copied["database"])
    for host in fleet.hosts.all:
        host.systemctl("stop", "gleitzeit-*.service")
    fleet.hub.gleitzeit("restore", COPY)
    assert fleet.hub.said("stat", "-c", "%a %U %G", copied["database"]) == before
    for host in fleet.hosts.all:
        host.systemctl("start", "gleitzeit.target")
    fleet.hub.wait_completed(made, within=60)
