"""SECURITY.md: each thing that somebody cannot do names tests that show it, and they exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
TEXT = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")
LINE_LIMIT = 150
ATTACKERS = """
    somebody without a token, a web page, a viewer, a submitter, an operator, an admin, with a namespace, a provider,
    an execution engine, a dependency resolver, queue manager, a protocol registry, a persistence, a hub, a host,
    code of a user, another user, a bad workflow file, a bad protocol file, schema
"""


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def chapters() -> dict[str, list[str]]:
    """Who attacks, to what it can and what it cannot do."""
    found = {}
    for chapter in section("Threat model").split("\n### ")[1:]:
        title, _, rest = chapter.partition("\n")
        items = re.findall(r"^\* (.*(?:\n  .*)*)", rest, re.MULTILINE)
        found[title] = [" ".join(each.split()) for each in items]
    return found


@cache
def defined_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(
        each.name for each in ast.walk(tree) if isinstance(each, kinds) and each.name.startswith("test_")
    )


LINES = [(title, line) for title, lines in chapters().items() for line in lines]


def test_everybody_who_may_attack_has_a_chapter_of_what_he_can_and_cannot() -> None:
    titles = " | ".join(chapters()).lower()
    missing = [each for each in re.split(r",\s+", ATTACKERS.strip()) if each not in titles]
    assert not missing
    for title, lines in chapters().items():
        assert any(each.startswith("Can: ") for each in lines), title
        assert any(each.startswith("Cannot: ") for each in lines), title


@pytest.mark.parametrize(("title", "line"), LINES, ids=lambda text: text[:60])
def test_what_somebody_cannot_do_is_shown_by_tests_and_what_he_can_is_only_said(
    title: str, line: str
) -> None:
    assert line.startswith(("Can: ", "Cannot: ")), title
    assert bool(NAMED.search(line)) == line.startswith("Cannot: ")


def test_every_test_that_is_named_exists() -> None:
    model = section("Threat model")
    assert model.count(".py") == len(NAMED.findall(model)), "all are written in one way"
    for file, name in NAMED.findall(model):
        assert (TESTS / file).is_file(), file
        assert not name or name in defined_in(file), f"{file}::{name}"


def test_every_file_of_attacks_is_named_and_shows_something() -> None:
    files = {file.name for file in (TESTS / "security").glob("test_*.py")}
    assert {file for file, _ in NAMED.findall(section("Tests"))} == files
    shown = {file for file, _ in NAMED.findall(section("Threat model"))}
    assert {f"security/{name}" for name in files} <= shown


def test_lines_can_be_read_in_a_terminal() -> None:
    assert [line for line in TEXT.splitlines() if len(line) > LINE_LIMIT] == []
