"""Every example can be read, is short, says what it shows, and warns of nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from gleitzeitd.model.document import read
from gleitzeitd.workflow_file import load

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def test_there_are_examples() -> None:
    assert len(FILES) >= 9


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_short_and_says_first_what_it_shows(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) < 40


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_read_without_a_problem_or_a_warning(file: Path) -> None:
    loaded = load(file)
    assert not loaded.problems
    reading = read(loaded.document)
    assert reading.workflow is not None, reading.problems
    assert not reading.warnings


def test_the_batch_has_a_task_for_each_file() -> None:
    workflow = read(load(EXAMPLES / "batch.yaml").document).workflow
    assert workflow is not None
    assert len(workflow.tasks) == len(list((EXAMPLES / "data").glob("*.txt")))
