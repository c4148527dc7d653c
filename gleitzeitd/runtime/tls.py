"""Encrypted connections: which files they are made with, and what is said when they do not come about.

Files are looked for as systemd's credentials first, then where the settings say. Those are a snapshot of the
start, so that after a reload it is the other way round, as far as we may read the files. Contexts are made
when they are needed first, and again after a reload; connections that exist keep what they began with.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.certificate import validity
from gleitzeitd.runtime.security import SecuritySettings

log = logging.getLogger(__name__)

CREDENTIALS = ("certificate", "key", "ca")
"""Names of systemd's credentials."""
WARN_SECONDS = 14 * 86400.0
"""So long before a certificate expires it is worth a warning."""
FILE_LIMIT = 2**20
"""Bytes of a file with certificates, or with a key."""
ClientCertificates = Literal["off", "optional", "required"]
_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where certificates are; None: there is none."""

    certificate: Path | None = None
    key: Path | None = None
    """None with a certificate: it is in the same file."""
    ca: Path | None = None
    credentials: frozenset[Path] = frozenset()
    """Those of them that systemd has handed over; their modes are its business."""


def find_files(settings: SecuritySettings, environment: Mapping[str, str], *, again: bool = False) -> Files:
    """The files to use; after a reload (``again``) those of the settings come first, if we may read them."""
    said = {
        "certificate": settings.certificate_file,
        "key": settings.key_file,
        "ca": settings.ca_file,
    }
    given = {name: _credential(name, environment) for name in CREDENTIALS}
    set_up = {name: Path(text) if text else None for name, text in said.items()}
    # A certificate and its key belong together, and are from the same place.
    pair_again = again and _readable(set_up["certificate"]) and (not said["key"] or _readable(set_up["key"]))
    pair = set_up if pair_again or given["certificate"] is None else given
    first = set_up["ca"] if given["ca"] is None or (again and _readable(set_up["ca"])) else given["ca"]
    chosen = (pair["certificate"], pair["key"], first)
    handed = frozenset(path for path in given.values() if path is not None and path in chosen)
    return Files(certificate=chosen[0], key=chosen[1], ca=first, credentials=handed)


def _credential(name: str, environment: Mapping[str, str]) -> Path | None:
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        return None
    path = Path(directory) / name
    try:
        return path if path.exists() else None
    except PermissionError:  # commands of ExecReload= may not look into it
        return None


def hides_credentials(environment: Mapping[str, str]) -> bool:
    """Whether systemd has handed over credentials that we may not look into, as commands of ExecReload=."""
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    return bool(directory) and not os.access(directory, os.R_OK | os.X_OK)


def _readable(path: Path | None) -> bool:
    return path is not None and os.access(path, os.R_OK)


# --- contexts -------------------------------------------------------------------------------------


def server_context(
    files: Files, ask: ClientCertificates, kind: type[ssl.SSLContext] = ssl.SSLContext
) -> ssl.SSLContext:
    """For a hub; every connection is checked anew, so that none is resumed.

    Raises:
        ConfigError: a file cannot be used; the message names it.
    """
    if files.certificate is None:
        raise ConfigError("security.certificate_file: a hub that speaks TLS needs one")
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_pair(context, files)
    if ask != "off":
        if files.ca is None:
            raise ConfigError(
                f"hub.client_certificates: {ask} takes the CA that they have to be of: security.ca_file"
            )
        _load_ca(context, files.ca)
        context.verify_mode = ssl.CERT_REQUIRED if ask == "required" else ssl.CERT_OPTIONAL
    elif files.ca is not None:
        certificates(files.ca)  # it is shown to those who join
    return context


def client_context(files: Files) -> ssl.SSLContext:
    """For a component.

    Raises:
        ConfigError: a file cannot be used; the message names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca is None:
        context.load_default_certs()
    else:
        _load_ca(context, files.ca)
    if files.certificate is not None:
        _load_pair(context, files)
    return context


def _load_ca(context: ssl.SSLContext, file: Path) -> None:
    certificates(file)
    try:
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError) as problem:
        raise ConfigError(f"{file}: cannot be used as CA: {_reason(problem)}") from problem


def _load_pair(context: ssl.SSLContext, files: Files) -> None:
    assert files.certificate is not None
    certificates(files.certificate)
    key = files.key or files.certificate
    text = _read(key, "private key")
    if b"PRIVATE KEY-----" not in text:
        hint = "" if files.key else ": security.key_file names that with the key"
        raise ConfigError(f"{key}: holds no private key in PEM form{hint}")
    if b"ENCRYPTED" in text:
        raise ConfigError(f"{key}: the key is encrypted, and nobody is there to type its passphrase")
    try:
        context.load_cert_chain(files.certificate, key, password=lambda: "")
    except ssl.SSLError as problem:
        if problem.reason == "KEY_VALUES_MISMATCH" or "MISMATCH" in (problem.reason or ""):
            raise ConfigError(
                f"{key}: the key is not that of the certificate {files.certificate}"
            ) from problem
        raise ConfigError(f"{files.certificate} and {key}: cannot be used: {_reason(problem)}") from problem
    except OSError as problem:
        raise ConfigError(f"{files.certificate} and {key}: {problem.strerror}") from problem


