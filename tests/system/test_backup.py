"""The database is copied while it is written to, and put back; on the host that test_upgrade leaves behind."""

from __future__ import annotations

from tests.system.fleet import Pair
from tests.system.workflows import counted, new_id

COPY = "/var/backups/gleitzeit-test.db"


def test_a_backup_taken_at_work_is_put_back_and_goes_on(pair: Pair) -> None:
    hub = pair.hosts.hub
    made = hub.submit(new_id("kept"), counted("kept", 12, 0.5))
    copied = hub.asked("backup", COPY, "--force")
    assert copied["unfinished"] >= 1
    mode = hub.said("stat", "-c", "%a %U", COPY).split()
    assert mode == ["600", "root"]
    refused = hub.run("gleitzeit", "restore", COPY, check=False)
    assert refused.returncode == 2
    assert "systemctl stop gleitzeit-persistence" in refused.stderr
    before = hub.said("stat", "-c", "%a %U %G", copied["database"])
    hub.systemctl("stop", "gleitzeit-*.service")
    hub.gleitzeit("restore", COPY)
    assert hub.said("stat", "-c", "%a %U %G", copied["database"]) == before
    hub.systemctl("start", "gleitzeit.target")
    hub.wait_completed(made)
