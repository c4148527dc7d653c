"""``python -m tests.system``: all scenarios on hosts of one release of Debian, or of each that is supported."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.system.image import RELEASES
from tests.system.needs import what_is_missing
from tests.system.progress import say

HERE = Path(__file__).resolve().parent


def main() -> int:
    """The exit code: that of the first release with a failure; 0 with the reason where it cannot run."""
    parser = argparse.ArgumentParser(
        prog="dev system",
        description="Packages, units and workflows on real systemd, on three hosts in containers. "
        "Other arguments go to pytest.",
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--release", choices=RELEASES, default="trixie", help="of Debian (default trixie)")
    which.add_argument("--all", action="store_true", help="all of these, one after the other")
    given, others = parser.parse_known_args()
    missing = what_is_missing()
    if missing:
        print(f"skipped: {missing}", file=sys.stderr)
        return 0
    result = 0
    for release in RELEASES if given.all else [given.release]:
        say(f"--- {release}")
        begun = time.monotonic()
        tested = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "--capture=no",
                "--tb=short",
                "-p",
                "no:cacheprovider",
                HERE,
                *others,
            ],
            env={**os.environ, "GLEITZEIT_SYSTEM_RELEASE": release},
            check=False,
        )
        say(f"--- {release}: {'passed' if tested.returncode == 0 else 'FAILED'}", time.monotonic() - begun)
        result = result or tested.returncode
    return result


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