def certificates(file: Path) -> list[bytes]:
    """The certificates in a file, in DER form; at least one.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    text = _read(file, "certificate")
    found = []
    for part in text.split(_BEGIN)[1:]:
        try:
            found.append(
                ssl.PEM_cert_to_DER_cert(
                    (
                        _BEGIN
                        + part.partition(b"-----END CERTIFICATE-----")[0]
                        + b"-----END CERTIFICATE-----"
                    ).decode("ascii")
                )
            )
            validity(found[-1])
        except ValueError:
            raise ConfigError(f"{file}: holds a certificate that is damaged") from None
    if not found:
        raise ConfigError(f"{file}: holds no certificate in PEM form")
    return found


def _read(file: Path, what: str) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_LIMIT)
    except OSError as problem:
        raise ConfigError(f"{file}: the {what} cannot be read: {problem.strerror}") from problem


def _reason(problem: Exception) -> str:
    reason = getattr(problem, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(problem)


# --- what is used, and read again -------------------------------------------------------------------


class Trust:
    """A component's side: what it takes hubs' certificates by, and shows of its own."""

    def __init__(self, settings: SecuritySettings, environment: Mapping[str, str]) -> None:
        """Looks at nothing; the files are read with the first connection that needs them."""
        self._settings = settings
        self._environment = environment
        self._context: ssl.SSLContext | None = None
        self.files = find_files(settings, environment)

    def context(self, url: str) -> ssl.SSLContext | None:
        """For a connection to a hub; None if its address does not ask for one.

        Raises:
            ConfigError: a file cannot be used.
        """
        if not is_secure(url):
            return None
        if self._context is None:
            self._context = client_context(self.files)
            report(self.files)
        return self._context

    def read_again(self) -> None:
        """Use what is in the files now, from the next connection on; say what is wrong with them."""
        before, had = self.files, self._context
        self.files = find_files(self._settings, self._environment, again=True)
        self._context = None
        if had is not None:
            try:
                self._context = client_context(self.files)
                report(self.files)
            except ConfigError as problem:
                self.files, self._context = before, had
                log.error("certificates cannot be used; the former ones stay", extra={"error": problem})


class Credentials:
    """A hub's side: its certificate, and the CA of others'."""

    def __init__(
        self,
        settings: SecuritySettings,
        environment: Mapping[str, str],
        ask: ClientCertificates,
        kind: type[ssl.SSLContext] = ssl.SSLContext,
    ) -> None:
        """Raises ConfigError if the files cannot be used."""
        self._settings = settings
        self._environment = environment
        self._ask = ask
        self._kind = kind
        self.files = find_files(settings, environment)
        self.context = server_context(self.files, ask, kind)
        report(self.files)

    def ca(self) -> bytes | None:
        """The file of the CA, as it is now; None if there is none."""
        return None if self.files.ca is None else _read(self.files.ca, "certificate")

    def read_again(self) -> None:
        """New connections get what is in the files now; if that cannot be used, what they got before."""
        files = find_files(self._settings, self._environment, again=True)
        try:
            self.context = server_context(files, self._ask, self._kind)
        except ConfigError as problem:
            log.error("certificates cannot be used; the former ones stay", extra={"error": problem})
            return
        self.files = files
        report(files)


def speaks_tls(settings: SecuritySettings, environment: Mapping[str, str]) -> bool:
    """Whether a hub with these settings has a certificate to show."""
    return find_files(settings, environment).certificate is not None


def is_secure(url: str) -> bool:
    """Whether an address of a hub is one of TLS."""
    return url.partition("://")[0] in ("https", "wss")


def trust_in(certificate: str = "", key: str = "", ca: str = "") -> Trust:
    """Of somebody who names the files himself."""
    settings = replace(SecuritySettings(), certificate_file=certificate, key_file=key, ca_file=ca)
    return Trust(settings, {})


def report(files: Files) -> None:
    """Say in the journal what should be mended soon."""
    for weakness in weaknesses(files, time.time()):
        log.warning("a certificate needs looking after", extra={"problem": weakness})


def weaknesses(files: Files, now: float) -> Iterator[str]:
    """What works, or once did, and should not stay so. ``now`` is in seconds since 1970.

    Raises:
        ConfigError: a file cannot be read.
    """
    for file in (files.certificate, files.ca):
        if file is None:
            continue
        for begins, ends in map(validity, certificates(file)[:1]):
            if ends < now:
                yield f"{file}: has expired, on {day(ends)}: gleitzeit cert renew"
            elif ends - now < WARN_SECONDS:
                yield f"{file}: expires on {day(ends)}: gleitzeit cert renew"
            if begins > now:
                yield f"{file}: is not valid before {day(begins)}: is the clock of this host right?"
    key = files.key or files.certificate
    if key is not None and key not in files.credentials:
        yield from _exposed(key)


def _exposed(key: Path) -> Iterator[str]:
    found = key.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o007:
        yield f"{key}: the private key is open to every user of this host ({mode:04o}): chmod o= {key}"
    elif mode & 0o020:
        yield f"{key}: the private key can be changed by its group ({mode:04o}): chmod g-w {key}"
    if found.st_uid not in (0, os.geteuid()):
        yield f"{key}: the private key belongs to another user (uid {found.st_uid}): chown root {key}"


def day(seconds: float) -> str:
    """As people write it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def peer_certificate(transport: Any) -> Mapping[str, Any] | None:
    """What the other end of a connection has shown; None if it has shown none."""
    found = None if transport is None else transport.get_extra_info("peercert")
    return found or None
