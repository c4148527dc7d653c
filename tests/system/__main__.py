"""``python -m tests.system``: all scenarios on hosts of one release of Debian, or of each that is supported."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.system.image import RELEASES
from tests.system.needs import what_is_missing
from tests.system.progress import say

HERE = Path(__file__).resolve().parent
OF_THEIR_OWN = ("test_upgrade.py", "test_backup.py", "test_mcp.py", "test_packages.py", "test_tls.py")
"""Files whose scenarios do not use the three hosts of the others."""
NOTHING_CHOSEN = 5
"""pytest's exit code."""


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
        tested = run(release, others)
        say(f"--- {release}: {'passed' if tested == 0 else 'FAILED'}", time.monotonic() - begun)
        result = result or tested
    return result


def run(release: str, others: list[str]) -> int:
    """Test on one release: what shares hosts in one process, and what has hosts of its own beside it, since
    both wait most of the time. The output of the second comes at its end. The exit code is pytest's.
    """
    if any(Path(word.partition("::")[0]).exists() for word in others):
        with started(release, others) as only:
            return only.wait()
    apart = [str(HERE / name) for name in OF_THEIR_OWN]
    shared = [str(HERE), *(f"--ignore={file}" for file in apart)]
    with (
        tempfile.TemporaryFile("w+") as written,
        started(release, [*apart, *others], output=written) as beside,
        started(release, [*shared, *others]) as first,
    ):
        codes = [first.wait(), beside.wait()]
        written.seek(0)
        say("--- meanwhile")
        sys.stderr.write(written.read())
    ran = [code for code in codes if code != NOTHING_CHOSEN]
    return max(ran, default=NOTHING_CHOSEN)


@contextmanager
def started(
    release: str, words: list[str], output: IO[str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A run of pytest. It is told to end if this one has to, and gets the time to clean up."""
    pytest = [sys.executable, "-m", "pytest", "-q", "--capture=no", "--tb=short", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*pytest, *words],
        env={**os.environ, "GLEITZEIT_SYSTEM_RELEASE": release},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C would reach it twice
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
