"""One entry for the journal, of a process whose output goes elsewhere: a command's."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")


def write_entry(fields: Mapping[str, str], path: Path = SOCKET) -> bool:
    """Hand it over in the journal's own protocol (systemd's JOURNAL_NATIVE_PROTOCOL), a line for each field;
    False if there is no journal. A value's line breaks become blanks.
    """
    text = "".join(f"{key}={' '.join(value.splitlines())}\n" for key, value in fields.items() if value)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.settimeout(1.0)
            sending.sendto(text.encode("utf-8", "replace"), str(path))
    except OSError:
        return False
    return True
