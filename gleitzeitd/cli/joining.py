"""How a host comes to work for another host's hub: what is fetched, proven, written and started again.

Nothing is written before the hub has let us in. Whose hub it is, is known from the fingerprint of its
authority, which comes with the token, by a way that nobody can change who sits between the two hosts.
"""

from __future__ import annotations

import asyncio
import grp
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gleitzeitd.cli.checks_host import configured
from gleitzeitd.cli.host import Unit, unit_of, units
from gleitzeitd.cli.placing import Placed
from gleitzeitd.config import DIRECTORY
from gleitzeitd.errors import ConfigError, HubUnreachable, MalformedData, NotAuthenticated, TlsFailed
from gleitzeitd.model.access import Grant
from gleitzeitd.model.certificate import same_host
from gleitzeitd.model.claims import grant_of, said_by
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.hub_tls import CA_PAGE
from gleitzeitd.runtime.keygen import CREDENTIAL
from gleitzeitd.runtime.security import GROUP, TOKEN_FILE, checked_token
from gleitzeitd.runtime.tls import Trust, certificates, client_context, trust_in
from gleitzeitd.runtime.tls_words import hub_problem

SECONDS = 10.0
"""For each of the hub's answers."""
DROP_IN = "50-joined.toml"
"""In the directory of drop-ins of every role."""
RESTART_SECONDS = 90.0
_CA_LIMIT = 65536
_MINE = "# Written by gleitzeit join, which writes it again when this host joins another hub.\n"
_LEFT_ALONE = {unit_of(Role.HUB.file_name), "gleitzeit-keygen.service", "gleitzeit.service"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFiles:
    """Where what joins is kept on a host."""

    directory: Path = DIRECTORY
    credential: Path = CREDENTIAL
    """The token of the daemons; their certificate and its key are beside it."""
    shared: Path = TOKEN_FILE
    """The token of the group."""
    group: str = GROUP

    @property
    def ca(self) -> Path:
        """Of the hub."""
        return self.directory / "ca.pem"

    @property
    def certificate(self) -> Path:
        """Ours."""
        return self.directory / "certificate.pem"

    @property
    def key(self) -> Path:
        """For the group, whose members show the same certificate."""
        return self.directory / "key.pem"

    @property
    def command(self) -> Path:
        """The settings of the command itself."""
        return self.directory / "joined.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A token, and what it says of itself."""

    text: str
    grant: Grant | None
    """None: a shared text of an earlier version."""
    authority: str
    """The fingerprint of the hub's authority; empty: it says none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A certificate of this host with its key, for hubs that ask for one."""

    certificate: Path
    key: Path


# --- what is given --------------------------------------------------------------------------------


def checked_url(url: str) -> str:
    """The address of a hub, without what does not belong to it.

    Raises:
        ConfigError: it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise ConfigError(f"URL: {url!r}: {problem}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(f"URL: expected an address like https://hub.example.org:8000, found {url!r}")
    if parts.path.strip("/") or parts.fragment:
        raise ConfigError(f"URL: {url!r}: nothing comes after the port")
    if port is None:
        raise ConfigError(f"URL: {url!r}: say the port too, as https://{parts.hostname}:8000")
    return f"{parts.scheme}://{parts.netloc}"


def ticket(text: str) -> Ticket:
    """What a token says of itself.

    Raises:
        ConfigError: it can be none.
        NotAuthenticated: it has expired.
    """
    text = checked_token(text.strip(), "the token")
    claims = said_by(text)
    if claims is None:
        return Ticket(text=text, grant=None, authority="")
    try:
        grant = grant_of(claims)
    except MalformedData as problem:
        raise ConfigError(f"the token: {problem}") from None
    if grant.expires is not None and grant.expires < time.time():
        raise NotAuthenticated(
            "the token has expired: gleitzeit token create, on the hub's host, makes another"
        )
    return Ticket(text=text, grant=grant, authority=fingerprint_of(claims.get("ca")))


def fingerprint_of(said: object) -> str:
    """In the form in which they are compared: 64 hex digits, without colons."""
    text = str(said or "").lower().removeprefix("sha256:").replace(":", "")
    return text if len(text) == hashlib.sha256().digest_size * 2 else ""


def authority_of(url: str, tickets: Sequence[Ticket]) -> str:
    """The fingerprint that the hub's authority has to have; empty for a hub without TLS.

    Raises:
        ConfigError: the tokens say none, or several, or the address does not go with them.
    """
    said = {each.authority for each in tickets if each.authority}
    if len(said) > 1:
        raise ConfigError("the tokens are of two systems: they name different CAs")
    if url.startswith("https:"):
        if not said:
            raise ConfigError(
                "the token has no fingerprint of the hub's CA, and so nobody knows whether this is the hub: "
                "make one that has, on the hub's host: gleitzeit token create --ca /etc/gleitzeit/tls/ca.pem"
            )
        return said.pop()
    if said:
        raise ConfigError(f"the token is for a hub that speaks TLS: use https://{url.partition('://')[2]}")
    return ""


def own_certificate(certificate: Path | None, key: Path | None, files: HostFiles) -> Shown | None:
    """That which is shown to the hub: the one given, or that with which this host has joined before.

    Raises:
        ConfigError: it cannot be used, or is not for this host.
    """
    if certificate is None and key is not None:
        raise ConfigError("--key: goes with --certificate")
    if certificate is None:
        former = Shown(certificate=files.certificate, key=files.key)
        return former if former.certificate.exists() and former.key.exists() else None
    shown = Shown(certificate=certificate, key=key or certificate)
    from gleitzeitd.cli.cert_making import described

    client_context(trust_in(str(shown.certificate), str(shown.key)).files)
    one, here = described(shown.certificate.read_bytes()), socket.gethostname()
    names = one.hosts or ([] if one.components else [one.subject])
    if not one.components and not any(same_host(name, here) for name in names):
        raise ConfigError(
            f"{certificate}: is for {', '.join(names)}, and this host is {here}: gleitzeit cert issue {here}"
        )
    return shown


# --- the hub --------------------------------------------------------------------------------------


def fetch_authority(url: str, fingerprint: str, shown: Shown | None) -> bytes:
    """The certificate of the hub's authority (PEM), and only that.

    Raises:
        TlsFailed: the hub has another, or there is no TLS with it.
        HubUnreachable: nobody answers.
        ConfigError: the hub does not show its authority.
    """
    where = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is the fingerprint that says whether it is the right one
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    connection = http.client.HTTPSConnection(
        str(where.hostname), where.port, timeout=SECONDS, context=context
    )
    try:
        connection.request("GET", CA_PAGE)
        answer = connection.getresponse()
        text = answer.read(_CA_LIMIT)
    except (OSError, http.client.HTTPException) as problem:
        failed = hub_problem(problem, url, None, shown.certificate if shown else None)
        raise failed or HubUnreachable(f"{url}: {_words(problem)}") from problem
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise ConfigError(
            f"{url}{CA_PAGE}: status {answer.status}: the hub does not show its CA; on its host, "
            "security.ca_file in hub.toml names it"
        )
    return _authority_in(text, fingerprint, url)


def _authority_in(text: bytes, fingerprint: str, url: str) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        found = {hashlib.sha256(der).hexdigest(): der for der in certificates(Path(file.name))}
    if fingerprint not in found:
        raise TlsFailed(
            f"{url}: its CA has the fingerprint {', '.join(found)}, and the token is for {fingerprint}: "
            "the hub has a new CA, and the token is older, or somebody is between this host and the hub"
        )
    return ssl.DER_cert_to_PEM_cert(found[fingerprint]).encode()


def _words(problem: Exception) -> str:
    if isinstance(problem, TimeoutError):
        return f"no answer within {SECONDS:g} s"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return str(problem) or type(problem).__name__


def prove(url: str, tickets: Sequence[Ticket], ca: bytes, shown: Shown | None) -> None:
    """Have the hub let us in with each of the tokens.

    Raises:
        NotAuthenticated, NotPermitted: it does not.
        HubUnreachable, TlsFailed: there is no connection to it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ca.pem"
        file.write_bytes(ca)
        trust = trust_in(
            str(shown.certificate) if shown else "", str(shown.key) if shown else "", str(file) if ca else ""
        )
        for each in tickets:
            asyncio.run(_let_in(url, each, trust))


async def _let_in(url: str, one: Ticket, trust: Trust) -> None:
    from gleitzeitd.runtime.socketio_client import SocketIo

    roles = sorted(role.value for role in one.grant.components) if one.grant is not None else []
    wire = SocketIo(SECONDS, trust)
    try:
        # It does not register: a component that does nothing would be given work.
        auth = {"token": one.text, "component_type": roles[0] if roles else Role.CLIENT.value}
        await wire.connect(url, auth, lambda *_: None, lambda _: None)
    finally:
        await wire.close()


# --- this host ------------------------------------------------------------------------------------


def files_to_write(
    url: str, tickets: Sequence[Ticket], ca: bytes, shown: Shown | None, files: HostFiles
) -> list[Placed]:
    """All that makes this host one that works for the hub.

    Raises:
        ConfigError: a file of ours cannot be read, or there is no group.
    """
    group_id = _group_id(files.group)
    made: list[Placed] = []
    security: dict[str, str] = {}
    if ca:
        made.append(Placed(path=files.ca, content=ca))
        security["ca_file"] = str(files.ca)
    if shown is not None:
        certificate, key = shown.certificate.read_bytes(), shown.key.read_bytes()
        beside = files.credential.parent
        made += [
            Placed(path=files.certificate, content=certificate),
            Placed(path=files.key, content=key, mode=0o640, group=group_id),
            Placed(path=beside / "gleitzeit.certificate", content=certificate, mode=0o600),
            Placed(path=beside / "gleitzeit.key", content=key, mode=0o600),
        ]
        security |= {"certificate_file": str(files.certificate), "key_file": str(files.key)}
    for path, text in places(tickets, files).items():
        private = path == files.credential
        made.append(
            Placed(
                path=path,
                content=f"{text}\n".encode(),
                mode=0o600 if private else 0o640,
                group=-1 if private else group_id,
            )
        )
    text = settings_text(url, security)
    made += [Placed(path=drop_in, content=text.encode()) for drop_in in drop_ins(files.directory)]
    return [*made, Placed(path=files.command, content=text.encode())]


def places(tickets: Sequence[Ticket], files: HostFiles) -> dict[Path, str]:
    """Where each token belongs: that for components to the daemons, that for users to the group.

    Raises:
        ConfigError: two of them belong to the same place.
    """
    found: dict[Path, str] = {}
    for each in tickets:
        wanted = [files.credential, files.shared]
        if each.grant is not None:
            # One for daemons is root's, whatever else it is for: the members of the group are none.
            wanted = [files.credential] if each.grant.components else [files.shared]
        for path in wanted:
            if path in found:
                raise ConfigError("the tokens are for the same: one is for daemons, and one for people")
            found[path] = each.text
    return found


def settings_text(url: str, security: dict[str, str]) -> str:
    """The drop-in of every role."""
    lines = [_MINE + "[connection]", f"hub_urls = [{json.dumps(url)}]"]
    if security:
        lines += ["", "[security]", *(f"{key} = {json.dumps(value)}" for key, value in security.items())]
    return "\n".join(lines) + "\n"


def drop_ins(directory: Path) -> list[Path]:
    """One for each role, engine and provider of this host that is a component."""
    return [
        Path(label).with_suffix(".d") / DROP_IN
        for role, _, label in configured(directory)
        if role != Role.HUB.file_name
    ]


def units_to_restart() -> list[Unit]:
    """Those of components that run here, or should."""
    return [
        unit
        for unit in units()
        if unit.name.endswith(".service")
        and unit.name not in _LEFT_ALONE
        and (unit.active in ("active", "activating", "reloading", "failed") or unit.enabled == "enabled")
    ]


def restart(names: Sequence[str]) -> str:
    """Why they could not be started again; empty if they were."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the names are those of units
            ["systemctl", "--no-pager", "restart", "--", *names],  # noqa: S607 - where PATH has it
            capture_output=True,
            text=True,
            timeout=RESTART_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return str(problem)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"systemctl ended with {done.returncode}")


def _group_id(name: str) -> int:
    if os.geteuid() != 0:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {name}: systemd-sysusers makes it") from None
