"""Records as they arrive: in the journal, on a terminal, in a pipe."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gleitzeitd import errors
from gleitzeitd.model.explanation import RECORD_IDS, message_id
from gleitzeitd.runtime import journal


def record(message: str, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("gleitzeitd.x", level, __file__, 1, message, (), None)
    made.__dict__.update(fields)
    return made


class Library:
    """The part of systemd.journal that is used, with the library's own signature."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []
        self.broken = False

    def send(
        self,
        MESSAGE: str,  # noqa: N803 - the library's
        MESSAGE_ID: str | None = None,  # noqa: N803
        CODE_FILE: str | None = None,  # noqa: N803
        CODE_LINE: int | None = None,  # noqa: N803
        CODE_FUNC: str | None = None,  # noqa: N803
        **fields: str,
    ) -> None:
        if self.broken:
            raise OSError("no journal")
        known = {"MESSAGE": MESSAGE, "MESSAGE_ID": MESSAGE_ID, "CODE_FILE": CODE_FILE, "CODE_FUNC": CODE_FUNC}
        sent = {key: value for key, value in {**known, **fields}.items() if value is not None}
        for name, value in sent.items():
            assert re.fullmatch("[A-Z][A-Z0-9_]*", name), name
            value.encode()  # the library refuses half a surrogate pair
        assert CODE_LINE is None or isinstance(CODE_LINE, int)
        self.sent.append(sent)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Standard error is the journal's, and its library is installed."""
    fake = Library()
    module = ModuleType("fake_journal")
    module.send = fake.send  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_journal", module)
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        journal.set_up("info", role="hub", component_id="h", stream=stream, library="fake_journal")
        yield fake


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


LOG = logging.getLogger("gleitzeitd.x")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50)))
def test_every_record_is_one_that_the_library_takes(
    library: Library, message: str, fields: dict[str, str]
) -> None:
    LOG.info("%s", message, extra=journal.safe(fields))
    assert library.sent[-1]["MESSAGE"].startswith(message.encode("utf-8", "replace").decode())


def test_fields_of_the_design_have_their_names(library: Library) -> None:
    extra = {"workflow_id": "w", "task_id": "t", "attempt": 2, "correlation_id": "c", "event": "e", "port": 8}
    LOG.warning("a lease ended", extra=extra)
    sent = library.sent[-1]
    assert sent["MESSAGE"] == "a lease ended workflow=w task=t attempt=2 event=e port=8"
    assert {key: sent[f"GLEITZEIT_{key}"] for key in ("WORKFLOW", "TASK", "ATTEMPT", "CORRELATION")} == {
        "WORKFLOW": "w",
        "TASK": "t",
        "ATTEMPT": "2",
        "CORRELATION": "c",
    }
    assert (sent["GLEITZEIT_EVENT"], sent["GLEITZEIT_ROLE"], sent["GLEITZEIT_COMPONENT"]) == ("e", "hub", "h")
    assert (sent["GLEITZEIT_PORT"], sent["PRIORITY"], sent["LOGGER"]) == ("8", "4", "gleitzeitd.x")
    assert "MESSAGE_ID" not in sent


def test_a_record_of_the_audit_has_its_own_id_also_if_it_is_about_an_error(library: Library) -> None:
    extra = {"action": "cancel", "subject": "eve", "address": "::1", "outcome": "refused"}
    LOG.info("audit", extra={**extra, "error": "TASK_TIMEOUT"})
    sent = library.sent[-1]
    assert sent["MESSAGE_ID"] == RECORD_IDS["audit"]
    assert [sent[f"GLEITZEIT_{key.upper()}"] for key in extra] == [*extra.values()]


