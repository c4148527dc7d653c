"""An authority of our own, and certificates that it vouches for; made with openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        self._key = directory / "ca.key"
        self._openssl("req", "-x509", *_NEW_KEY, "-subj", "/CN=test authority", "-days", "2",
                      "-keyout", self._key, "-out", self.file)  # fmt: skip

    def certificate(self, name: str, address: str = "") -> Pair:
        """For a server or a client of this name."""
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        names = f"subjectAltName=DNS:{name}" + (f",IP:{address}" if address else "")
        self._openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-addext", names, "-days", "2",
                      "-addext", "basicConstraints=critical,CA:FALSE",
                      "-CA", self.file, "-CAkey", self._key, "-keyout", pair.key, "-out", pair.certificate)  # fmt: skip
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

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
