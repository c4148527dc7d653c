"""What a hub does with TLS: where it listens, whose a peer's certificate is, and its CA for who joins."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from aiohttp import web

from gleitzeitd.errors import ConfigError
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.trace import Counts
from gleitzeitd.model.access import Grant
from gleitzeitd.model.certificate import holder
from gleitzeitd.runtime.security import SecuritySettings
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tls import Credentials, peer_certificate, speaks_tls
from gleitzeitd.runtime.tls_listener import ListenerContext, TlsListener, bound_sockets

log = logging.getLogger(__name__)

CA_PAGE = "/ca.pem"
"""Where a hub shows the certificate of its CA. Whoever fetches it has to know its fingerprint."""
_WARNINGS = 200  # in all, one per address and cause


class Listening(Protocol):
    """A listener, of TLS or not."""

    @property
    def sockets(self) -> Sequence[Any]:
        """On which it listens."""

    def close(self) -> None:
        """Take no more connections."""


def credentials_of(
    settings: Settings, security: SecuritySettings, environment: Mapping[str, str]
) -> Credentials | None:
    """The hub's certificate, if it has one.

    Raises:
        ConfigError: a file cannot be used, or peers are asked for theirs without that.
    """
    if speaks_tls(security, environment):
        return Credentials(security, environment, settings.client_certificates, ListenerContext)
    if settings.client_certificates != "off":
        raise ConfigError(
            f"hub.client_certificates: {settings.client_certificates} takes TLS, and the hub has no "
            "certificate (security.certificate_file)"
        )
    return None


def listen_with_tls(
    credentials: Credentials,
    settings: Callable[[], Settings],
    counts: Counts,
    tasks: Tasks,
    protocol: Any,
    inherited: list[socket.socket],
    backlog: int,
) -> TlsListener:
    """Listen on systemd's sockets, or else on the address in the settings.

    Raises:
        OSError: an address is in use, or not of this host.
    """
    told: set[str] = set()

    def refused(address: str, why: str) -> None:
        counts.refused["tls"] += 1
        if (cause := f"{address} {why}") not in told and len(told) < _WARNINGS:
            told.add(cause)
            log.warning("a TLS connection was refused", extra={"address": address, "reason": why})

    now = settings()
    listener = TlsListener(
        inherited or bound_sockets(now.host, now.port),
        protocol,
        lambda: credentials.context,
        handshake_seconds=lambda: settings().register_within,
        most_handshakes=lambda: settings().max_unregistered,
        on_refused=refused,
    )
    listener.start(tasks, backlog)
    return listener


def certified(grant: Grant, request: web.Request) -> Grant:
    """The same, with whom the certificate is for that the peer has shown, if it has shown one."""
    shown = peer_certificate(request.transport)
    return grant if shown is None else replace(grant, holder=holder(shown))


def ca_page(credentials: Credentials) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The page with the CA's certificate."""

    async def page(_: web.Request) -> web.Response:
        found = credentials.ca()
        if found is None:
            raise web.HTTPNotFound(text="this hub has no security.ca_file\n")
        return web.Response(body=found, content_type="application/x-pem-file")

    return page
