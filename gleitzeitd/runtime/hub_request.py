"""An HTTP request before anything is done for it: is it one that a hub answers, and may a page make it?

Browsers add an ``Origin`` to every websocket and to every request from another site; programs send none, and
have no cookies or logins of a user that a page could abuse. A page can have its own name lead to this host:
then ``Host`` has that name.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from gleitzeitd.runtime.hub_address import names_loopback

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s]+)(:[0-9]*)?")
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SAME = {"ws": "http", "wss": "https"}
_ONCE = (b"host", b"origin", b"content-length", b"transfer-encoding", b"upgrade")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without the request having been looked at further."""

    status: int
    cause: str
    """Counted under this."""
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is read of a request's head."""

    host: str
    origin: str | None
    upgrade: bool
    """It wants to become a websocket."""


def read_head(head: bytes) -> Asked | Refusal:
    """``head``: the request's line and headers, without the empty line."""
    line, *fields = head.split(b"\r\n")
    if b"\n" in head.replace(b"\r\n", b"") or b"\0" in head or line.count(b" ") != 2:
        return Refusal(400, "request", "this is no HTTP request")
    found: dict[bytes, bytes] = {}
    for field in fields:
        name, colon, value = field.partition(b":")
        name = name.lower()
        if not colon or not name or name.strip() != name:
            return Refusal(400, "request", "a header that is none")
        if name in _ONCE and name in found:
            return Refusal(400, "request", f"{name.decode()} twice")
        found[name] = value.strip()
    if found.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in found:
        return Refusal(413, "request_body", "no request to a hub has a body")
    if line.partition(b" ")[0] not in (b"GET", b"HEAD"):
        return Refusal(405, "request", "a hub answers GET alone")
    if not found.get(b"host"):
        return Refusal(400, "request", "Host is missing")
    origin = found.get(b"origin")
    return Asked(
        host=found[b"host"].decode("latin-1"),
        origin=None if origin is None else origin.decode("latin-1"),
        upgrade=b"upgrade" in found,
    )


def page_problem(
    asked: Asked, *, allowed: Collection[str], names: Collection[str], tls: bool, loopback: bool
) -> Refusal | None:
    """Why a request is refused for where it comes from.

    ``allowed`` are origins; ``names`` are those of the host. ``loopback``: it came over a loopback address.
    """
    if loopback and not tls and not names_host(asked.host, names):
        return Refusal(
            403, "host", f"Host: {asked.host[:100]!r} is no name of this host (hub.host_names); use localhost"
        )
    if asked.origin is None or "*" in allowed:
        return None
    shown = normal_origin(asked.origin)
    own = normal_origin(f"{'https' if tls else 'http'}://{asked.host}")
    if shown is None or (shown != own and shown not in map(normal_origin, allowed)):
        return Refusal(403, "origin", f"Origin: {asked.origin[:100]!r} may not connect (hub.allowed_origins)")
    return None


def names_host(host: str, names: Collection[str]) -> bool:
    """Whether a ``Host`` is this host's: a loopback name or address, its own name, or one of ``names``."""
    if _HOST.fullmatch(host) is None:
        return False
    if names_loopback(host):
        return True
    name = _name(host)
    own = socket.gethostname().lower()
    return name is not None and name in {own, own.partition(".")[0], *(each.lower() for each in names)}


def normal_origin(origin: str) -> tuple[str, str, int] | None:
    """Scheme, name and port of an origin, in the one form that they have; None if it is none."""
    try:
        parts = urlsplit(origin)
        scheme = _SAME.get(parts.scheme, parts.scheme)
        if scheme not in _PORTS or not parts.hostname or parts.username is not None:
            return None
        if parts.path.strip("/") or parts.query or parts.fragment:
            return None
        name = parts.hostname.rstrip(".")
        ascii_name = name if name.isascii() else name.encode("idna").decode()
        return scheme, ascii_name.lower(), parts.port or _PORTS[scheme]
    except (ValueError, UnicodeError):
        return None


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "gleitzeit",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On everything that is answered over HTTP: none of it is a page, none is for others."""


def answer(refusal: Refusal, retry_after: int | None = None) -> bytes:
    """The whole answer, after which the connection ends."""
    body = f"{refusal.text}\n".encode()
    lines = [
        f"HTTP/1.1 {refusal.status} {PHRASES[refusal.status]}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in SECURITY_HEADERS.items()),
        *(["Allow: GET, HEAD"] if refusal.status == 405 else []),
        *([] if retry_after is None else [f"Retry-After: {retry_after}"]),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
