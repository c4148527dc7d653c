"""Records as they arrive: in the journal, on a terminal, in a pipe."""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.runtime import journal


def record(message: str, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("gleitzeitd.x", level, __file__, 1, message, (), None)
    made.__dict__.update(fields)
    return made


def parsed(datagram: bytes) -> dict[str, str]:
    """The journal's native protocol, read independently of how it is written."""
    out: dict[str, str] = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if equals:
            out[name.decode()] = value.decode()
            datagram = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            out[head.decode()] = rest[8 : 8 + size].decode()
            assert rest[8 + size : 9 + size] == b"\n"
            datagram = rest[9 + size :]
    return out


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


@given(st.text(), st.dictionaries(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), st.text(max_size=50)))
def test_every_record_survives_the_journals_protocol(message: str, fields: dict[str, str]) -> None:
    made = record("%s", **journal.safe(fields))
    made.args = (message,)
    read = parsed(journal.datagram(made, {}))
    assert read["MESSAGE"] == message.encode("utf-8", "replace").decode()
    known = journal.fields_of(made)
    for key, value in known.items():
        name = journal.FIELDS.get(key, f"GLEITZEIT_{key.upper()}")
        assert read[name] == value.encode("utf-8", "replace").decode()


def test_fields_of_the_design_have_their_names() -> None:
    made = record("a lease ended", logging.WARNING, workflow_id="w", task_id="t", attempt=2, error="x\ny")
    read = parsed(journal.datagram(made, {"role": "queue_manager", "component_id": "qm"}))
    assert read["GLEITZEIT_WORKFLOW"] == "w"
    assert read["GLEITZEIT_TASK"] == "t"
    assert read["GLEITZEIT_ATTEMPT"] == "2"
    assert read["GLEITZEIT_ERROR"] == "x\ny"
    assert read["GLEITZEIT_ROLE"] == "queue_manager"
    assert read["GLEITZEIT_COMPONENT"] == "qm"
    assert read["PRIORITY"] == "4"


def test_under_systemd_records_go_to_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "journal")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
        (tmp_path / "stderr").open("w") as stream,
    ):
        listening.bind(address)
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        journal.set_up("info", role="hub", component_id="hub", stream=stream, journal=address)
        logging.getLogger("gleitzeitd.x").info("hub listens", extra={"port": 8000})
        read = parsed(listening.recv(65536))
        assert (read["MESSAGE"], read["GLEITZEIT_PORT"], read["GLEITZEIT_ROLE"]) == (
            "hub listens",
            "8000",
            "hub",
        )


def test_without_the_journals_socket_lines_have_priorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stderr"
    with file.open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        journal.set_up("info", stream=stream, journal=str(tmp_path / "nobody"))
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("gleitzeitd.x").exception("broken", extra={"workflow_id": "w 1"})
    lines = file.read_text().splitlines()
    assert lines[0] == '<3>broken workflow_id="w 1"'
    assert all(line.startswith("<3>") for line in lines)
    assert lines[-1] == "<3>lines"


def test_a_pipe_gets_plain_lines_and_a_terminal_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for stream, coloured in ((io.StringIO(), False), (Terminal(), True)):
        journal.set_up("info", stream=stream)
        logging.getLogger("gleitzeitd.x").warning("a hub is not connected", extra={"hub": "http://h:1"})
        assert "a hub is not connected" in stream.getvalue()
        assert "hub=http://h:1" in stream.getvalue()
        assert ("\x1b[" in stream.getvalue()) is coloured
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    journal.set_up("info", stream=stream)
    logging.getLogger("gleitzeitd.x").warning("x")
    assert "\x1b[" not in stream.getvalue()


def test_a_line_is_one_line_whatever_the_value() -> None:
    line = journal.prefixed(record("m", error="a\nb\x1b[31m", attempt=2))
    assert line == '<6>m error="a\\nb\\u001b[31m" attempt=2\n'


def test_set_up_twice_writes_once_and_the_level_can_change() -> None:
    stream = io.StringIO()
    journal.set_up("info", stream=io.StringIO())
    journal.set_up("warning", stream=stream)
    logger = logging.getLogger("gleitzeitd.x")
    logger.info("unseen")
    journal.set_level("debug")
    logger.debug("seen")
    assert stream.getvalue().count("seen") == 1


def test_the_loggers_of_the_libraries_stay_silent_at_debug() -> None:
    stream = io.StringIO()
    journal.set_up("debug", stream=stream)
    for name in ("engineio.client", "socketio.server"):
        logging.getLogger(name).info("token: secret")
    assert "secret" not in stream.getvalue()


def test_a_stream_that_is_not_the_journals_is_none() -> None:
    assert not journal.under_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})
    assert not journal.under_journal(sys.__stderr__, {"JOURNAL_STREAM": "1:2"})  # type: ignore[arg-type]
    assert not journal.under_journal(sys.__stderr__, {})  # type: ignore[arg-type]
