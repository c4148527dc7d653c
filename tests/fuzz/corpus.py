"""Frames worth repeating: those that once broke something, and one of each kind."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "corpus"


def kept() -> list[tuple[str, str]]:
    """All of them: for whom each is, which is ``hub`` or a role, and the frame."""
    found = []
    for file in sorted(FOLDER.glob("*.jsonl")):
        found += [(file.stem, str(json.loads(line))) for line in file.read_text("utf-8").splitlines() if line]
    return found


def keep(target: str, frame: str) -> None:
    """Add a frame, unless it is there."""
    if (target, frame) not in kept():
        with (FOLDER / f"{target}.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(frame) + "\n")
