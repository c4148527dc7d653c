"""How the process is: what rides along with heartbeats and stands in ``gleitzeit ps``."""

from __future__ import annotations

import os
import time

import psutil

from gleitzeitd.plain import Json

_process = psutil.Process()


def sample() -> dict[str, Json]:
    """CPU in per cent of one core since the sample before, memory in bytes, descriptors, threads, load.

    Figures that this system does not give are left out. Takes under a millisecond; every ten seconds is
    often enough.
    """
    figures: dict[str, Json] = {"uptime_seconds": round(max(0.0, time.time() - _process.create_time()), 1)}
    with _process.oneshot():
        for name, read in (
            ("cpu_percent", lambda: _process.cpu_percent(None)),
            ("memory_bytes", lambda: _process.memory_info().rss),
            ("open_files", _process.num_fds),
            ("threads", _process.num_threads),
            ("load_average", lambda: round(os.getloadavg()[0], 2)),
        ):
            try:
                figures[name] = read()
            except (psutil.Error, OSError):
                continue  # a sandbox may hide parts of /proc
    return figures
