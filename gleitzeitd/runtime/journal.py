"""Log records to where they are read: the journal with fields, a terminal with colours, or plain lines.

A record has a constant message; what varies is in its fields (``extra``), and stands behind the message as
``key=value`` for whoever reads. In the journal a field is ``GLEITZEIT_WORKFLOW=...``, to be asked for with
``journalctl``. An ``error`` becomes its name, number and reason, and the MESSAGE_ID of its explanation.
Payloads and tokens are never among the fields.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Literal, TextIO

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import ErrorInfo, GleitzeitError
from gleitzeitd.model.explanation import MESSAGE_IDS, RECORD_IDS
from gleitzeitd.plain import Json
from gleitzeitd.runtime.moderation import OUTPUT, Moderation

VALUE_LIMIT = 16 * 1024
"""Characters of one value; the rest is cut off."""
NOTICE = 25
"""Between information and warning: what is normal, and worth a look."""

FIELDS = {
    "workflow_id": "GLEITZEIT_WORKFLOW",
    "task_id": "GLEITZEIT_TASK",
    "attempt": "GLEITZEIT_ATTEMPT",
    "role": "GLEITZEIT_ROLE",
    "component_id": "GLEITZEIT_COMPONENT",
    "correlation_id": "GLEITZEIT_CORRELATION",
    "caused_by": "GLEITZEIT_EVENT",  # unless the record is about another one, which then counts
    "event": "GLEITZEIT_EVENT",
    "error": "GLEITZEIT_ERROR",
}
"""Journal fields by key; every other key becomes ``GLEITZEIT_<KEY>``."""

Send = Callable[..., object]
"""``systemd.journal.send``: MESSAGE, CODE_LINE as int, all else as text or None."""

_NAME = "gleitzeit"  # of our handler, to find it again
_COLOURS = {"DEBUG": "2", "NOTICE": "1", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
_LEVELS["notice"] = NOTICE
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_UNSEEN = {"role", "component_id", "correlation_id", "caused_by", "code"}
"""Fields that do not stand behind the message."""
_SHOWN = {"workflow_id": "workflow", "workflow_name": "name", "task_id": "task"}
"""Keys as they stand behind the message, where that is shorter."""

_budget: Moderation | None = None  # of our handler
_hiding: list[Callable[[str], str]] = []

logging.addLevelName(NOTICE, "NOTICE")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What goes to the journal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important records that are written. LOG_LEVEL sets this too, and it can be changed with
    systemctl reload."""
    records_per_second: int = bounded(100, least=0, most=100_000)
    """Records of information that are written in the long run, and ten times as many at once; what tasks
    write is counted apart. The rest is left out, and that is said. 0: no limit. The journal's own limit
    (RateLimitBurst in journald.conf) comes after this one."""


