"""Every error is explained, in the same words everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from gleitzeitd import errors
from gleitzeitd.cli import _COMMANDS
from gleitzeitd.model.explanation import (
    EXPLANATIONS,
    MESSAGE_IDS,
    RECORD_IDS,
    RECORDS,
    WIDTH,
    catalogue,
    find,
    message_id,
    suggestion,
)
from gleitzeitd.model.explanation_texts import TEXTS

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "systemd" / "gleitzeit.catalog"
CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.GleitzeitError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_explained_and_in_the_catalogue(kind: type[errors.GleitzeitError]) -> None:
    one = EXPLANATIONS[kind.name]
    assert one.code == kind.code
    assert all((one.subject, one.cause, one.itself, one.remedy))
    assert f"\n-- {MESSAGE_IDS[kind.name]}\nSubject: {kind.name} ({kind.code}): " in catalogue()


def test_nothing_is_explained_that_is_no_error() -> None:
    assert TEXTS.keys() == EXPLANATIONS.keys() == {kind.name for kind in CLASSES}


def test_the_numbers_of_the_journal_are_distinct_and_those_of_former_releases() -> None:
    assert len(set(MESSAGE_IDS.values())) == len(EXPLANATIONS)
    assert message_id(-29003) == "a5c715cb1663864b8ff77edc3314f879"
    assert message_id(-25001) == "484fe6ac86ef8de689ff1231dea41242"
    for text in MESSAGE_IDS.values():
        assert uuid.UUID(text).version == 8
        assert uuid.UUID(text).variant == uuid.RFC_4122


def test_the_shipped_catalogue_is_the_one_that_the_words_make() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == catalogue(), "run ./dev reference"


EVERYTHING = {**EXPLANATIONS, **{each.name: each for each in RECORDS.values()}}


@pytest.mark.parametrize("name", EVERYTHING)
def test_an_explanation_fits_a_terminal_and_its_commands_exist(name: str) -> None:
    one = EVERYTHING[name]
    assert all(len(line) <= WIDTH for line in one.body().splitlines())
    assert len(one.subject) <= WIDTH
    assert "@" not in one.body().replace("gleitzeit-provider@", "")  # the catalogue's own mark
    for command in one.commands:
        if found := re.match(r"gleitzeit (\w+)", command):
            assert found[1] in _COMMANDS, f"{name}: there is no {command!r}"


@pytest.mark.parametrize(
    "text", ["29003", "-29003", " -29003 ", "TASK_TIMEOUT", "task_timeout", "Task-Timeout", "task timeout"]
)
def test_an_error_is_found_by_its_number_and_by_its_name(text: str) -> None:
    found = find(text)
    assert found is not None
    assert found.name == "TASK_TIMEOUT"
    assert find(found.message_id) is found
    assert find(f"[{text}]") is found


def test_what_is_no_error_is_found_by_its_name_and_has_an_id_of_its_own() -> None:
    found = find("audit")
    assert found is RECORDS["audit"]
    assert find(found.message_id) is found
    assert found.title() == "AUDIT: Somebody has asked for something, and this came of it"
    assert not set(RECORD_IDS.values()) & set(MESSAGE_IDS.values())


def test_what_is_not_found_is_suggested_if_it_is_near() -> None:
    assert find("task_timeuot") is None
    assert suggestion("task_timeuot") == ", did you mean TASK_TIMEOUT?"
    assert suggestion("29030").startswith(", did you mean -290")
    assert suggestion("nothing of the kind") == ""
    assert find("") is None


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="journalctl is not installed")
def test_the_journal_reads_the_catalogue(tmp_path: Path) -> None:
    for part in ("usr/lib/systemd/catalog", "var/lib/systemd/catalog"):
        (tmp_path / part).mkdir(parents=True)
    shutil.copy(SHIPPED, tmp_path / "usr/lib/systemd/catalog")
    root = f"--root={tmp_path}"
    done = subprocess.run(["journalctl", root, "--update-catalog"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run(["journalctl", root, "--list-catalog"], capture_output=True, text=True).stdout
    assert {line.split()[0] for line in listed.splitlines()} == {*MESSAGE_IDS.values(), *RECORD_IDS.values()}
    one = EXPLANATIONS["TASK_TIMEOUT"]
    dumped = subprocess.run(
        ["journalctl", root, "--dump-catalog", one.message_id], capture_output=True, text=True
    ).stdout
    assert one.body() in dumped
