"""Who this process is to the hubs."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time

from gleitzeitd import __version__
from gleitzeitd.errors import ConfigError
from gleitzeitd.machines.link import Identity
from gleitzeitd.model.names import NAME_LIMIT, ComponentId, Role, is_identifier


def make_identity(role: Role, component_id: str = "", *, label: str = "") -> Identity:
    """The identity of a component that starts now.

    Args:
        role: its role.
        component_id: as configured; if empty, one is made of ``label`` (or the role), the host, and chance.
        label: what to call it, where the role's name says too little: ``provider-python``.

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
        component_id=ComponentId(component_id or _made_up(label or role.file_name, hostname)),
        role=role,
        # Grows with every start, as far as the clock does not go back; then the hub keeps the older one
        # until its heartbeats end.
        epoch=time.time_ns(),
        version=__version__,
        hostname=hostname,
        process_id=os.getpid(),
    )


def _made_up(label: str, hostname: str) -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", hostname.partition(".")[0])[:60] or "host"
    return f"{label}-{host}-{secrets.token_hex(3)}"
