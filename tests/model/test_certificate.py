"""Whom a certificate is for, and how long it is valid."""

from __future__ import annotations

import subprocess
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.certificate import Holder, holder, same_host, validity


@pytest.mark.parametrize(
    ("name", "hostname", "fits"),
    [
        ("worker-1", "worker-1", True),
        ("worker-1.example.org", "worker-1", True),
        ("worker-1", "worker-1.example.org", True),
        ("WORKER-1.Example.Org.", "worker-1.example.org", True),
        ("worker-1.example.org", "worker-1.example.net", False),
        ("worker-1", "worker-10", False),
        ("*.example.org", "worker-1.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*", "anything", False),
        ("worker-1", "", False),
        ("", "", False),
    ],
)
def test_a_name_of_a_host_is_that_of_one_host(name: str, hostname: str, fits: bool) -> None:
    assert same_host(name, hostname) is fits


def test_a_certificate_fits_its_components_and_those_of_its_hosts() -> None:
    one = Holder(hosts=("worker-1",), components=("provider-python-*",), common_name="ignored")
    assert one.fits("execution-engine-x", "worker-1")
    assert one.fits("provider-python-7", "elsewhere")
    assert not one.fits("provider-shell-7", "elsewhere")
    assert not one.fits("ignored", "ignored")
    assert str(one) == "worker-1, component provider-python-*"


def test_the_common_name_counts_if_there_is_no_other() -> None:
    assert Holder(common_name="worker-1").fits("x", "worker-1")
    assert Holder(common_name="engine-a").fits("engine-a", "")
    assert not Holder().fits("", "")
    assert str(Holder()) == "nobody"


def test_the_names_are_read_from_what_ssl_says() -> None:
    said = {
        "subject": ((("commonName", "w"),),),
        "subjectAltName": (
            ("DNS", "w.example"),
            ("IP Address", "10.0.0.1"),
            ("URI", "gleitzeit:e-*"),
            ("URI", "x:y"),
        ),
    }
    assert holder(said) == Holder(hosts=("w.example",), components=("e-*",), common_name="w")


@given(st.text(), st.text())
def test_whatever_a_host_calls_itself_has_an_answer(name: str, hostname: str) -> None:
    assert same_host(name, hostname) in (True, False)


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_said_to_be_none(der: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        validity(der)


@pytest.mark.parametrize(
    ("begins", "ends"), [("20200102030405Z", "20491231235959Z"), ("20491231000000Z", "20600101000000Z")]
)
def test_the_validity_is_that_which_openssl_has_written(tmp_path: Path, begins: str, ends: str) -> None:
    file = tmp_path / "c.der"
    words = ["-subj", "/CN=x", "-outform", "DER", "-out", str(file), "-keyout", str(tmp_path / "k")]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made = subprocess.run(
        ["openssl", "req", "-x509", *key, *words, "-not_before", begins, "-not_after", ends],
        check=False,
        capture_output=True,
        timeout=30,
    )
    if made.returncode:
        pytest.skip("this openssl cannot choose the time")
    from datetime import datetime

    wanted = [datetime.strptime(t, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp() for t in (begins, ends)]
    assert list(validity(file.read_bytes())) == wanted