def set_up(
    level: str,
    *,
    role: str = "",
    component_id: str = "",
    identifier: str = "",
    records_per_second: int = 0,
    stream: TextIO | None = None,
    library: str = "systemd.journal",
) -> None:
    """Send all records of this process to the journal, if ``stream`` (standard error) is connected to it,
    and else to ``stream``. Repeating it replaces what was set up before.

    ``role`` is that of the process, "all" if it plays several. ``identifier`` stands before each line of
    ``journalctl``: the name of the unit, where there is one. ``library`` is the module that speaks to the
    journal; where it is not installed, the journal reads lines with priorities.
    """
    stream = stream or sys.stderr
    fixed = {"role": role, "component_id": component_id}
    if not under_journal(stream, os.environ):
        write = partial(_write_line, stream, _terminal if _is_coloured(stream) else _plain)
    elif (send := _sender(library)) is not None:
        write = partial(_send, send, identifier, fixed, partial(_write_line, stream, prefixed))
    else:
        write = partial(_write_line, stream, prefixed)
    global _budget  # noqa: PLW0603 - as logging's own state, there is one of it in a process
    _budget = Moderation(records_per_second)
    handler = Writer(write, fixed, _budget)
    root = logging.getLogger()
    for old in list(root.handlers):
        if old.get_name() == _NAME:
            root.removeHandler(old)
            old.close()
    handler.set_name(_NAME)
    root.addHandler(handler)
    set_level(level)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a provider of one's own prints is read when it is printed, and not when there is much of it.
        sys.stdout.reconfigure(line_buffering=True)
    # At INFO these log what crosses the wire, tokens included.
    for name in ("socketio", "engineio", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """Change the level, ``debug`` to ``error``, while running."""
    logging.getLogger().setLevel(_LEVELS[level])


def identify(component_id: str) -> None:
    """Whose records those of this process are, from now on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Writer):
            handler.fixed["component_id"] = component_id


def hide(without: Callable[[str], str]) -> None:
    """All that is written from now on goes through ``without``, which takes out what is secret."""
    if without not in _hiding:
        _hiding.append(without)


def hide_no_more(without: Callable[[str], str]) -> None:
    """The end of :func:`hide`; unknown ones are ignored."""
    if without in _hiding:
        _hiding.remove(without)


def shown(text: str) -> str:
    """``text`` without what is secret."""
    # Before anything is cut off: half a secret would not be known for one.
    for without in _hiding:
        text = without(text)
    return text


def note(
    role: str,
    level: str,
    message: str,
    fields: Mapping[str, Json],
    component_id: str = "",
    about: Mapping[str, Json] | None = None,
) -> None:
    """Write a record that a machine asks for. ``about`` is what it may follow from: its own fields count."""
    logger, number = logging.getLogger(f"gleitzeitd.machines.{role}"), _LEVELS[level]
    if not logger.isEnabledFor(number):
        return
    if number in (logging.INFO, NOTICE) and _budget is not None and not _budget.has_room():
        return
    known = {"role": role, "component_id": component_id, **(about or {})}
    logger.log(number, message, extra=safe({**known, **fields}))


def safe(fields: Mapping[str, Json]) -> dict[str, Json]:
    """``fields`` for ``extra``: a key that records have themselves gets an underscore behind it."""
    return {f"{key}_" if key in _OWN else key: value for key, value in fields.items()}


def fields_of(record: logging.LogRecord) -> dict[str, Json]:
    """What came as ``extra``, without what is empty; an error is taken apart."""
    found = {key: value for key, value in record.__dict__.items() if key not in _OWN}
    error = found.get("error")
    if isinstance(error, GleitzeitError):
        error = error.info()
    if isinstance(error, ErrorInfo):
        found |= {"error": error.name, "code": error.code, "reason": error.message}
    elif isinstance(error, BaseException):
        found |= {"error": type(error).__name__, "reason": str(error)}
    return {key: value for key, value in found.items() if value not in (None, "")}


def under_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether ``stream`` is the one that systemd has connected to the journal."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class Writer(logging.Handler):
    """Writes what moderation admits."""

    def __init__(
        self, write: Callable[[logging.LogRecord], None], fixed: dict[str, str], moderation: Moderation
    ) -> None:
        """``fixed`` are fields of every record that does not say otherwise."""
        super().__init__()
        self.fixed = fixed
        self._write = write
        self._moderation = moderation

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for each in self._moderation.admitted(record):
                self._write(each)
        except Exception:  # noqa: BLE001 - what logging prescribes: a record never breaks its writer
            self.handleError(record)


def _sender(library: str) -> Send | None:
    try:
        send: Send = import_module(library).send
    except ImportError:
        return None
    return send


def _send(
    send: Send,
    identifier: str,
    fixed: Mapping[str, str],
    otherwise: Callable[[logging.LogRecord], None],
    record: logging.LogRecord,
) -> None:
    """Hand a record over to the journal's library."""
    fields = {**fixed, **fields_of(record)}
    try:
        send(
            _utf8(shown(_with_traceback(record, _pairs(record)))[:VALUE_LIMIT]),
            MESSAGE_ID=RECORD_IDS.get(record.msg) or MESSAGE_IDS.get(str(fields.get("error", ""))),
            CODE_FILE=record.pathname,
            CODE_LINE=record.lineno,
            CODE_FUNC=record.funcName,
            PRIORITY=str(priority(record)),
            SYSLOG_IDENTIFIER=identifier or "gleitzeitd",
            LOGGER=record.name,
            **{_field(key): _utf8(_value(value)) for key, value in fields.items() if value != ""},
        )
    except OSError:
        otherwise(record)


def _field(key: str) -> str:
    """A journal field's name: capital letters, digits and underscores of ASCII."""
    known = FIELDS.get(key)
    return known or "GLEITZEIT_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in key.upper())


def _value(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown(text)[:VALUE_LIMIT]


def _utf8(text: str) -> str:
    """Without halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


def _write_line(stream: TextIO, form: Callable[[logging.LogRecord], str], record: logging.LogRecord) -> None:
    stream.write(shown(form(record)))
    stream.flush()


def prefixed(record: logging.LogRecord) -> str:
    """The record as lines for standard error, each with its priority (sd-daemon(3))."""
    text = _with_traceback(record, _pairs(record))
    return "".join(f"<{priority(record)}>{line}\n" for line in text.splitlines() or [""])


def _plain(record: logging.LogRecord) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
    return f"{at} {record.levelname.lower()}: {_with_traceback(record, _pairs(record))}\n"


def _terminal(record: logging.LogRecord) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(record.created))
    colour = _COLOURS.get(record.levelname, "0")
    pairs = _pairs(record)
    shown = _with_traceback(record, f"\x1b[0;2m{pairs}\x1b[0m" if pairs else "")
    return f"\x1b[2m{at}\x1b[0m \x1b[{colour}m{shown}\x1b[0m\n"


def _is_coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _pairs(record: logging.LogRecord) -> str:
    if record.name == OUTPUT:
        return ""  # the words are not ours
    fields = fields_of(record)
    return "".join(
        f" {_SHOWN.get(key, key)}={_text(value)}" for key, value in fields.items() if key not in _UNSEEN
    )


def _text(value: Json) -> str:
    """A value on one line; quoted where it would not read as one word."""
    if isinstance(value, str) and value.isprintable() and not set(value) & set(" \"'="):
        return shown(value)[:VALUE_LIMIT]
    return shown(json.dumps(value, ensure_ascii=False, default=str))[:VALUE_LIMIT]


def _with_traceback(record: logging.LogRecord, after: str = "") -> str:
    text = record.getMessage() + after
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    if record.stack_info:
        text += "\n" + record.stack_info
    return text


def priority(record: logging.LogRecord) -> int:
    """A level as syslog has it: 7 is debug, 2 is critical."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (NOTICE, 5), (logging.INFO, 6))
    return next((number for level, number in steps if record.levelno >= level), 7)
