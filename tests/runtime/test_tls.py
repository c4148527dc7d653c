"""Certificates in files: where they are looked for, what is wrong with them, and when they are read again."""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.runtime.security import SecuritySettings
from gleitzeitd.runtime.tls import (
    Credentials,
    Files,
    Trust,
    certificates,
    client_context,
    find_files,
    hides_credentials,
    server_context,
    trust_in,
    weaknesses,
)
from tests.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def settings(pair: Pair, ca: Path | None = None) -> SecuritySettings:
    return SecuritySettings(
        certificate_file=str(pair.certificate), key_file=str(pair.key), ca_file=str(ca or "")
    )


def handed_over(directory: Path, pair: Pair) -> dict[str, str]:
    """As systemd does it."""
    directory.mkdir()
    (directory / "certificate").write_bytes(pair.certificate.read_bytes())
    (directory / "key").write_bytes(pair.key.read_bytes())
    return {"CREDENTIALS_DIRECTORY": str(directory)}


# --- where they are --------------------------------------------------------------------------------


def test_credentials_come_before_settings_and_after_a_reload_behind_them(
    tmp_path: Path, authority: Authority
) -> None:
    pair = authority.certificate("a")
    environment = handed_over(tmp_path / "credentials", pair)
    said = settings(pair, authority.file)
    first = find_files(said, environment)
    assert first.certificate == tmp_path / "credentials" / "certificate"
    assert first.key == tmp_path / "credentials" / "key"
    assert first.ca == authority.file
    again = find_files(said, environment, again=True)
    assert (again.certificate, again.key) == (pair.certificate, pair.key)


def test_a_certificate_and_its_key_are_from_the_same_place(tmp_path: Path, authority: Authority) -> None:
    pair = authority.certificate("a")
    environment = handed_over(tmp_path / "credentials", pair)
    gone = replace(settings(pair), key_file=str(tmp_path / "nothing"))
    again = find_files(gone, environment, again=True)
    assert again.certificate == tmp_path / "credentials" / "certificate"


def test_without_files_there_are_none() -> None:
    assert find_files(SecuritySettings(), {}) == Files()
    assert not hides_credentials({})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into everything")
def test_credentials_that_we_may_not_look_into_are_known_to_be_hidden(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir(mode=0)
    assert hides_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path / "c")})


# --- what is wrong with them -------------------------------------------------------------------------


def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, authority: Authority) -> None:
    pair, other = authority.certificate("a"), authority.certificate("b")
    junk = tmp_path / "junk"
    junk.write_text("nothing")
    damaged = tmp_path / "damaged"
    damaged.write_text(pair.certificate.read_text().replace("MII", "AAA", 1))
    locked = tmp_path / "locked"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")

    def why(certificate: Path, key: Path | None, ca: Path | None = None) -> str:
        with pytest.raises(ConfigError) as caught:
            server_context(Files(certificate=certificate, key=key, ca=ca), "required")
        return str(caught.value)

    assert (
        why(tmp_path / "no", pair.key)
        == f"{tmp_path / 'no'}: the certificate cannot be read: No such file or directory"
    )
    assert why(pair.certificate, tmp_path / "no").startswith(
        f"{tmp_path / 'no'}: the private key cannot be read"
    )
    assert why(junk, pair.key) == f"{junk}: holds no certificate in PEM form"
    assert why(damaged, pair.key) == f"{damaged}: holds a certificate that is damaged"
    assert why(pair.certificate, junk) == f"{junk}: holds no private key in PEM form"
    assert "security.key_file names that with the key" in why(pair.certificate, None)
    assert "the key is encrypted" in why(pair.certificate, locked)
    assert (
        why(pair.certificate, other.key)
        == f"{other.key}: the key is not that of the certificate {pair.certificate}"
    )
    assert "required takes the CA" in why(pair.certificate, pair.key)
    assert why(pair.certificate, pair.key, junk) == f"{junk}: holds no certificate in PEM form"


def test_a_key_may_be_in_the_file_of_its_certificate(tmp_path: Path, authority: Authority) -> None:
    pair = authority.certificate("a")
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    assert server_context(Files(certificate=both), "off").minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(certificates(both)) == 1


def test_both_sides_take_tls_of_1_2_and_later_only_and_clients_look_at_names(authority: Authority) -> None:
    pair = authority.certificate("a")
    files = Files(certificate=pair.certificate, key=pair.key, ca=authority.file)
    assert server_context(files, "required").minimum_version is ssl.TLSVersion.TLSv1_2
    client = client_context(files)
    assert client.minimum_version is ssl.TLSVersion.TLSv1_2
    assert client.check_hostname
    assert client.verify_mode is ssl.CERT_REQUIRED


def test_what_should_be_mended_soon_is_found(authority: Authority) -> None:
    pair = authority.certificate("a")
    files = Files(certificate=pair.certificate, key=pair.key)
    pair.key.chmod(0o640)
    day = 86400.0

    def found(days: float) -> str:
        return "\n".join(weaknesses(files, time.time() + days * day))

    assert "expires on" in found(0)
    assert "has expired, on" in found(3)
    assert "is not valid before" in found(-1)
    assert "private key" not in found(0)
    pair.key.chmod(0o644)
    assert f"open to every user of this host (0644): chmod o= {pair.key}" in found(0)
    pair.key.chmod(0o660)
    assert "can be changed by its group" in found(0)
    assert list(
        weaknesses(replace(files, credentials=frozenset({pair.key})), time.time() - 5 * day + day * 5)
    )


# --- reading again -----------------------------------------------------------------------------------


def test_a_component_reads_its_files_only_for_hubs_with_tls(tmp_path: Path) -> None:
    trust = trust_in(ca=str(tmp_path / "nothing"))
    assert trust.context("http://hub:8000") is None
    assert trust.context("ws://hub:8000") is None
    with pytest.raises(ConfigError, match="nothing: the certificate cannot be read"):
        trust.context("https://hub:8000")


def test_what_is_read_again_is_used_from_then_on(authority: Authority) -> None:
    said = settings(authority.certificate("a"), authority.file)
    trust, hub = Trust(said, {}), Credentials(said, {}, "off")
    before = (trust.context("https://hub:1"), hub.context)
    assert (trust.context("wss://hub:1"), hub.context) == before
    authority.certificate("a")
    trust.read_again()
    hub.read_again()
    assert trust.context("https://hub:1") is not before[0]
    assert hub.context is not before[1]


def test_what_cannot_be_used_is_said_and_the_former_stays(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.certificate("a")
    said = settings(pair, authority.file)
    trust, hub = Trust(said, {}), Credentials(said, {}, "off")
    before = (trust.context("https://hub:1"), hub.context)
    pair.key.write_text("nothing")
    with caplog.at_level(logging.ERROR):
        trust.read_again()
        hub.read_again()
    assert (trust.context("https://hub:1"), hub.context) == before
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.message for each in errors] == ["certificates cannot be used; the former ones stay"] * 2
    assert str(pair.key) in str(errors[0].__dict__["error"])


def test_a_client_without_tls_makes_no_context() -> None:
    code = (
        "import ssl, gleitzeitd.client, gleitzeitd.runtime.tls as t\n"
        "ssl.SSLContext = None\n"
        "assert t.trust_in().context('http://hub:8000') is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
