"""Where the processor time goes: one profile per daemon, and tables of them.

Two profilers, since each shows what the other cannot. ``cprofile`` counts calls and times functions of C
apart (JSON, SQLite), but slows Python down, small functions most. ``py-spy`` looks at the stacks many times a
second from outside, which costs little, and gives flame graphs; the functions of C count for their callers.
"""

from __future__ import annotations

import html
import os
import pstats
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.profiled import PROFILE

PER_SECOND = 500
"""Samples that py-spy takes of each daemon."""
WRITE_SECONDS = 30.0
"""How long a profile may take to be written."""
SHOWN = 40
"""Functions in a table."""


class Profiler(ABC):
    """Profiles of all daemons, in a folder."""

    program = "gleitzeitd"
    """The module that is run as a daemon."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def environment(self, name: str) -> Mapping[str, str]:
        """What a daemon finds in its environment besides."""
        return {}

    @abstractmethod
    def begin(self, pids: Mapping[str, int]) -> None:
        """Of these daemons, from now on."""

    @abstractmethod
    def end(self) -> None:
        """Write the profiles, and ``top.txt`` with the functions that take the most."""


class Deterministic(Profiler):
    """``NAME.pstats`` per daemon, for ``python -m pstats`` and for viewers; and ``top.txt``."""

    program = "bench.profiled"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pids: Mapping[str, int] = {}

    def environment(self, name: str) -> Mapping[str, str]:
        return {PROFILE: str(self._path(name))}

    def _path(self, name: str) -> Path:
        return self.folder.resolve() / f"{name}.pstats"

    def begin(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        for name, pid in pids.items():
            self._path(name).unlink(missing_ok=True)
            os.kill(pid, signal.SIGUSR1)
        time.sleep(0.1)

    def end(self) -> None:
        for pid in self._pids.values():
            os.kill(pid, signal.SIGUSR2)
        deadline = time.monotonic() + WRITE_SECONDS
        while not all(self._path(name).exists() for name in self._pids):
            if time.monotonic() > deadline:
                raise RuntimeError("not all daemons have written their profiles")
            time.sleep(0.05)
        tables = [_functions(name, self._path(name)) for name in self._pids]
        (self.folder / "top.txt").write_text("\n".join(tables))


def _functions(name: str, path: Path) -> str:
    """The functions of one daemon by own time, and what the libraries take together."""
    rows: dict[tuple[str, int, str], Any] = vars(pstats.Stats(str(path)))["stats"]
    waits = ("poll' of 'select", "uvloop.loop.Loop.run_", "epoll")
    timed = [
        (own, calls, cumulative, _where(file, line, function))
        for (file, line, function), (_, calls, own, cumulative, _) in rows.items()
        if not any(each in function for each in waits)
    ]
    whole = sum(own for own, _, _, _ in timed) or 1e-9
    shares: Counter[str] = Counter()
    for own, _, _, where in timed:
        shares[_group(where)] += own
    lines = [f"{name}: {whole:.3f} s in functions (under the profiler)", ""]
    lines += [f"  {100 * share / whole:5.1f} %  {group}" for group, share in shares.most_common(12)]
    lines += ["", "     own s      %      calls  us/call     cumulative s  function"]
    for own, calls, cumulative, where in sorted(timed, reverse=True)[:SHOWN]:
        each = 1e6 * own / calls
        lines.append(
            f"  {own:8.3f}  {100 * own / whole:5.1f}  {calls:9}  {each:7.2f}  {cumulative:15.3f}  {where}"
        )
    return "\n".join([*lines, ""])


def _where(file: str, line: int, function: str) -> str:
    if file == "~":
        return function
    for root in ("site-packages/", "/lib/python3", "gleitzeitd/"):
        _, found, rest = file.rpartition(root)
        if found:
            file = rest if root == "site-packages/" else found.lstrip("/").removeprefix("lib/") + rest
            break
    return f"{file}:{line} {function}"


def _group(where: str) -> str:
    """Of a function as :func:`_where` names it: the library, or our own module."""
    if where.startswith("gleitzeitd/"):
        return where.partition(":")[0]
    if where.startswith("python3"):
        return "/".join(where.partition(":")[0].split("/")[:2]).removesuffix(".py")
    if where[:1] in "<{":
        for library in ("orjson", "json", "sqlite3", "uvloop", "asyncio", "socket", "aiohttp"):
            if library in where.lower():
                return f"{library} (C)"
        return "built-in functions"
    return where.partition("/")[0].partition(":")[0]


class Sampling(Profiler):
    """``NAME.folded`` (a stack per line, and how often it was seen) and ``NAME.svg``; and ``top.txt``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._spies: dict[str, subprocess.Popen[bytes]] = {}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.folded"

    def begin(self, pids: Mapping[str, int]) -> None:
        for name, pid in pids.items():
            command = [program(), "record", "--pid", str(pid), "--format", "raw", "--nolineno"]
            command += ["--rate", str(PER_SECOND), "--duration", "3600", "--nonblocking", "--threads"]
            self._spies[name] = subprocess.Popen(
                [*command, "--output", str(self._path(name))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        for name, spy in self._spies.items():
            assert spy.stdout is not None
            said = spy.stdout.readline()  # when it has begun
            if spy.poll() is not None:
                raise RuntimeError(f"py-spy cannot look at {name}: {(said + spy.stdout.read()).decode()}")

    def end(self) -> None:
        for spy in self._spies.values():
            spy.send_signal(signal.SIGINT)
        for spy in self._spies.values():
            spy.communicate(timeout=WRITE_SECONDS)
        tables = []
        for name in self._spies:
            stacks = read_stacks(self._path(name)) if self._path(name).exists() else Counter()
            tables.append(_hottest(name, stacks))
            self._path(name).with_suffix(".svg").write_text(flame_graph(name, stacks))
        self._spies = {}
        (self.folder / "top.txt").write_text("\n".join(tables))


def program() -> str:
    """Where py-spy is, beside this Python or in the path; an empty text if it is not installed."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy") or ""


def read_stacks(path: Path) -> Counter[tuple[str, ...]]:
    """How often each stack was seen, the outermost function first."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def _hottest(name: str, stacks: Counter[tuple[str, ...]]) -> str:
    whole = sum(stacks.values()) or 1
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        for function in set(stack):
            within[function] += count
    lines = [f"{name}: {whole} samples, {whole / PER_SECOND:.2f} s", "", "   own %  within %  function"]
    lines += [
        f"  {100 * count / whole:6.1f}  {100 * within[function] / whole:8.1f}  {function}"
        for function, count in own.most_common(SHOWN)
    ]
    return "\n".join([*lines, ""])


# --- the flame graph ------------------------------------------------------------------------------

_WIDTH, _ROW, _LEAST = 1400.0, 17, 0.6


def flame_graph(title: str, stacks: Counter[tuple[str, ...]]) -> str:
    """An SVG: a box per function, as wide as its share, above its caller; the pointer shows its name."""
    boxes: list[str] = []
    depth = _boxes(stacks, sum(stacks.values()) or 1, boxes)
    height = (depth + 3) * _ROW
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height}" font-size="11" '
        f'font-family="monospace"><text x="4" y="13">{html.escape(title)}</text>'
        f'<g transform="translate(0 {height - _ROW}) scale(1 1)">'
    )
    return "\n".join([head, *boxes, "</g></svg>", ""])