def test_an_error_becomes_its_name_its_number_and_the_id_of_its_explanation(library: Library) -> None:
    for error in (errors.TaskTimeout("too slow"), errors.TaskTimeout("too slow").info()):
        LOG.info("task failed", extra={"error": error})
        sent = library.sent[-1]
        assert sent["GLEITZEIT_ERROR"] == "TASK_TIMEOUT"
        assert sent["GLEITZEIT_CODE"] == "-29003"
        assert sent["GLEITZEIT_REASON"] == "too slow"
        assert sent["MESSAGE_ID"] == message_id(-29003)
        assert sent["MESSAGE"] == 'task failed error=TASK_TIMEOUT reason="too slow"'
    LOG.info("cannot go on", extra={"error": OSError("full")})
    assert (library.sent[-1]["GLEITZEIT_ERROR"], library.sent[-1]["GLEITZEIT_REASON"]) == ("OSError", "full")
    assert "MESSAGE_ID" not in library.sent[-1]


def test_levels_are_the_priorities_of_syslog(library: Library) -> None:
    journal.set_level("debug")
    for level in (
        logging.DEBUG,
        logging.INFO,
        journal.NOTICE,
        logging.WARNING,
        logging.ERROR,
        logging.CRITICAL,
    ):
        LOG.log(level, "x")
    assert [sent["PRIORITY"] for sent in library.sent] == ["7", "6", "5", "4", "3", "2"]


def test_a_note_says_whose_it_is_and_what_it_follows_from(library: Library) -> None:
    about = {"correlation_id": "c", "caused_by": "save_task"}
    journal.note("persistence", "info", "workflow recorded", {}, "p-1", about)
    assert library.sent[-1]["GLEITZEIT_EVENT"] == "save_task"
    assert library.sent[-1]["MESSAGE"] == "workflow recorded"
    journal.note("persistence", "info", "workflow recorded", {"event": "own"}, "p-1", about)
    sent = library.sent[-1]
    assert (sent["GLEITZEIT_ROLE"], sent["GLEITZEIT_COMPONENT"]) == ("persistence", "p-1")
    assert (sent["GLEITZEIT_CORRELATION"], sent["GLEITZEIT_EVENT"]) == ("c", "own")


def test_notes_beyond_the_budget_are_left_out_before_they_are_made(library: Library, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        journal.set_up("info", stream=stream, library="fake_journal", records_per_second=1)
        for _ in range(50):
            journal.note("persistence", "info", "workflow recorded", {})
            journal.note("persistence", "debug", "not asked for", {})
        journal.note("persistence", "warning", "a warning", {})
        journal.set_up("info", stream=stream, library="fake_journal")
    assert [sent["PRIORITY"] for sent in library.sent] == ["6"] * 10 + ["4"]


def test_a_process_that_learns_its_id_says_it_from_then_on(library: Library) -> None:
    journal.identify("engine-7")
    LOG.info("x")
    assert library.sent[-1]["GLEITZEIT_COMPONENT"] == "engine-7"


def test_values_are_cut_at_the_limit(library: Library) -> None:
    LOG.info("x", extra={"reason": "y" * 100_000})
    assert len(library.sent[-1]["GLEITZEIT_REASON"]) == journal.VALUE_LIMIT
    assert len(library.sent[-1]["MESSAGE"]) <= journal.VALUE_LIMIT


def test_when_the_library_cannot_write_lines_have_priorities(library: Library, tmp_path: Path) -> None:
    library.broken = True
    LOG.info("x")
    assert (tmp_path / "stderr").read_text() == "<6>x\n"


def test_without_the_library_lines_have_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stderr"
    with file.open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        journal.set_up("info", stream=stream, library="gleitzeit_has_no_such_module")
        try:
            raise ValueError("two\nlines")
        except ValueError:
            LOG.exception("broken", extra={"workflow_id": "w 1"})
    lines = file.read_text().splitlines()
    assert lines[0] == '<3>broken workflow="w 1"'
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


def test_what_is_printed_is_written_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider of one's own prints, and its standard output is the journal."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    journal.set_up("info", stream=io.StringIO())
    print("looking at Ulm")
    assert written.getvalue() == b"looking at Ulm\n"


def test_a_stream_that_is_not_the_journals_is_none() -> None:
    assert not journal.under_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})
    assert not journal.under_journal(sys.__stderr__, {"JOURNAL_STREAM": "1:2"})  # type: ignore[arg-type]
    assert not journal.under_journal(sys.__stderr__, {})  # type: ignore[arg-type]
