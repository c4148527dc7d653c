"""gleitzeit cert: an authority and its certificates, and what becomes of them."""

from __future__ import annotations

import json
import ssl
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gleitzeitd.cli import cert as module
from gleitzeitd.cli import cli
from gleitzeitd.cli.cert_making import Names, described, make_authority, make_certificate, vouches
from gleitzeitd.cli.placing import Placed, place
from gleitzeitd.errors import ConfigError
from gleitzeitd.runtime.tls import client_context, server_context, trust_in


class Certs:
    """The command, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, ["cert", *words, "--directory", str(self.directory)])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def said(self, *words: str) -> list[dict[str, object]]:
        found = json.loads(self(*words, "--json").output)["certificates"]
        assert isinstance(found, list)
        return found

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.directory / name).stat().st_mode)


@pytest.fixture
def certs(tmp_path: Path) -> Certs:
    made = Certs(tmp_path / "tls")
    made("ca")
    return made


def test_an_authority_vouches_for_certificates_and_its_key_is_its_owners(certs: Certs) -> None:
    certs("issue", "worker-1")
    ca, one = (certs.directory / f"{name}.pem" for name in ("ca", "worker-1"))
    assert vouches(ca.read_bytes(), one.read_bytes())
    assert [certs.mode(name) for name in ("ca.key", "ca.pem", "worker-1.key", "worker-1.pem")] == [
        0o600, 0o644, 0o600, 0o644,
    ]  # fmt: skip
    assert described(ca.read_bytes()).is_ca
    assert not described(one.read_bytes()).is_ca


def test_ssl_takes_what_was_made_on_both_sides_of_a_connection(certs: Certs) -> None:
    certs("issue", "hub", "--dns", "hub.example", "--ip", "127.0.0.1")
    files = trust_in(*(str(certs.directory / name) for name in ("hub.pem", "hub.key", "ca.pem"))).files
    assert server_context(files, "required").verify_mode is ssl.CERT_REQUIRED
    assert client_context(files).check_hostname


def test_a_certificate_is_for_the_names_that_were_said_or_for_its_own(certs: Certs) -> None:
    certs("issue", "worker-1")
    certs("issue", "w", "--dns", "a.example", "--dns", "b", "--ip", "::1", "--component", "provider-*")
    own, said = certs.said("show", "worker-1", "w")
    assert (own["hosts"], own["addresses"], own["components"]) == (["worker-1"], [], [])
    assert (said["hosts"], said["addresses"]) == (["a.example", "b"], ["::1"])
    assert said["components"] == ["provider-*"]


def test_nothing_is_replaced_unless_that_is_said(certs: Certs) -> None:
    certs("issue", "worker-1")
    before = (certs.directory / "worker-1.key").read_bytes()
    for words in (["ca"], ["issue", "worker-1"]):
        assert "exists, and is kept" in certs(*words, code=2).output
    assert (certs.directory / "worker-1.key").read_bytes() == before
    certs("issue", "worker-1", "--force")
    assert (certs.directory / "worker-1.key").read_bytes() != before


def test_what_is_renewed_keeps_its_names_and_its_key_and_is_valid_for_longer(certs: Certs) -> None:
    certs("issue", "w", "--dns", "a", "--component", "p-*", "--ip", "10.0.0.1", "--days", "3")
    (before,) = certs.said("show", "w")
    key = (certs.directory / "w.key").read_bytes()
    certs("renew", "w", "--days", "30")
    (after,) = certs.said("show", "w")
    assert {name: after[name] for name in ("hosts", "addresses", "components", "subject", "issuer")} == {
        name: before[name] for name in ("hosts", "addresses", "components", "subject", "issuer")
    }
    days = (float(str(after["expires"])) - float(str(before["expires"]))) / 86400
    assert 26.9 < days < 27.1
    assert after["fingerprint"] != before["fingerprint"]
    assert (certs.directory / "w.key").read_bytes() == key
    certs("renew", "--all", "--new-key")
    assert (certs.directory / "w.key").read_bytes() != key
    assert certs.mode("w.key") == 0o600
    files = trust_in(*(str(certs.directory / name) for name in ("w.pem", "w.key"))).files
    assert client_context(files)


def test_what_a_renewed_authority_has_vouched_for_before_still_counts(certs: Certs) -> None:
    certs("issue", "w")
    certs("renew", "ca")
    ca, one = ((certs.directory / name).read_bytes() for name in ("ca.pem", "w.pem"))
    assert vouches(ca, one)


def test_what_expires_soon_and_what_has_expired_is_said(certs: Certs) -> None:
    made = make_authority("old", 10, datetime.now(UTC) - timedelta(days=20))
    (certs.directory / "old.pem").write_bytes(made.certificate)
    certs("issue", "w", "--days", "3")
    shown = certs("show").output
    assert "HAS EXPIRED" in shown.partition("old.pem")[2].partition("w.pem")[0]
    assert "SOON" in shown.partition("w.pem")[2]


def test_a_hub_is_told_which_certificate_it_has(certs: Certs, monkeypatch: pytest.MonkeyPatch) -> None:
    drop_in = certs.directory.parent / "hub.d" / "50-tls.toml"
    monkeypatch.setattr(module, "HUB_DROP_IN", drop_in)
    monkeypatch.setattr(module, "USER", "nobody-of-this-name")
    certs("issue", "hub", "--dns", "hub.example", "--hub")
    said = tomllib.loads(drop_in.read_text())["security"]
    assert said == {
        "certificate_file": str(certs.directory / "hub.pem"),
        "key_file": str(certs.directory / "hub.key"),
        "ca_file": str(certs.directory / "ca.pem"),
    }
    (one,) = certs.said("show", "hub")
    assert (one["hosts"], one["addresses"]) == (["hub.example", "localhost"], ["127.0.0.1", "::1"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["issue", "ca"], "the authority's own name"),
        (["issue", "../x"], "expected a name"),
        (["issue", "w", "--ip", "x"], "--ip: expected an address"),
        (["issue", "w", "--component", "ü"], "--component: 'ü' cannot be an id"),
        (["renew", "nobody"], "nobody.key: is missing"),
        (["show", "nobody"], "nobody.pem: cannot be read"),
        (["show", "/dev/null"], "/dev/null: holds no certificate"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(certs: Certs, words: list[str], message: str) -> None:
    assert message in certs(*words, code=2).output.replace("\n", " ")


def test_without_an_authority_there_are_no_certificates(tmp_path: Path) -> None:
    empty = Certs(tmp_path)
    assert "is not on this host" in empty("issue", "w", code=2).output
    assert "gleitzeit cert ca makes the first one" in empty("show", code=2).output


def test_the_certificate_of_another_authority_is_not_vouched_for() -> None:
    one, other = make_authority("one", 2), make_authority("one", 2)
    made = make_certificate(one, "w", Names(hosts=["w"]), 2)
    assert vouches(one.certificate, made.certificate)
    assert not vouches(other.certificate, made.certificate)


def test_files_are_placed_together_or_not_at_all(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("before")
    (tmp_path / "folder").mkdir()
    wanted = [Placed(path=kept, content=b"after"), Placed(path=tmp_path / "folder", content=b"x")]
    with pytest.raises(ConfigError, match="folder: cannot be written"):
        place(wanted)
    assert kept.read_text() == "before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "kept"]
    place(wanted[:1])
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("after", 0o644)
