"""What an operator does on hosts with packages and units: look, and drain."""

from __future__ import annotations

import json

from tests.system.fleet import Fleet


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
