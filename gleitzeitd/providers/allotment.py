"""How much of the machine one piece of work may take: set in its process, and watched over all its processes.

The kernel's limits are of one process, and at once: memory of its own (RLIMIT_DATA), seconds of processor
time, open files, the size of a file. What all processes of the work take together is looked at several times
a second by the worker, which ends the work that takes too much.

A limit is plain JSON by name: ``memory`` (bytes), ``cpu_seconds``, ``processes``, ``open_files``,
``file_size`` (bytes); what is absent has none. Standard library only: ``worker.py`` loads this as a script.
"""

# Without pathlib and contextlib, a worker starts in half the time.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import math
import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes a third of the worker's start
    from collections.abc import Callable
    from typing import Any

FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.05, 0.2
PAGE = resource.getpagesize()
TICKS = os.sysconf("SC_CLK_TCK")


def take(limits: dict[str, Any]) -> None:
    """In the process of the work: it cannot get more from now on."""
    memory, cpu = limits.get("memory"), limits.get("cpu_seconds")
    if memory:
        _set(resource.RLIMIT_DATA, memory)
    if cpu:
        seconds = math.ceil(cpu)
        _set(resource.RLIMIT_CPU, seconds, seconds + 1)
    if limits.get("processes"):
        # The kernel counts those of the user. This many more than all that there are is what stops a flood
        # until the worker looks.
        _set(resource.RLIMIT_NPROC, _threads() + limits["processes"])
    if limits.get("open_files"):
        _set(resource.RLIMIT_NOFILE, limits["open_files"])
    if limits.get("file_size"):
        _set(resource.RLIMIT_FSIZE, limits["file_size"])


def _set(kind: int, soft: int, hard: int = 0) -> None:
    most = resource.getrlimit(kind)[1]
    hard = hard or soft
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def _threads() -> int:
    """Of the whole system."""
    with open("/proc/loadavg", "rb") as file:
        return int(file.read().split()[3].partition(b"/")[2])


def overdrawn(limits: dict[str, Any], pids: list[int]) -> str:
    """The name of the limit that these processes exceed together; empty if none."""
    if limits.get("processes") and len(pids) > limits["processes"]:
        return "processes"
    memory, cpu = limits.get("memory"), limits.get("cpu_seconds")
    if memory and _sum(_memory, pids) > memory:
        return "memory"
    if cpu and _sum(_seconds, pids) > cpu:
        return "cpu_seconds"
    return ""


def _sum(measure: Callable[[int], float], pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        try:
            total += measure(pid)
        except OSError:
            continue  # it has just ended
    return total


def _memory(pid: int) -> float:
    """Bytes that are its own."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        resident, shared = file.read().split()[1:3]
    return (int(resident) - int(shared)) * PAGE


def _seconds(pid: int) -> float:
    """Of a processor, with those of its children that have ended."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return sum(map(int, file.read().rpartition(b")")[2].split()[11:15])) / TICKS


def children() -> list[int]:
    """Every process below this one, as far as it can be seen: of one that hides, those below it are seen once
    it has ended, as they are ours then.

    Raises FileNotFoundError: this kernel does not tell.
    """
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                    below = [int(one) for one in file.read().split()]
                found += below
                waiting += below
        except OSError as problem:
            if pid == os.getpid():
                raise FileNotFoundError("children") from problem
    return found
