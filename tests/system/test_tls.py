"""TLS and certificates of components between two hosts, set up as the manual says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gleitzeitd.cli.cert_making import Made, Names, make_authority, make_certificate
from tests.system.fleet import PORT, WORKER_PROVIDERS, Pair, at_once, install_worker
from tests.system.host import Host
from tests.system.progress import step
from tests.system.workflows import busy, new_id

TLS = "/etc/gleitzeit/tls"
UNREACHABLE = 3
"""The exit code without a hub."""


def address(hub: Host) -> str:
    """Of a hub that speaks TLS."""
    return f"https://{hub.name}:{PORT}"


def tokens_for(hub: Host, host: Host) -> str:
    """One for the daemons of a host, and one for its people."""
    return hub.said("gleitzeit", "token", "create", "--host", host.name, "--ca", f"{TLS}/ca.pem")


def join(hub: Host, host: Host, *words: str) -> str:
    """What the command says, which has to succeed."""
    # To itself, a host of Debian is 127.0.1.1, where nobody listens.
    url = f"https://localhost:{PORT}" if host is hub else address(hub)
    command = ("gleitzeit", "join", url, "-", *words)
    return host.run(*command, stdin=tokens_for(hub, host)).stdout


def refused(host: Host, *words: str) -> str:
    """Why the hub cannot be reached."""
    done = host.run("gleitzeit", *words, "components", check=False)
    assert done.returncode == UNREACHABLE, (done.stdout, done.stderr)
    return done.stderr


def everybody(pair: Pair) -> bool:
    """Whether all daemons of both hosts are connected."""
    names = [str(each["hostname"]) for each in pair.hosts.hub.components()]
    wanted = {pair.hosts.hub.name: 10, pair.hosts.workers[0].name: 1 + len(WORKER_PROVIDERS)}
    return all(names.count(name) >= least for name, least in wanted.items())


def certificate_of(hub: Host, name: str, *, days_ago: float = 0) -> Made:
    """One that the hub's authority has made for two days, some days ago."""
    ca, key = (hub.said("cat", f"{TLS}/ca.{kind}").encode() for kind in ("pem", "key"))
    now = datetime.now(UTC) - timedelta(days=days_ago)
    return make_certificate(Made(certificate=ca, key=key), name, Names(hosts=[name, "localhost"]), 2, now)


def test_two_hosts_speak_tls_and_join_in_one_line(pair: Pair) -> None:
    hub, (worker,) = pair.hosts.hub, pair.hosts.workers
    show = ("dpkg-query", "--show", "--showformat=${Version}", "gleitzeit-common")
    if not worker.said(*show, check=False):  # purged by scenarios before
        install_worker(worker, pair.packages)
    version = worker.said(*show)
    worker.apt(
        "install", *worker.copy_packages(pair.packages.with_name(f"system-{version}"), "gleitzeit-cli")
    )
    with step("  an authority, a certificate, and two hosts that join"):
        hub.gleitzeit("cert", "ca")
        hub.gleitzeit("cert", "issue", hub.name, "--hub")
        hub.systemctl("restart", "gleitzeit-hub")
        at_once(lambda host: join(hub, host), pair.hosts.all)
        hub.wait_until("everybody is there", lambda: everybody(pair), within=20)
    made = hub.submit(new_id("tls"), busy(6, 0.2))
    hub.wait_completed(made)
    assert worker.gleitzeit("components")
    assert "with TLS" in hub.property("gleitzeit-hub", "StatusText")


def test_a_wrong_authority_a_wrong_name_and_plain_http_are_told_apart(pair: Pair) -> None:
    hub, (worker,) = pair.hosts.hub, pair.hosts.workers
    worker.put("/root/other.pem", make_authority("other", 2).certificate.decode())
    assert "is not of the CA in /root/other.pem" in refused(worker, "--ca-file", "/root/other.pem")
    assert "is for another name" in refused(worker, "--hub", f"https://{hub.address}:{PORT}")
    assert "use https://" in refused(worker, "--hub", f"http://{hub.name}:{PORT}")


def test_components_that_show_certificates_are_let_in_and_others_are_not(pair: Pair) -> None:
    hub, (worker,) = pair.hosts.hub, pair.hosts.workers
    hub.put("/etc/gleitzeit/hub.d/60-ask.toml", '[hub]\nclient_certificates = "required"\n')
    hub.systemctl("restart", "gleitzeit-hub")
    assert "wants a certificate, and we have none" in refused(worker)
    with step("  certificates for both hosts"):
        hub.gleitzeit("cert", "issue", worker.name)
        for end, mode in (("pem", "0644"), ("key", "0600")):
            worker.put(f"/root/{worker.name}.{end}", hub.said("cat", f"{TLS}/{worker.name}.{end}"), mode)
        folders = {hub: TLS, worker: "/root"}

        def join_with_certificate(host: Host) -> None:
            own = f"{folders[host]}/{host.name}"
            join(hub, host, "--certificate", f"{own}.pem", "--key", f"{own}.key")

        at_once(join_with_certificate, pair.hosts.all)
        hub.wait_until("everybody is there", lambda: everybody(pair), within=20)
    made = hub.submit(new_id("mtls"), busy(6, 0.2))
    hub.wait_completed(made)
    old = certificate_of(hub, worker.name, days_ago=3)
    worker.put("/root/old.pem", (old.certificate + old.key).decode(), "0600")
    shown = (
        "env",
        "GLEITZEIT_SECURITY_CERTIFICATE_FILE=/root/old.pem",
        "GLEITZEIT_SECURITY_KEY_FILE=/root/old.pem",
    )
    done = worker.run(*shown, "gleitzeit", "components", check=False)
    assert (done.returncode, "which has expired" in done.stderr) == (UNREACHABLE, True), done.stderr


def test_a_reload_has_new_certificates_and_cuts_nobody(pair: Pair) -> None:
    hub, (worker,) = pair.hosts.hub, pair.hosts.workers
    running = hub.submit(new_id("reloaded"), busy(6, 3))
    before = {each["component_id"]: each["connected_seconds"] for each in hub.components()}
    good = {end: hub.said("cat", f"{TLS}/hub.{end}") for end in ("pem", "key")}
    old = certificate_of(hub, hub.name, days_ago=3)
    owned = f"chown gleitzeit {TLS}/hub.key"
    hub.put(f"{TLS}/hub.pem", old.certificate.decode())
    hub.put(f"{TLS}/hub.key", old.key.decode(), "0600")
    hub.shell(f"{owned}; systemctl reload gleitzeit-hub")
    hub.wait_until("new connections get it", lambda: "has expired" in _said(worker))
    hub.put(f"{TLS}/hub.pem", good["pem"] + "\n")
    hub.put(f"{TLS}/hub.key", good["key"] + "\n", "0600")
    hub.shell(f"{owned}; gleitzeit cert renew {hub.name}; systemctl reload gleitzeit-hub")
    hub.wait_until("connections are made again", lambda: bool(hub.components()))
    hub.wait_completed(running)
    after = {each["component_id"]: each["connected_seconds"] for each in hub.components()}
    cut = [name for name, seconds in before.items() if "cli" not in name and after.get(name, 0) < seconds]
    assert not cut
    assert hub.failed() == worker.failed() == []


def _said(host: Host) -> str:
    return host.run("gleitzeit", "components", check=False).stderr
