"""Whom a certificate is for, and whether a component may show it.

A certificate names hosts (DNS) and components (URI, ``gleitzeit:provider-python-*``). One without either has
only its common name, which may be any of the two. It fits a component that is called so, or that runs on a
host that is called so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from gleitzeitd.record import record

COMPONENT_URI = "gleitzeit:"
"""How the URI begins that names a component, or a pattern of such names."""
_SEQUENCE, _CONTEXT_0, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18  # X.690; RFC 5280, 4.1


@record
class Holder:
    """The names in a certificate."""

    hosts: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    """Patterns as of a shell."""
    common_name: str = ""
    """What counts if there is no other name."""

    def fits(self, component_id: str, hostname: str) -> bool:
        """Whether it is for a component of this id, or for all of that host."""
        if any(fnmatchcase(component_id, pattern) for pattern in self.components):
            return True
        hosts = self.hosts or (() if self.components else (self.common_name,))
        return any(name == component_id or same_host(name, hostname) for name in hosts if name)

    def __str__(self) -> str:
        named = [*self.hosts, *(f"component {each}" for each in self.components)] or [self.common_name]
        return ", ".join(each for each in named if each) or "nobody"


def holder(certificate: Mapping[str, Any]) -> Holder:
    """The names in a certificate, in the form in which ``ssl`` gives that of a peer."""
    names: Sequence[tuple[str, str]] = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    return Holder(
        hosts=tuple(value for kind, value in names if kind == "DNS"),
        components=tuple(each.removeprefix(COMPONENT_URI) for each in uris if each.startswith(COMPONENT_URI)),
        common_name=next((value for key, value in subject if key == "commonName"), ""),
    )


def same_host(name: str, hostname: str) -> bool:
    """Whether a certificate for ``name`` is for the host that calls itself ``hostname``.

    A host may know only the first part of its name; a certificate may have only that.
    """
    name, hostname = name.lower().rstrip("."), hostname.lower().rstrip(".")
    if not name or not hostname:
        return False
    if name.startswith("*."):
        return hostname.partition(".")[2] == name[2:]
    if "." in name and "." in hostname:
        return name == hostname
    return name.partition(".")[0] == hostname.partition(".")[0]


def validity(der: bytes) -> tuple[float, float]:
    """From when until when a certificate is valid, in seconds since 1970.

    Raises:
        ValueError: it is none.
    """
    try:
        body = _content(_content(der, 0, _SEQUENCE)[0], 0, _SEQUENCE)[0]
        at = 0
        if body[0] == _CONTEXT_0:  # the version may be left out
            at = _end(body, at)
        for _ in range(3):  # serial number, algorithm, issuer
            at = _end(body, at)
        times, _ = _content(body, at, _SEQUENCE)
        return _time(times, 0), _time(times, _end(times, 0))
    except (IndexError, UnicodeDecodeError) as problem:
        raise ValueError("no certificate") from problem


def _length(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the item at ``at`` begins, and where it ends."""
    first = der[at + 1]
    if first < 0x80:
        return at + 2, at + 2 + first
    size = first & 0x7F
    begin = at + 2 + size
    return begin, begin + int.from_bytes(der[at + 2 : begin], "big")


def _content(der: bytes, at: int, tag: int) -> tuple[bytes, int]:
    begin, end = _length(der, at)
    if der[at] != tag or end > len(der):
        raise ValueError("no certificate")
    return der[begin:end], end


def _end(der: bytes, at: int) -> int:
    return _length(der, at)[1]


def _time(der: bytes, at: int) -> float:
    begin, end = _length(der, at)
    text = der[begin:end].decode("ascii")
    if der[at] == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: years from 1950 to 2049
        text = f"{'19' if int(text[:2]) >= 50 else '20'}{text}"
    elif der[at] != _GENERALIZED_TIME:
        raise ValueError("no certificate")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
