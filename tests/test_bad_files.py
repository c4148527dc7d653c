"""Whatever a file holds, the command line says what is wrong with it, soon, and with little memory."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bad_files.corpus import FILES, SHOWN, Look, files, looked_at, manifest
from tests.bad_files.recipes import PLACES, TEXTS

SECONDS = 2.0
MEGABYTES = 200.0
EXPECTED = manifest()
PLACED = re.compile(r"\{file\}:[1-9][0-9]*:[1-9][0-9]*: .+")
BY_COMMAND = (
    "cycle_of_three.yaml", "python_object.yaml", "recursive_alias.yaml", "duplicate_key.json", "empty.yaml",
    "wrong_types.json", "utf16_le.yaml", "tab_indent.yaml", "workflow.toml", "reference_near.yaml",
    "billion_laughs.yaml", "string_10_mb.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def paths() -> Iterator[dict[str, Path]]:
    # Not below pytest's own folder, which is closed to others: whoever looks may be nobody.
    with tempfile.TemporaryDirectory(prefix="gleitzeit-bad-") as folder:
        yield files(Path(folder))


@pytest.fixture(scope="module")
def looks(paths: dict[str, Path]) -> dict[str, Look]:
    return looked_at(paths)


def test_the_corpus_is_what_the_manifest_names() -> None:
    kept = {path.name for path in FILES.iterdir()}
    assert EXPECTED.keys() == kept | TEXTS.keys() | PLACES.keys()
    assert len(EXPECTED) >= 150
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 200_000


@pytest.mark.parametrize("name", sorted(EXPECTED), ids=lambda name: name[:40])
def test_a_bad_file_is_refused_with_its_message_in_time_and_memory(name: str, looks: dict[str, Look]) -> None:
    look = looks[name]
    assert look.entry() == EXPECTED[name]
    assert look.processor_seconds < SECONDS
    assert look.megabytes < MEGABYTES


@pytest.mark.parametrize("name", sorted(EXPECTED), ids=lambda name: name[:40])
def test_each_line_says_a_place_and_more_than_that_it_is_wrong(name: str) -> None:
    entry: dict[str, Any] = EXPECTED[name]
    assert entry["exit"] == 2
    assert entry["count"] >= 1
    assert len(entry["says"]) == min(SHOWN, entry["count"])
    for line in entry["says"]:
        assert PLACED.fullmatch(line), line
        assert re.search(r"expected|possible|known|[;:] [a-z]|did you mean|and \d+ more problems", line), line


@pytest.mark.parametrize("name", BY_COMMAND)
def test_the_command_says_the_same(name: str, paths: dict[str, Path]) -> None:
    command = [str(Path(sys.executable).parent / "gleitzeit"), "validate", str(paths[name])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == ""
    assert done.returncode == EXPECTED[name]["exit"]
    said = [line.replace(str(paths[name]), "{file}") for line in done.stderr.splitlines()]
    assert said[:SHOWN] == EXPECTED[name]["says"]
    assert len(said) == EXPECTED[name]["count"]
