"""The same server as streamable HTTP. Import it after ``require_sdk``.

Whoever reaches the address can call the tools. So it is one of this host only, unless a token is demanded,
which comes as ``Authorization: Bearer``. Web pages are refused in any case: they send an ``Origin``.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from gleitzeitd.errors import ConfigError, NotAuthenticated
from gleitzeitd.runtime.tasks import Tasks

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/mcp"
STOP_SECONDS = 2
"""How long calls that are being answered may take when the server ends."""

_ADDRESS = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\s]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Address:
        """From ``HOST:PORT``; port 0 is any free one.

        Raises:
            ConfigError: it is none.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found["port"]) > 65535:
            raise ConfigError(f"--http: expected HOST:PORT, as 127.0.0.1:8080, found {text!r}")
        return cls(host=found["six"] or found["host"], port=int(found["port"]))

    def is_local(self) -> bool:
        """Whether only this host can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def listen(self) -> socket.socket:
        """A socket that listens there.

        Raises:
            ConfigError: that cannot be.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), family=family)
        except OSError as problem:
            raise ConfigError(f"--http {self.host}:{self.port}: {problem.strerror or problem}") from problem


def check_address(address: Address, token: str | None) -> None:
    """Refuse to serve everybody.

    Raises:
        ConfigError: others can reach it, and no token is demanded.
    """
    if not address.is_local() and token is None:
        raise ConfigError(
            f"--http {address.host}:{address.port} is open to other hosts, which could call every tool: "
            "demand a token with --http-token-file FILE, or listen on 127.0.0.1"
        )


async def serve_http(
    server: Server[Any], address: Address, token: str | None, ready: Callable[[str], None]
) -> None:
    """Serve until cancelled; ``ready`` is told the URL.

    Raises:
        ConfigError: the address cannot be had, or is open to others without a token.
    """
    check_address(address, token)
    with address.listen() as listening:
        port = listening.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        local = [f"{name}:{port}" for name in {host, "127.0.0.1", "localhost", "[::1]"}]
        app: ASGIApp = server.streamable_http_app(
            streamable_http_path=PATH,
            host=address.host,
            transport_security=TransportSecuritySettings(
                # Beyond this host the names by which it is known are not; there, the token is what counts.
                enable_dns_rebinding_protection=address.is_local(),
                allowed_hosts=local,
                allowed_origins=[],
            ),
        )
        running = _Uvicorn(
            uvicorn.Config(
                _Gate(app, token),
                log_config=None,
                access_log=False,
                lifespan="on",
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        ready(f"http://{host}:{port}{PATH}")
        tasks = Tasks()
        serving = tasks.spawn(running.serve(sockets=[listening]), name="http")
        try:
            await asyncio.shield(serving)
        finally:
            running.should_exit = True
            await asyncio.wait({serving}, timeout=2 * STOP_SECONDS)
            await tasks.cancel()


class _Uvicorn(uvicorn.Server):
    """Without a say in what signals do: that is the command's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _Gate:
    """Lets in who has the token, if there is one, and is no web page."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "origin" in headers:
                refusal = JSONResponse({"error": "web pages are not served"}, 403)
                return await refusal(scope, receive, send)
            if not self._is_welcome(headers.get("authorization", "")):
                error = {"code": NotAuthenticated.code, "name": NotAuthenticated.name}
                refusal = JSONResponse({"error": error}, 401, {"WWW-Authenticate": "Bearer"})
                return await refusal(scope, receive, send)
        return await self._app(scope, receive, send)

    def _is_welcome(self, authorization: str) -> bool:
        if self._token is None:
            return True
        kind, _, given = authorization.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode())
