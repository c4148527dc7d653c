"""``PYTHONPATH=packaging python -m reference``: write the manual pages and the completion again.

With ``--check`` nothing is written, and the exit code is 1 if something would be.
"""

from __future__ import annotations

import sys
from pathlib import Path

from reference.files import COMPLETION, MANUAL, generated, stale


def main() -> int:
    """The exit code."""
    if "--check" in sys.argv[1:]:
        old = stale()
        sys.stderr.writelines(f"{path}: is not what ./dev reference makes\n" for path in old)
        return 1 if old else 0
    files = generated()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in leftovers(files):
        path.unlink()
    return 0


def leftovers(files: dict[Path, str]) -> list[Path]:
    """What nothing makes any more."""
    return [path for folder in (MANUAL, COMPLETION) for path in folder.iterdir() if path not in files]


if __name__ == "__main__":
    sys.exit(main())
