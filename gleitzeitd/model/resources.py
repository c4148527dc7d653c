"""How much of a machine a task may take: what ``resources`` of a task can say, and how sizes are written."""

from __future__ import annotations

import re

from gleitzeitd.plain import Json

_UNITS = {
    "": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{0,3})")
SIZE_PATTERN = r"^\d{1,15}(\.\d{1,6})? ?([KMGTkmgt]([iI]?[bB])?|[bB])?$"
SIZES = ("memory", "file_size", "output")
"""Those that are bytes."""
RANGES: dict[str, tuple[float, float]] = {
    "memory": (16 * 2**20, 2**50),
    "cpu_seconds": (1, 10**7),
    "processes": (1, 10**6),
    "open_files": (16, 10**7),
    "file_size": (1, 2**50),
    "output": (1024, 2**50),
}


Resources = dict[str, int | float]
"""What one attempt may take, by name; what is absent is for the provider to decide. Whoever takes more
has failed. ``memory``, ``cpu_seconds`` and ``processes`` are of all its processes together, ``open_files`` of
each of them, ``file_size`` of each file that it writes, ``output`` is what it writes to stdout and stderr.
"""
RESOURCES = tuple(RANGES)
"""Their names."""


def size_of(value: Json) -> int | None:
    """Bytes: a whole number, or a text as ``512 MB``, ``1.5GiB``, ``2G``. None if it is neither."""
    if type(value) is int and value >= 0:
        return value
    if not isinstance(value, str) or (found := _SIZE.fullmatch(value.strip())) is None:
        return None
    unit = _UNITS.get(found[2].upper())
    return None if unit is None else int(float(found[1]) * unit)


def in_words(name: str, value: float) -> str:
    """``512 MB``, ``1.5 GiB``, ``30``: in the largest unit in which it is short."""
    if name not in SIZES:
        return f"{value:g}" if value % 1 else f"{int(value)}"
    for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "KB", "KiB"):
        count = value / _UNITS[unit.upper()]
        if count >= 1 and count * 10 == int(count * 10):
            return f"{count:.1f}".removesuffix(".0") + f" {unit}"
    return f"{int(value)} bytes"
