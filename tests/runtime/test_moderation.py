"""One warning per cause, and a bound on everything else."""

from __future__ import annotations

import logging

from gleitzeitd.runtime.moderation import BURST_SECONDS, CAUSES, OUTPUT, WINDOW, Moderation


class Journal:
    """What passes moderation, at times that a test chooses."""

    def __init__(self, rate: float = 0) -> None:
        self.now = 0.0
        self.written: list[logging.LogRecord] = []
        self._moderation = Moderation(rate, lambda: self.now)

    def log(self, level: int, message: str, logger: str = "gleitzeitd.x", **fields: object) -> None:
        record = logging.LogRecord(logger, level, __file__, 1, message, (), None)
        record.__dict__.update(fields)
        self.written += self._moderation.admitted(record)

    def levels(self) -> list[int]:
        return [record.levelno for record in self.written]


def test_a_warning_that_repeats_is_written_once_and_counted() -> None:
    journal = Journal()
    for journal.now in range(int(WINDOW)):
        journal.log(logging.WARNING, "a hub is not connected", hub="http://h:1")
    assert len(journal.written) == 1
    journal.now = WINDOW
    journal.log(logging.WARNING, "a hub is not connected", hub="http://h:1")
    assert [getattr(record, "repeated", 0) for record in journal.written] == [0, WINDOW - 1]


def test_another_cause_is_another_warning() -> None:
    journal = Journal()
    for hub in ("http://h:1", "http://h:2"):
        journal.log(logging.WARNING, "a hub is not connected", hub=hub)
    journal.log(logging.ERROR, "a hub is not connected", hub="http://h:1")
    journal.log(logging.WARNING, "a hub is connected again", hub="http://h:1")
    assert len(journal.written) == 4


def test_one_cause_that_concerns_many_workflows_is_one_warning_and_found_with_each() -> None:
    journal = Journal()
    for number in range(5):
        journal.log(
            logging.WARNING, "tasks are blocked", workflow_id=f"w{number}", reason="no engine", tasks=number
        )
    assert journal.levels() == [logging.WARNING] + [logging.INFO] * 4


def test_a_bug_that_ends_the_process_is_never_held_back() -> None:
    journal = Journal()
    for _ in range(3):
        journal.log(logging.CRITICAL, "a bug has ended this process")
    assert len(journal.written) == 3


def test_information_beyond_the_budget_is_left_out_and_that_is_said() -> None:
    journal = Journal(rate=10)
    most = int(10 * BURST_SECONDS)
    for _ in range(most + 7):
        journal.log(logging.INFO, "task completed")
    assert len(journal.written) == most
    journal.log(logging.WARNING, "a warning is outside of it")
    journal.log(logging.DEBUG, "and so is what was asked for")
    assert len(journal.written) == most + 2
    journal.now = 0.1
    journal.log(logging.INFO, "task completed")
    said, record = journal.written[-2:]
    assert said.msg.startswith("records were left out")
    assert said.left_out == 7  # type: ignore[attr-defined]
    assert record.msg == "task completed"


def test_in_the_long_run_the_rate_holds() -> None:
    journal = Journal(rate=10)
    for tick in range(100_000):
        journal.now = tick / 100  # for 1000 seconds
        journal.log(logging.INFO, "task completed")
    written = [record for record in journal.written if record.msg == "task completed"]
    assert 10_000 <= len(written) <= 10_000 + 10 * BURST_SECONDS


def test_what_tasks_write_does_not_use_up_the_budget_of_the_rest() -> None:
    journal = Journal(rate=1)
    for _ in range(100):
        journal.log(logging.INFO, "a line", logger=OUTPUT)
    journal.log(logging.INFO, "task completed")
    assert journal.written[-1].msg == "task completed"


def test_without_a_rate_nothing_is_left_out() -> None:
    journal = Journal()
    for _ in range(10_000):
        journal.log(logging.INFO, "task completed")
    assert len(journal.written) == 10_000


def test_causes_are_not_remembered_without_end() -> None:
    journal = Journal()
    for number in range(CAUSES + 1):
        journal.log(logging.WARNING, "x", hub=f"h{number}")
    journal.log(logging.WARNING, "x", hub="h1")
    journal.log(logging.WARNING, "x", hub="h0")
    assert len(journal.written) == CAUSES + 2  # h0 was forgotten, h1 was not