def _boxes(stacks: Counter[tuple[str, ...]], whole: int, boxes: list[str]) -> int:
    """Adds the boxes of all stacks; the number of rows."""
    left, row, rows = 0.0, 0, 0
    waiting = [(stacks, left, row)]
    while waiting:
        below, left, row = waiting.pop()
        children: dict[str, Counter[tuple[str, ...]]] = {}
        for stack, count in below.items():
            if stack:
                children.setdefault(stack[0], Counter())[stack[1:]] += count
        for name, rest in sorted(children.items()):
            seen = sum(rest.values())
            width = _WIDTH * seen / whole
            if width >= _LEAST:
                boxes.append(_box(name, left, row, width, 100 * seen / whole))
                waiting.append((rest, left, row + 1))
                rows = max(rows, row + 1)
            left += width
    return rows


def _box(name: str, left: float, row: int, width: float, percent: float) -> str:
    hue = sum(name.encode()) % 50
    room = int(width / 6.7)
    shown = html.escape(name[:room]) if room > 2 else ""
    return (
        f"<g><title>{html.escape(name)}: {percent:.1f} %</title>"
        f'<rect x="{left:.1f}" y="{-row * _ROW}" width="{width:.1f}" height="{_ROW - 1}" '
        f'fill="hsl({hue} 80% 65%)"/><text x="{left + 2:.1f}" y="{12 - row * _ROW}">{shown}</text></g>'
    )


PROFILERS: dict[str, type[Profiler]] = {"cprofile": Deterministic, "py-spy": Sampling}


def available() -> list[str]:
    """The profilers that can be used here."""
    return [name for name in PROFILERS if name != "py-spy" or program()]
