"""``python -m bench.profiled ROLE ...``: a daemon whose Python functions are counted and timed.

SIGUSR1 begins; SIGUSR2 ends, and writes the file that ``BENCH_PROFILE`` names.
"""

from __future__ import annotations

import cProfile
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from gleitzeitd.__main__ import run

PROFILE = "BENCH_PROFILE"


def main() -> int:
    """The daemon's exit code."""
    # By the processor time of this thread: on a busy machine, whoever sends wakes others, and waits for them.
    profile = cProfile.Profile(time.thread_time)
    target = Path(os.environ.pop(PROFILE))

    def begin(_number: int, _frame: FrameType | None) -> None:
        profile.enable()

    def end(_number: int, _frame: FrameType | None) -> None:
        profile.disable()
        half = target.with_suffix(".half")
        profile.dump_stats(half)
        half.replace(target)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    return run(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
