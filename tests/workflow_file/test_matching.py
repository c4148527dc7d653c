"""Which files a pattern names: those that ``Path.glob`` does, and never a whole disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from gleitzeitd.workflow_file import matching as module
from gleitzeitd.workflow_file.matching import TooManyError, matching

FILES = ("a.txt", "b.txt", ".hidden.txt", "c.md", "x/a.txt", "x/y/a.txt", "x/y/z/b.md", "d/e.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "d" / "again").symlink_to(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    ["*.txt", "*", "[ab].txt", "?.md", "x/*.txt", "x/**/*.txt", "**/*.md", "**/a.txt", "**/y/*", "*/*/*.txt", "gone/*",
     "x/y/a.txt", "x/../a.txt", "**/**/*.txt", "x/**/y/**/*.md", "a.txt/*"],
)  # fmt: skip
def test_a_pattern_names_what_glob_finds(folder: Path, pattern: str) -> None:
    expected = {path for path in folder.glob(pattern) if path.is_file() and "again" not in path.parts}
    found = [path for path in matching(folder, pattern, 1000) if "again" not in path.parts]
    assert found == sorted(expected)


def test_links_to_folders_are_not_followed_for_ever(folder: Path) -> None:
    assert len(matching(folder, "**/*.txt", 1000)) == 6


def test_one_more_than_is_possible_is_found(folder: Path) -> None:
    assert len(matching(folder, "**/*", 2)) == 3


def test_a_search_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_LIMIT", 5)
    with pytest.raises(TooManyError):
        matching(folder, "**/nothing*", 1000)


@pytest.mark.parametrize("pattern", ["", "a\0b"])
def test_what_is_no_pattern_is_refused(folder: Path, pattern: str) -> None:
    with pytest.raises(ValueError, match="it is empty|NUL"):
        matching(folder, pattern, 10)
