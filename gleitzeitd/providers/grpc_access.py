"""Which gRPC servers may be called, and how they are reached.

A task names a server of the settings, or an address. An address has to fit one of the patterns in
``targets``; those that are shipped are this host's own. Patterns are compared with what the task wrote,
before any name is looked up. Secrets are read from systemd credentials or files when the provider starts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from gleitzeitd.bounds import sized
from gleitzeitd.errors import ConfigError, ExecutionFailed, MalformedData, ParameterInvalid
from gleitzeitd.plain import did_you_mean
from gleitzeitd.providers.credentials import bytes_of, text_of

METADATA_KEY = re.compile(r"[0-9a-z_.-]{1,200}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One server: ``[[provider.servers]]``. Names of credentials may also be absolute paths of files."""

    name: str = sized("", most=100)
    """What tasks write as ``target``; its address will do as well."""
    target: str = ""
    """``host:port``, or ``unix:/path``."""
    tls: bool = False
    """Whether the connection is encrypted and the server has to prove who it is."""
    ca: str = ""
    """Credential with the authorities that may vouch for it; else those of the provider."""
    certificate: str = ""
    """Credential with the certificate of this client, and those between it and the authority."""
    key: str = ""
    """Credential with the private key of the certificate."""
    server_name: str = sized("", most=253)
    """The name that its certificate has to bear, if it is not the host of ``target``."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Sent with each call: from the name to the credential with the value, as in
    ``authorization = "office.token"``."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        if not _NAME.fullmatch(self.name):
            raise MalformedData("name", f"expected letters, digits, -, _ and ., found {self.name!r}")
        if not self.target.startswith("unix:/") and parsed(self.target) is None:
            raise MalformedData("target", f"expected host:port or unix:/path, found {self.target!r}")
        if bool(self.certificate) != bool(self.key):
            raise MalformedData("key", "certificate and key go together")
        if not self.tls and (self.ca or self.certificate or self.server_name):
            raise MalformedData("tls", "ca, certificate, key and server_name need tls = true")
        for name in self.metadata:
            if problem := metadata_problem(name):
                raise MalformedData(f"metadata.{name}", problem)


class Address(NamedTuple):
    """A host, in lower case and without brackets, and a port."""

    host: str
    port: int

    def dialled(self) -> str:
        """As gRPC wants it: nothing but a name or an address, whatever it looks like."""
        return f"ipv6:[{self.host}]:{self.port}" if ":" in self.host else f"dns:///{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that may be called."""

    shown: str
    """In messages and results."""
    dialled: str
    tls: bool = False
    ca: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    server_name: str = ""
    metadata: tuple[tuple[str, str | bytes], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """The values of its metadata, as they were read."""


class Servers:
    """Those of the settings, and those that patterns admit."""

    def __init__(
        self, targets: list[str], configured: list[ServerSettings], ca: str, environment: Mapping[str, str]
    ) -> None:
        """Raises ConfigError: a credential is not there."""
        self._patterns = targets
        self._ca = ca
        self._environment = environment
        self._by_name: dict[str, Server] = {}
        for one in configured:
            server = self._made(one)
            self._by_name[one.name] = server
            self._by_name[str(parsed(one.target) or one.target)] = server

    @property
    def secrets(self) -> list[str]:
        """What no result and no message may show."""
        return [secret for server in self._by_name.values() for secret in server.secrets]

    def find(self, target: str, tls: bool) -> Server:
        """The server that a task names.

        Raises:
            ParameterInvalid: it is none, or none that may be called.
            ExecutionFailed: there are no authorities to check its certificate with.
        """
        address = parsed(target)
        if known := self._by_name.get(str(address or target)):
            return known
        if address is None:
            hint = did_you_mean(target, self._by_name)
            raise ParameterInvalid(f"target {target!r}: expected host:port{hint}")
        if not any(admits(pattern, address) for pattern in self._patterns):
            allowed = ", ".join(self._patterns) or "those of provider.servers alone"
            raise ParameterInvalid(
                f"target {address}: is not among the servers that this provider may call "
                f"(provider.targets: {allowed})"
            )
        try:
            ca = bytes_of(self._ca, self._environment, "provider.ca") if tls and self._ca else None
        except ConfigError as problem:
            raise ExecutionFailed(str(problem), retryable=False) from problem
        return Server(str(address), address.dialled(), tls, ca)

    def _made(self, one: ServerSettings) -> Server:
        def read(name: str, key: str) -> bytes | None:
            return bytes_of(name, self._environment, f"provider.servers {one.name}: {key}") if name else None

        address = parsed(one.target)
        secrets = {
            name: text_of(source, self._environment, f"provider.servers {one.name}: metadata.{name}")
            for name, source in one.metadata.items()
        }
        try:
            metadata = tuple(sent(name, secret) for name, secret in secrets.items())
        except ParameterInvalid as problem:
            raise ConfigError(f"provider.servers {one.name}: {problem}") from None
        return Server(
            one.name,
            address.dialled() if address else one.target,
            one.tls,
            read(one.ca or self._ca, "ca") if one.tls else None,
            read(one.certificate, "certificate"),
            read(one.key, "key"),
            one.server_name,
            metadata,
            tuple(secrets.values()),
        )


def parsed(target: str) -> Address | None:
    """The address that ``host:port`` or ``[ipv6]:port`` is."""
    host, _, port = target.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        return None
    if not _HOST.fullmatch(host) and not _IPV6.fullmatch(host):
        return None
    return Address(host.strip("[]").lower(), int(port))


def admits(pattern: str, address: Address) -> bool:
    """Whether ``host:port`` fits; in both, ``*`` stands for any characters."""
    host, _, port = pattern.rpartition(":")
    return fnmatchcase(address.host, host.strip("[]").lower()) and fnmatchcase(str(address.port), port)


def pattern_problem(pattern: str) -> str | None:
    """Why ``pattern`` is none."""
    host, colon, port = pattern.rpartition(":")
    if not colon or not host or not re.fullmatch(r"\*|\d{1,5}", port):
        return f"expected host:port, in which * stands for anything, found {pattern!r}"
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        return f"expected an IPv6 address in brackets, found {pattern!r}"
    return None


def metadata_problem(name: str) -> str | None:
    """Why this cannot be the name of a piece of metadata that a caller sends."""
    if not METADATA_KEY.fullmatch(name):
        return "expected lower-case letters, digits, -, _ and ."
    return "names that begin with grpc- are gRPC's own" if name.startswith("grpc-") else None


def sent(name: str, value: str) -> tuple[str, str | bytes]:
    """A piece of metadata as gRPC takes it: what ends with -bin is bytes, written in base64.

    Raises:
        ParameterInvalid: it cannot be sent.
    """
    name = name.lower()
    if problem := metadata_problem(name):
        raise ParameterInvalid(f"metadata {name!r}: {problem}")
    if name.endswith("-bin"):
        try:
            return name, base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
        except ValueError:
            raise ParameterInvalid(
                f"metadata {name!r}: expected base64, as its name ends with -bin"
            ) from None
    if not (value.isascii() and (value.isprintable() or not value)):
        raise ParameterInvalid(f"metadata {name!r}: expected one line of ASCII")
    return name, value
