"""gleitzeit join: it asks the hub first, then writes all or nothing, and says what is wrong."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gleitzeitd.cli import cli
from gleitzeitd.cli import join as module
from gleitzeitd.cli.cert_making import described
from gleitzeitd.cli.joining import HostFiles, checked_url, fingerprint_of
from gleitzeitd.errors import ConfigError
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.model.access import Grant, UserRole
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.clock import wall
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.hub_tls import credentials_of
from gleitzeitd.runtime.security import SecuritySettings
from gleitzeitd.runtime.tokens import KeyRing
from tests.certificates import Authority

DAEMONS = Grant(subject="host:worker", components=frozenset({Role.EXECUTION_ENGINE, Role.PROVIDER}))
PEOPLE = Grant(subject="group", user=UserRole.OPERATOR)


class System:
    """A hub of another host, which runs in a thread, and the files of this one."""

    def __init__(self, directory: Path) -> None:
        self.ring = KeyRing.make()
        self.authority = Authority(directory / "authority")
        self.fingerprint = described(self.authority.file.read_bytes()).fingerprint
        self.etc = directory / "etc" / "gleitzeit"
        self.files = HostFiles(
            directory=self.etc,
            credential=directory / "etc" / "credstore" / "gleitzeit.token",
            shared=self.etc / "token",
            group="root",
        )
        (self.etc / "providers").mkdir(parents=True)
        for name in ("execution-engine", "providers/python", "hub"):
            (self.etc / f"{name}.toml").touch()
        self._ends: list[Callable[[], None]] = []

    def hub(self, *, tls: bool = True, asks: str = "off", shows_ca: bool = True) -> str:
        """Start one; its address."""
        settings = Settings(port=0, client_certificates=asks)  # type: ignore[arg-type]
        pair = self.authority.certificate("localhost")
        security = SecuritySettings(
            certificate_file=str(pair.certificate) if tls else "",
            key_file=str(pair.key) if tls else "",
            ca_file=str(self.authority.file) if shows_ca else "",
        )
        started: list[int] = []
        ready, loops = threading.Event(), []
        stopping = asyncio.Event()

        async def run() -> None:
            loops.append(asyncio.get_running_loop())
            server = HubServer(
                settings, gate=Gate.by_keys(self.ring), credentials=credentials_of(settings, security, {})
            )
            await server.start()
            started.append(server.port)
            ready.set()
            await stopping.wait()
            await server.stop("the test ends")

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        assert ready.wait(10)

        def end() -> None:
            loops[0].call_soon_threadsafe(stopping.set)
            thread.join()

        self._ends.append(end)
        return f"{'https' if tls else 'http'}://localhost:{started[0]}"

    def token(self, grant: Grant = DAEMONS, fingerprint: str | None = None, *, ca: bool = True) -> str:
        """One that the hub accepts."""
        known = (fingerprint or self.fingerprint) if ca else None
        return self.ring.issue(grant, now=wall(), authority=known)

    def join(self, *words: str, code: int = 0, stdin: str = "") -> Result:
        done = CliRunner().invoke(cli, ["join", *words], input=stdin)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def written(self) -> set[str]:
        """Files below etc, but for those that were there."""
        root = self.etc.parent
        found = {str(each.relative_to(root)) for each in root.rglob("*") if each.is_file()}
        return found - {f"gleitzeit/{name}.toml" for name in ("execution-engine", "providers/python", "hub")}

    def end(self) -> None:
        for each in self._ends:
            each()


WRITTEN = {
    "gleitzeit/ca.pem",
    "gleitzeit/joined.toml",
    "gleitzeit/execution-engine.d/50-joined.toml",
    "gleitzeit/providers/python.d/50-joined.toml",
    "credstore/gleitzeit.token",
}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    made = System(tmp_path)
    monkeypatch.setattr(module, "host_files", lambda: made.files)
    monkeypatch.setattr("gleitzeitd.cli.host.BOOTED", tmp_path / "not booted")
    yield made
    made.end()


def test_a_host_that_joins_has_the_ca_the_token_and_the_hub_in_all_its_roles(system: System) -> None:
    url, token = system.hub(), system.token()
    said = system.join(url, token).output
    assert system.written() == WRITTEN
    assert f"works for {url}" in said
    assert token not in said
    settings = tomllib.loads((system.etc / "providers" / "python.d" / "50-joined.toml").read_text())
    assert settings == {
        "connection": {"hub_urls": [url]},
        "security": {"ca_file": str(system.etc / "ca.pem")},
    }
    assert (system.etc / "ca.pem").read_bytes() == system.authority.file.read_bytes()
    assert system.files.credential.read_text() == f"{token}\n"
    assert stat.S_IMODE(system.files.credential.stat().st_mode) == 0o600


def test_two_tokens_from_standard_input_go_where_they_belong(system: System) -> None:
    daemons, people = system.token(), system.token(PEOPLE)
    system.join(system.hub(), "-", stdin=f"{people}\n\n{daemons}\n")
    assert system.files.credential.read_text() == f"{daemons}\n"
    assert system.files.shared.read_text() == f"{people}\n"
    assert stat.S_IMODE(system.files.shared.stat().st_mode) == 0o640


def test_joining_again_replaces_what_was_written(system: System) -> None:
    first, second = system.hub(), system.hub()
    system.join(first, system.token())
    system.join(second, system.token())
    assert system.written() == WRITTEN
    assert second in (system.etc / "execution-engine.d" / "50-joined.toml").read_text()


def test_a_dry_run_asks_the_hub_and_writes_nothing(system: System) -> None:
    url = system.hub()
    said = system.join(url, system.token(), "--dry-run").output
    assert f"would write {system.etc / 'ca.pem'}" in said
    assert system.written() == set()
    system.join(
        url, KeyRing.make().issue(DAEMONS, now=wall(), authority=system.fingerprint), "--dry-run", code=4
    )


def test_a_program_is_told_what_was_done(system: System) -> None:
    url = system.hub()
    said = json.loads(system.join(url, system.token(), "--json").stdout)
    assert (said["hub"], said["ca_fingerprint"], said["restarted"]) == (url, system.fingerprint, [])
    assert len(said["files"]) == len(WRITTEN)


def test_a_hub_with_another_ca_is_refused_with_both_fingerprints(system: System) -> None:
    other = "ab" * 32
    said = system.join(system.hub(), system.token(fingerprint=other), code=3).output
    assert system.fingerprint in said
    assert other in said
    assert "somebody is between" in said
    assert system.written() == set()


def test_a_token_without_a_fingerprint_is_refused_for_tls(system: System) -> None:
    assert "no fingerprint" in system.join("https://localhost:1", system.token(ca=False), code=2).output


def test_a_token_for_tls_is_not_shown_to_a_hub_without(system: System) -> None:
    url = system.hub(tls=False)
    assert "use https://localhost:" in system.join(url, system.token(), code=2).output


def test_without_tls_there_is_a_warning(system: System) -> None:
    url = system.hub(tls=False)
    said = system.join(url, system.token(ca=False))
    assert "warning" in said.output
    assert "is not encrypted" in said.output
    assert system.written() == WRITTEN - {"gleitzeit/ca.pem"}


def test_a_hub_that_does_not_let_us_in_changes_nothing(system: System) -> None:
    forged = KeyRing.make().issue(DAEMONS, now=wall(), authority=system.fingerprint)
    system.join(system.hub(), forged, code=4)
    assert system.written() == set()


def test_of_two_tokens_both_have_to_be_good(system: System) -> None:
    forged = KeyRing.make().issue(PEOPLE, now=wall(), authority=system.fingerprint)
    system.join(system.hub(), system.token(), forged, code=4)
    assert system.written() == set()


def test_a_hub_that_shows_no_ca_is_said_to_show_none(system: System) -> None:
    said = system.join(system.hub(shows_ca=False), system.token(), code=2).output
    assert "status 404" in said
    assert "security.ca_file" in said


def test_a_hub_that_speaks_no_tls_is_said_to_speak_none(system: System) -> None:
    url = system.hub(tls=False).replace("http:", "https:")
    assert "speaks plain HTTP" in system.join(url, system.token(), code=3).output


def test_a_certificate_under_another_name_is_refused(system: System) -> None:
    url = system.hub().replace("localhost", "127.0.0.1")
    assert "is for another name" in system.join(url, system.token(), code=3).output
    assert system.written() == set()


def test_a_hub_that_wants_a_certificate_gets_the_one_given_and_all_daemons_have_it(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = system.hub(asks="required")
    said = system.join(url, system.token(), code=3).output
    assert "wants a certificate, and we have none" in said
    monkeypatch.setattr("socket.gethostname", lambda: "worker-1")
    pair = system.authority.certificate("worker-1")
    system.join(url, system.token(), "--certificate", str(pair.certificate), "--key", str(pair.key))
    assert system.written() == WRITTEN | {
        "gleitzeit/certificate.pem",
        "gleitzeit/key.pem",
        "credstore/gleitzeit.certificate",
        "credstore/gleitzeit.key",
    }
    said_there = tomllib.loads((system.etc / "joined.toml").read_text())["security"]
    assert said_there["key_file"] == str(system.etc / "key.pem")
    assert stat.S_IMODE((system.etc / "key.pem").stat().st_mode) == 0o640
    assert stat.S_IMODE((system.etc.parent / "credstore" / "gleitzeit.key").stat().st_mode) == 0o600
    system.join(url, system.token())  # again, with the one that is there


def test_a_certificate_of_another_host_is_not_taken(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "worker-1")
    pair = system.authority.certificate("worker-2")
    words = ("--certificate", str(pair.certificate), "--key", str(pair.key))
    said = system.join(system.hub(), system.token(), *words, code=2).output
    assert "is for worker-2, and this host is worker-1" in said


def test_what_cannot_be_written_leaves_everything_as_it_was(system: System) -> None:
    (system.etc / "joined.toml").mkdir()
    said = system.join(system.hub(), system.token(), code=2).output
    assert "joined.toml: cannot be written" in said
    assert system.written() == set()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hub:8000", "expected an address like"),
        ("ftp://hub:8000", "expected an address like"),
        ("https://hub", "say the port too"),
        ("https://hub:99999", "Port out of range"),
        ("https://hub:8000/there", "nothing comes after the port"),
        ("https://user@hub:8000", "expected an address like"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_url(url)


def test_what_is_no_token_is_refused(system: System) -> None:
    assert "expected a token" in system.join("https://localhost:1", "-", code=2).output
    token = system.token()
    assert "the tokens are for the same" in system.join("https://localhost:1", token, token, code=2).output
    expired = system.ring.issue(
        Grant(subject="x", components=DAEMONS.components, expires=wall() - 60),
        now=wall() - 120,
        authority=system.fingerprint,
    )
    assert "has expired" in system.join("https://localhost:1", expired, code=4).output


def test_where_nobody_listens_nobody_is_reached(system: System) -> None:
    assert "onnection refused" in system.join("https://localhost:1", system.token(), code=3).output


def test_fingerprints_are_the_same_however_they_are_written() -> None:
    assert fingerprint_of("SHA256:" + ":".join(["AB"] * 32)) == "ab" * 32
    assert fingerprint_of("ab") == fingerprint_of(None) == ""
