"""The packages' life on a host: upgrade under load, removal, purge, and installation again."""

from __future__ import annotations

from gleitzeitd import __version__
from tests.system.fleet import Pair, at_once, install_all, install_worker
from tests.system.host import EXAMPLES, Host
from tests.system.packages import former_version
from tests.system.progress import step
from tests.system.workflows import counted, new_id, runs

TASKS = 40
OF_OTHERS = ("/root", "/var/log", "/var/cache", "/var/lib/apt", "/proc", "/sys", "/run")
"""Where others keep what they know of us: apt its archives and lists, dpkg and the journal their logs."""
OF_THE_ADMINISTRATOR = ("/etc/systemd/system/gleitzeit-hub.socket.d",)
"""Made by this test, as an administrator would."""


def versions(pair: Pair) -> dict[str, set[str]]:
    """Of the components, by host."""
    found: dict[str, set[str]] = {}
    for each in pair.hosts.hub.components():
        if each["component_type"] != "client":
            found.setdefault(each["hostname"], set()).add(each["version"])
    return found


def test_an_upgrade_host_by_host_loses_nothing_of_what_runs(pair: Pair) -> None:
    hub, (worker,) = pair.hosts.hub, pair.hosts.workers
    assert versions(pair) == {"hub": {former_version()}, "worker-1": {former_version()}}
    first = submitted(hub, "upgraded")
    hub.wait_until("the worker works", lambda: runs([worker], first, "ended"))
    with step("  apt install of this version on the worker"):
        install_worker(worker, pair.packages)
    mixed = {"hub": {former_version()}, "worker-1": {__version__}}
    hub.wait_until("both versions are there", lambda: versions(pair) == mixed)
    second = submitted(hub, "mixed")
    hub.wait_until("the hub's host works", lambda: runs([hub], second, "ended"))
    hub.wait_until("the worker works too", lambda: runs([worker], second, "ended"))
    assert hub.state(second) == "running"
    with step("  apt install of this version on the hub's host"):
        install_all(hub, pair.packages)
    new = {"hub": {__version__}, "worker-1": {__version__}}
    hub.wait_until("this version is everywhere", lambda: versions(pair) == new)
    for made in (first, second):
        hub.wait_completed(made)
        ended = runs(pair.hosts.all, made, "ended")
        print(f"ended twice: {[task for task, count in ended.items() if count > 1]}")
        assert len(ended) == TASKS
    assert hub.failed() == worker.failed() == []


def submitted(hub: Host, about: str) -> str:
    """A workflow that takes about as long as the upgrade of a host."""
    made = new_id(about)
    return hub.submit(made, counted(made, TASKS, 1.0))


def test_removal_ends_what_runs_and_keeps_what_was_done(pair: Pair) -> None:
    hub = pair.hosts.hub
    hub.apt("remove", "gleitzeit*")
    assert hub.daemons() == []
    assert hub.failed() == []
    hub.run("test", "-s", "/var/lib/gleitzeit/persistence/gleitzeit.db")


def test_purge_leaves_nothing_but_the_user(pair: Pair) -> None:
    at_once(lambda host: host.apt("purge", "gleitzeit*"), pair.hosts.all)
    for host in pair.hosts.all:
        assert host.said("getent", "passwd", "gleitzeit")
        skipped = " ".join(f"-path {folder} -prune -o" for folder in (*OF_OTHERS, *OF_THE_ADMINISTRATOR))
        left = host.shell(f"find / -xdev {skipped} -iname '*gleitzeit*' -print").stdout.split()
        assert left == [], host.name
        assert host.said("systemctl", "list-units", "--all", "--no-legend", "--plain", "gleitzeit*") == ""


def test_an_installation_after_purge_is_as_good_as_the_first(pair: Pair) -> None:
    hub = pair.hosts.hub
    install_all(hub, pair.packages)
    assert "completed" in hub.gleitzeit("run", f"{EXAMPLES}/hello.yaml")
    assert len(hub.asked("list")["workflows"]) == 1
