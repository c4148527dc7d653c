"""Who this process is to the hubs."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gleitzeitd import __version__
from gleitzeitd.errors import ConfigError
from gleitzeitd.machines.link import Identity
from gleitzeitd.model.names import NAME_LIMIT, ComponentId, Role, is_identifier


def make_identity(role: Role, component_id: str = "", *, label: str = "", unit: str = "") -> Identity:
    """The identity of a component that starts now.

    Args:
        role: its role.
        component_id: as configured; if empty, one is made of ``label`` (or the role), the host, and chance.
        label: what to call it, where the role's name says too little: ``provider-python``.
        unit: the unit of systemd whose process this is. There is one such process on a host, so that its
            name is made of the unit and the host, and is the same after a restart.

    Raises:
        ConfigError: ``component_id`` is no identifier.
    """
    if component_id and not is_identifier(component_id):
        raise ConfigError(
            f"connection.component_id: expected letters, digits and . _ - : @, at most {NAME_LIMIT} of them, "
            f"found {component_id!r}"
        )
    hostname = socket.gethostname()
    return Identity(
        component_id=ComponentId(
            component_id
            or (_of_unit(unit, hostname) if unit else _made_up(label or role.file_name, hostname))
        ),
        role=role,
        # Grows with every start, as far as the clock does not go back; then the hub keeps the older one
        # until its heartbeats end.
        epoch=time.time_ns(),
        version=__version__,
        hostname=hostname,
        process_id=os.getpid(),
    )


def client_identity(name: str) -> Identity:
    """That of a client which its user calls so."""
    return Identity(
        component_id=ComponentId(f"{name}-{secrets.token_hex(4)}"),
        role=Role.CLIENT,
        epoch=int(time.time()),
        version=__version__,
        hostname=socket.gethostname(),
        process_id=os.getpid(),
    )


def own_unit(environment: Mapping[str, str], control_group: Path = Path("/proc/self/cgroup")) -> str:
    """The unit of systemd whose main process this is, without its suffix; empty if it is none's.

    A shell that is started in a unit inherits the variables of its daemon, and is not meant.
    """
    if environment.get("SYSTEMD_EXEC_PID") != str(os.getpid()):
        return ""
    with suppress(OSError):
        for line in control_group.read_text(encoding="utf-8").splitlines():
            name = line.rpartition("/")[2]
            if name.endswith(".service"):
                return name.removesuffix(".service")
    return ""


def _of_unit(unit: str, hostname: str) -> str:
    label = re.sub(r"[^A-Za-z0-9._-]", "-", unit.removeprefix("gleitzeit-"))[:100]
    # Hosts made from one image may have one name; to two components with one id the hub would be unkind.
    return f"{label}-{_host(hostname)}-{_mark(hostname)}"


def _mark(hostname: str, file: Path = Path("/etc/machine-id")) -> str:
    """Four digits that differ between hosts, and stay. The machine's id itself is not to be shown."""
    machine = hostname
    with suppress(OSError, UnicodeDecodeError):
        machine = file.read_text(encoding="ascii").strip()
    return hashlib.sha256(f"gleitzeit component {machine}".encode()).hexdigest()[:4]


def _made_up(label: str, hostname: str) -> str:
    return f"{label}-{_host(hostname)}-{secrets.token_hex(3)}"


def _host(hostname: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", hostname.partition(".")[0])[:60] or "host"
