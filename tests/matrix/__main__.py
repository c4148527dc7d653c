"""``python -m tests.matrix``: every role and fault on real processes, and the page that says what came of it."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.matrix.page import PAGE, as_page
from tests.matrix.scenarios import everything

AWAY = 60.0
AT_ONCE = 2


def main() -> int:
    """The exit code: 1 if anything is wrong; then the page stays as it was."""
    parser = argparse.ArgumentParser(prog="matrix", description="Every role and fault, on real processes.")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="groups of scenarios with this in their names"
    )
    parser.add_argument(
        "--away", type=float, default=AWAY, help=f"seconds without any hub (default {AWAY:g})"
    )
    given = parser.parse_args()
    seen = asyncio.run(everything(given.away, given.only, at_once=AT_ONCE))
    page = as_page(seen, AT_ONCE)
    print(page)
    wrong = [f"{each.role}: {each.fault}: {text}" for each in seen for text in each.wrong]
    print(*wrong, sep="\n", file=sys.stderr)
    if wrong:
        return 1
    if not given.only:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page)
        print(f"written: {PAGE}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
