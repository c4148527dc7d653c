"""Who may reach the hub: loopback addresses, host names in requests, sockets from systemd."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from gleitzeitd.errors import ConfigError

_FIRST_FD = 3  # sd_listen_fds(3)


def is_loopback(address: str | None) -> bool:
    """Whether an IP address, or ``localhost``, is of this host alone."""
    if not address:
        return False
    if address == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def names_loopback(host_header: str | None) -> bool:
    """Whether a request's ``Host`` is a loopback name.

    A web page can have its own name resolve to 127.0.0.1 and so reach what listens there; its name is
    then in ``Host``.
    """
    if not host_header:
        return False
    try:
        return is_loopback(urlsplit(f"//{host_header}").hostname)
    except ValueError:
        return False


def inherited_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd has handed over, by ``LISTEN_PID`` and ``LISTEN_FDS``."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "0")
    found = [socket.socket(fileno=_FIRST_FD + i) for i in range(int(count) if count.isdigit() else 0)]
    for each in found:
        each.setblocking(False)
    return found


def check_exposure(host: str, sockets: list[socket.socket], *, insecure: bool) -> None:
    """Refuse to listen to other hosts without asking for tokens.

    Raises:
        ConfigError: says what to do.
    """
    if not insecure:
        return
    addresses = [_address(each) for each in sockets] or [host]
    for address in addresses:
        if not is_loopback(address):
            raise ConfigError(
                f"hub.host: {address or 'every address'} can be reached from other hosts, and no token is "
                "asked for: let the hub listen on 127.0.0.1, or start it without security.insecure"
            )


class Address(Protocol):
    """What the settings say."""

    @property
    def host(self) -> str:
        """To listen on."""

    @property
    def port(self) -> int:
        """To listen on."""


def unused_address(settings: Address, default: Address, sockets: list[socket.socket]) -> str:
    """The address that somebody has configured and that none of ``sockets`` listens on; else empty."""
    if (settings.host, settings.port) == (default.host, default.port):
        return ""
    for each in sockets:
        if each.family in (socket.AF_INET, socket.AF_INET6):
            host, port = each.getsockname()[:2]
            everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared
            same = host == settings.host or everywhere or settings.host in ("", default.host)
            if same and port == settings.port:
                return ""
    return f"{settings.host}:{settings.port}"


def _address(listening: socket.socket) -> str:
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return "localhost"  # a socket in the file system is of this host alone
    return str(listening.getsockname()[0])


def address_text(address: Any) -> str:
    """Of a socket: ``127.0.0.1:8000``, ``[::1]:8000``, or a path."""
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
