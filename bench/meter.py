"""What a run costs: processor time by daemon, memory by daemon, and the median of several runs."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import psutil

from gleitzeitd.plain import Json

if TYPE_CHECKING:
    from bench.system import System

CLIENT = "client"
"""The process that measures: it submits, and looks for the end."""


def cpu_seconds(pid: int, *, below: bool = True) -> float:
    """User and system time of a process, of the children that it has reaped, and (``below``) of all processes
    below it that are alive: a provider's work counts for the provider.
    """
    process = psutil.Process(pid)
    used = 0.0
    for each in [process, *(process.children(recursive=True) if below else ())]:
        with suppress(psutil.NoSuchProcess):  # it has just ended, and its parent has its time
            times = each.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def memory(pid: int) -> dict[str, float]:
    """``rss`` and ``pss`` of a process, in megabytes; pages that several share count in part in ``pss``."""
    full = psutil.Process(pid).memory_full_info()
    return {"rss": round(full.rss / 1e6, 1), "pss": round(full.pss / 1e6, 1)}


def total(values: Iterable[float], digits: int = 3) -> float:
    """Their sum, rounded."""
    return round(sum(values), digits)


class Meter:
    """Measures what the daemons of a system do, and this process, between its begin and its end."""

    def __init__(self, system: System, *, profiles: bool = True) -> None:
        self._system = system
        self._profiles = profiles
        self._before: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._started = 0.0
        self.seconds = 0.0

    def __enter__(self) -> Meter:
        if self._profiles:
            self._system.begin_profiles()
        self._before = self._cpu()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._profiles:
            self._system.end_profiles()

    def stop(self) -> None:
        """What follows is not measured any more; a second time, it does nothing."""
        if not self.seconds:
            self.seconds = time.perf_counter() - self._started
            self._used = {
                name: round(after - self._before.get(name, 0.0), 3) for name, after in self._cpu().items()
            }

    def _cpu(self) -> dict[str, float]:
        found = {name: cpu_seconds(process.pid) for name, process in self._system.processes.items()}
        return {**found, CLIENT: cpu_seconds(os.getpid(), below=False)}

    @property
    def cpu(self) -> Mapping[str, float]:
        """Seconds of processor time, by daemon; complete once the meter has stopped."""
        return self._used

    def figures(self, tasks: int) -> dict[str, Json]:
        """For the line of a run in which ``tasks`` were done. Sums are of the daemons, not of the client."""
        daemons = {name: used for name, used in self._used.items() if name != CLIENT}
        return {
            "seconds": round(self.seconds, 4),
            "cpu_seconds": {name: round(used, 2) for name, used in self._used.items()},
            "cpu_us_per_task": round(1e6 * sum(daemons.values()) / tasks, 1),
            "cpu_us_per_task_by_daemon": {
                name: round(1e6 * used / tasks, 1) for name, used in self._used.items()
            },
        }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Of several runs: the median, the least and the most."""
    return {
        "median": round(statistics.median(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
    }


def summary(lines: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """Of every figure that all lines have: :func:`spread`; of groups of figures, that of each."""
    found: dict[str, Json] = {}
    for name, first in lines[0].items():
        values = [line.get(name) for line in lines]
        if isinstance(first, (int, float)) and not isinstance(first, bool):
            if all(isinstance(value, (int, float)) for value in values):
                found[name] = spread([float(value) for value in values if value is not None])
        elif isinstance(first, dict) and all(isinstance(value, dict) for value in values):
            found[name] = summary([value for value in values if value is not None])
    return found


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in order: the least that ``percent`` of them do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
