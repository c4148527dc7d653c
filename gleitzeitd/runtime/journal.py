"""Log records to where they are read: the journal with fields, a terminal with colours, or plain lines.

A record has a constant message; what varies is in its fields (``extra``). In the journal a field is
``GLEITZEIT_WORKFLOW=...``, to be asked for with ``journalctl``; in lines it is ``workflow_id=...``.
Payloads and tokens are never among them.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TextIO

from gleitzeitd.plain import Json

JOURNAL = "/run/systemd/journal/socket"
VALUE_LIMIT = 16 * 1024
"""Characters of one value; the rest is cut off."""

FIELDS = {
    "workflow_id": "GLEITZEIT_WORKFLOW",
    "task_id": "GLEITZEIT_TASK",
    "attempt": "GLEITZEIT_ATTEMPT",
    "role": "GLEITZEIT_ROLE",
    "component_id": "GLEITZEIT_COMPONENT",
    "correlation_id": "GLEITZEIT_CORRELATION",
    "event": "GLEITZEIT_EVENT",
    "error": "GLEITZEIT_ERROR",
}
"""Journal fields by key; every other key becomes ``GLEITZEIT_<KEY>``."""

_NAME = "gleitzeit"  # of our handler, to find it again
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What goes to the journal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important records that are written. LOG_LEVEL sets this too, and it can be changed with
    systemctl reload."""


def set_up(
    level: str,
    *,
    role: str = "",
    component_id: str = "",
    stream: TextIO | None = None,
    journal: str = JOURNAL,
) -> None:
    """Send all records of this process to the journal, if ``stream`` (standard error) is connected to it,
    and else to ``stream``. Repeating it replaces what was set up before.
    """
    stream = stream or sys.stderr
    handler: logging.Handler
    if under_journal(stream, os.environ):
        handler = JournalHandler({"role": role, "component_id": component_id}, stream, journal)
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_Terminal() if _is_coloured(stream) else _Plain())
    root = logging.getLogger()
    for old in list(root.handlers):
        if old.get_name() == _NAME:
            root.removeHandler(old)
            old.close()
    handler.set_name(_NAME)
    root.addHandler(handler)
    set_level(level)
    # At INFO these log what crosses the wire, tokens included.
    for name in ("socketio", "engineio", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """Change the level, ``debug`` to ``error``, while running."""
    logging.getLogger().setLevel(_LEVELS[level])


def note(role: str, level: str, message: str, fields: Mapping[str, Json]) -> None:
    """Write a record that a machine asks for."""
    logging.getLogger(f"gleitzeitd.machines.{role}").log(_LEVELS[level], message, extra=safe(fields))


def safe(fields: Mapping[str, Json]) -> dict[str, Json]:
    """``fields`` for ``extra``: a key that records have themselves gets an underscore behind it."""
    return {f"{key}_" if key in _OWN else key: value for key, value in fields.items()}


def fields_of(record: logging.LogRecord) -> dict[str, Json]:
    """What came as ``extra``, without what is empty."""
    found = record.__dict__.items()
    return {key: value for key, value in found if key not in _OWN and value not in (None, "")}


def under_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether ``stream`` is the one that systemd has connected to the journal."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class JournalHandler(logging.Handler):
    """Speaks the journal's own protocol, and where that fails, its lines with a priority."""

    def __init__(self, fixed: Mapping[str, Json], stream: TextIO, address: str = JOURNAL) -> None:
        """``fixed`` are fields of every record."""
        super().__init__()
        self._fixed = {key: value for key, value in fixed.items() if value}
        self._stream = stream
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            try:
                self._socket.sendto(datagram(record, self._fixed), self._address)
            except OSError:
                self._stream.write(prefixed(record))
                self._stream.flush()
        except Exception:  # noqa: BLE001 - what logging prescribes: a record never breaks its writer
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def datagram(record: logging.LogRecord, fixed: Mapping[str, Json]) -> bytes:
    """The record in the journal's native protocol: ``KEY=value``, or a length and several lines."""
    values: dict[str, Json] = {
        "MESSAGE": _with_traceback(record),
        "PRIORITY": _priority(record),
        "SYSLOG_IDENTIFIER": "gleitzeitd",
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
    }
    for key, value in {**fixed, **fields_of(record)}.items():
        name = FIELDS.get(key) or "GLEITZEIT_" + "".join(c if c.isalnum() else "_" for c in key.upper())
        values[name] = value if isinstance(value, str) else _text(value)
    out = bytearray()
    for name, value in values.items():
        data = str(value)[:VALUE_LIMIT].encode("utf-8", "replace")
        if b"\n" in data:
            out += name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
        else:
            out += name.encode() + b"=" + data + b"\n"
    return bytes(out)


def prefixed(record: logging.LogRecord) -> str:
    """The record as lines for standard error, each with its priority (sd-daemon(3))."""
    text = _with_traceback(record, _pairs(record))
    return "".join(f"<{_priority(record)}>{line}\n" for line in text.splitlines())


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, "%Y-%m-%d %H:%M:%S")
        return f"{time} {record.levelname.lower()}: {_with_traceback(record, _pairs(record))}"


class _Terminal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        colour = _COLOURS.get(record.levelno, "0")
        pairs = _pairs(record)
        shown = _with_traceback(record, f"\x1b[0;2m{pairs}\x1b[0m" if pairs else "")
        return f"\x1b[2m{time}\x1b[0m \x1b[{colour}m{shown}\x1b[0m"


def _is_coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _pairs(record: logging.LogRecord) -> str:
    return "".join(f" {key}={_text(value)}" for key, value in fields_of(record).items())


def _text(value: Json) -> str:
    """A value on one line; quoted where it would not read as one word."""
    if isinstance(value, str) and value.isprintable() and not set(value) & set(" \"'="):
        return value[:VALUE_LIMIT]
    return json.dumps(value, ensure_ascii=False, default=str)[:VALUE_LIMIT]


def _with_traceback(record: logging.LogRecord, after: str = "") -> str:
    text = record.getMessage() + after
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    if record.stack_info:
        text += "\n" + record.stack_info
    return text


def _priority(record: logging.LogRecord) -> int:
    return _PRIORITIES.get(record.levelno, 6)
