"""The files below a folder that a pattern names, and no longer looking for them than is reasonable.

The patterns are those of ``Path.glob``: ``*``, ``?``, ``[...]`` in names, ``**`` for folders at any depth,
which does not go through symbolic links.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePath

ENTRIES_LIMIT = 200_000
"""Files and folders that are looked at."""


class TooManyError(Exception):
    """More than ENTRIES_LIMIT would have to be looked at."""


def matching(folder: Path, pattern: str, most: int) -> list[Path]:
    """Those files, in the order of their names; if there are more than ``most``, one more than that.

    Raises:
        ValueError: it is no pattern.
        TooManyError: see there.
    """
    steps = PurePath(pattern).parts
    if not steps or "\0" in pattern:
        raise ValueError("it is empty" if not steps else "a NUL character is in it")
    return sorted(islice(_Walk().files(folder, steps), most + 1))


class _Walk:
    def __init__(self) -> None:
        self.left = ENTRIES_LIMIT
        self.seen: set[tuple[str, int]] = set()

    def files(self, folder: Path, steps: tuple[str, ...]) -> Iterator[Path]:
        pending = [(str(folder), 0)]
        while pending:
            place = pending.pop()
            if place in self.seen:
                continue  # two ** reach it
            self.seen.add(place)
            path, at = place
            if steps[at] == "**":
                pending += [(each.path, at) for each in self.entries(path) if _is_folder(each)]
                if at + 1 == len(steps):
                    continue
                at += 1
                if steps[at] == "**":
                    pending.append((path, at))
                    continue
            for found in self.step(path, steps[at]):
                if at + 1 < len(steps):
                    pending.append((found, at + 1))
                elif Path(found).is_file():
                    yield Path(found)

    def step(self, path: str, step: str) -> Iterator[str]:
        if not any(char in step for char in "*?["):
            found = str(Path(path, step))
            if os.path.lexists(found):
                yield found
            return
        for each in self.entries(path):
            if fnmatchcase(each.name, step):
                yield each.path

    def entries(self, path: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(path) as found:
                for each in found:
                    self.left -= 1
                    if self.left < 0:
                        raise TooManyError
                    yield each
        except OSError:
            return  # no folder, or not for this user


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
