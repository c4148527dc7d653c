"""systemctl reload: a good file applies, a broken one changes nothing and is named with line and key."""

from __future__ import annotations

from tests.system.fleet import Fleet

UNIT = "gleitzeit-queue-manager.service"
FILE = "/etc/gleitzeit/queue-manager.d/50-test.toml"


def test_a_good_file_applies(fleet: Fleet) -> None:
    hub = fleet.hub
    process = hub.property(UNIT, "MainPID")
    hub.put(FILE, '[log]\nlevel = "debug"\n')
    hub.systemctl("reload", UNIT)
    match = (f"--unit={UNIT}", "GLEITZEIT_APPLIED=log.level")
    hub.wait_until("the level is applied", lambda: hub.journal(*match), within=10, unit=UNIT)
    hub.run("rm", FILE)
    hub.systemctl("reload", UNIT)
    assert hub.property(UNIT, "MainPID") == process


def test_a_broken_file_is_refused_with_file_line_and_key_and_the_daemon_goes_on(fleet: Fleet) -> None:
    hub = fleet.hub
    process = hub.property(UNIT, "MainPID")
    hub.put(FILE, '[log]\n\nlevl = "debug"\n')
    refused = hub.run("systemctl", "reload", UNIT, check=False)
    assert refused.returncode != 0
    status = hub.systemctl("status", "--lines=20", "--full", UNIT, check=False)
    hub.run("rm", FILE)
    assert f"{FILE}:3" in status
    assert "log.levl" in status
    assert hub.is_active(UNIT)
    assert hub.property(UNIT, "MainPID") == process


def test_one_reload_reaches_all(fleet: Fleet) -> None:
    hub = fleet.hub
    since = hub.said("date", "+%s")
    units = hub.daemons()
    hub.systemctl("reload", "gleitzeit")

    def reached() -> bool:
        told = hub.said("journalctl", "--no-pager", f"--since=@{since}", "--output=cat", "_PID=1")
        return all(f"Reloaded {unit}" in told for unit in units)

    hub.wait_until("all of them are reloaded", reached, within=30)
