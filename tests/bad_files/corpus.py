"""The corpus: its files, what the manifest says of each, and what is said of it now."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bad_files.recipes import make

HERE = Path(__file__).parent
FILES = HERE / "files"
MANIFEST = HERE / "manifest.toml"
SHOWN = 3
"""Lines of each that the manifest has; of more, it has their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the command line did about a file."""

    name: str
    lines: list[str]
    """With ``{file}`` and ``{folder}`` for what is different each time."""
    exit: int
    seconds: float
    processor_seconds: float
    megabytes: float

    def entry(self) -> dict[str, Any]:
        """As in the manifest."""
        return {"exit": self.exit, "count": len(self.lines), "says": self.lines[:SHOWN]}


def files(folder: Path) -> dict[str, Path]:
    """The paths of all by name; those that are made, and copies of those that are kept, are in ``folder``."""
    folder.chmod(0o755)
    found = make(folder)
    for path in sorted(FILES.iterdir()):
        found[path.name] = folder / path.name
        shutil.copyfile(path, folder / path.name)
    return found


def looked_at(paths: dict[str, Path]) -> dict[str, Look]:
    """All of them, each in a process of its own, two at a time."""
    names = list(paths)
    halves = [_Looking({name: paths[name] for name in names[start::2]}) for start in (0, 1)]
    return {look.name: look for half in halves for look in half.looks()}


class _Looking:
    """One process that starts the others."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self.paths = paths
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bad_files.look"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent.parent,
        )
        assert self.process.stdin is not None
        json.dump({name: str(path) for name, path in paths.items()}, self.process.stdin)
        self.process.stdin.close()

    def looks(self) -> list[Look]:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            found = [self.look(json.loads(line)) for line in said]
        assert self.process.wait() == 0
        return found

    def look(self, one: dict[str, Any]) -> Look:
        path = self.paths[one["name"]]
        lines = [
            line.replace(str(path), "{file}").replace(str(path.parent), "{folder}") for line in one["lines"]
        ]
        return Look(**{**one, "lines": lines})


def manifest() -> dict[str, dict[str, Any]]:
    """By name, what has to be said."""
    return tomllib.loads(MANIFEST.read_text(encoding="utf-8"))
