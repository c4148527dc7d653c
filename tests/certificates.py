"""An authority of our own, and certificates that it vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gleitzeitd.cli.cert_making import Made, Names, make_authority, make_certificate


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """Keeps its files in ``directory``."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.file = directory / "ca.pem"
        self._made = make_authority("test authority", 2)
        self.file.write_bytes(self._made.certificate)

    def certificate(
        self,
        name: str,
        address: str = "",
        *,
        hosts: Sequence[str] | None = None,
        components: Sequence[str] = (),
        days_ago: float = 0.0,
        into: str = "",
    ) -> Pair:
        """For a server or a client of this name. It is valid for two days; ``days_ago`` is when it was made.
        ``into`` is what its files are called, if not as it is.
        """
        names = Names(
            hosts=[name] if hosts is None else hosts,
            addresses=[address] if address else [],
            components=components,
        )
        now = datetime.now(UTC) - timedelta(days=days_ago)
        return self._write(into or name, make_certificate(self._made, name, names, 2, now))

    def _write(self, name: str, made: Made) -> Pair:
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.certificate.write_bytes(made.certificate)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(made.key)
        return pair

    def grpc_server(self, name: str, *, ask: bool = True) -> Any:
        """Credentials of a gRPC server; it wants to see a client's certificate if it is to ask."""
        import grpc

        pair = self.certificate(name)
        chain = [(pair.key.read_bytes(), pair.certificate.read_bytes())]
        return grpc.ssl_server_credentials(chain, self.file.read_bytes() if ask else None, ask)

    def server_context(self, name: str, address: str = "", *, ask: bool = False) -> ssl.SSLContext:
        """The same for other servers."""
        pair = self.certificate(name, address)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        if ask:
            context.load_verify_locations(self.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
