"""Memory and open files of every process for as long as it lives, and whether one ends by itself."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

import psutil

MEGABYTES = 25.0
DESCRIPTORS = 20
WARM = 5.0
"""Seconds after which a process has taken what it needs anyway."""
Sample = tuple[float, float, int]
"""Monotonic time, resident megabytes, open descriptors."""


@dataclass(slots=True)
class Watchman:
    """Looks at processes, by name and process id."""

    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    born: dict[tuple[str, int], float] = field(default_factory=dict)

    def look(self, name: str, pid: int) -> None:
        """One more sample."""
        now = time.monotonic()
        if now - self.born.setdefault((name, pid), now) < WARM:
            return
        try:
            process = psutil.Process(pid)
            megabytes, descriptors = process.memory_info().rss / 1e6, process.num_fds()
        except psutil.Error:
            return  # it is gone
        if megabytes:  # a dead one that nobody has waited for has none
            self.samples[name, pid].append((now, megabytes, descriptors))

    def growth(self) -> list[str]:
        """Processes that grow."""
        found = []
        for (name, pid), samples in self.samples.items():
            first, last = samples[0], samples[-1]
            if last[1] - first[1] > MEGABYTES or last[2] - first[2] > DESCRIPTORS:
                found.append(
                    f"{name} (process {pid}) has grown in {last[0] - first[0]:.0f} s from {first[1]:.1f} to "
                    f"{last[1]:.1f} MB, and from {first[2]} to {last[2]} descriptors"
                )
        return found

    def table(self) -> dict[str, dict[str, list[float]]]:
        """Of the process of each name that has lived longest: first, after a third, last."""
        longest: dict[str, list[Sample]] = {}
        for (name, _), samples in self.samples.items():
            if name not in longest or len(samples) > len(longest[name]):
                longest[name] = samples
        return {
            name: {
                "seconds": [round(samples[-1][0] - samples[0][0], 1)],
                "megabytes": [round(each[1], 1) for each in _three(samples)],
                "descriptors": [each[2] for each in _three(samples)],
            }
            for name, samples in sorted(longest.items())
        }


def _three(samples: list[Sample]) -> list[Sample]:
    return [samples[0], samples[len(samples) // 3], samples[-1]]
