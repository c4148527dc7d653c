"""What a task may take of the machine: what it asks for, within what its provider gives."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import ResourcesExceeded
from gleitzeitd.model.resources import RESOURCES, Resources, in_words
from gleitzeitd.plain import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a task may take that says nothing itself. A task that takes more ends, and has failed."""

    memory: int = bounded(0, least=0, most=2**50, unit="bytes")
    """Of all its processes together. 0: half of the machine's."""
    cpu_seconds: float = bounded(0.0, least=0, most=10**7, unit="seconds")
    """Of processors, of all its processes together. 0: any number."""
    processes: int = bounded(256, least=1, most=10**6)
    """At the same time."""
    open_files: int = bounded(1024, least=16, most=10**7)
    """Of each process; the opening of one more fails."""
    file_size: int = bounded(4 * 2**30, least=0, most=2**60, unit="bytes")
    """Of each file that it writes. 0: any size."""
    output: int = bounded(256 * 2**20, least=0, most=2**50, unit="bytes")
    """Written to stdout and stderr, shown or not. 0: any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maxima:
    """The most that a task may ask for in its resources; a task that asks for more has failed at once."""

    memory: int = bounded(0, least=0, most=2**50, unit="bytes")
    """0: all that the machine has."""
    cpu_seconds: float = bounded(0.0, least=0, most=10**7, unit="seconds")
    """0: any number."""
    processes: int = bounded(4096, least=1, most=10**6)
    """At the same time."""
    open_files: int = bounded(65536, least=16, most=10**7)
    """Of each process."""
    file_size: int = bounded(2**40, least=0, most=2**60, unit="bytes")
    """0: any size."""
    output: int = bounded(2**34, least=0, most=2**50, unit="bytes")
    """0: any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The two of them, as a provider has them."""

    limits: Limits = field(default_factory=Limits)
    maxima: Maxima = field(default_factory=Maxima)

    def of(self, asked: Resources | None) -> dict[str, Json]:
        """What a task that asks for this may take, by name; what is absent has no limit.

        Raises:
            ResourcesExceeded: it asks for more than there is for it.
        """
        given: dict[str, Json] = {}
        for name in RESOURCES:
            most = getattr(self.maxima, name) or (_machine_memory() if name == "memory" else 0)
            wanted = (asked or {}).get(name)
            if wanted is not None and most and wanted > most:
                raise ResourcesExceeded(
                    f"asks for resources.{name} = {in_words(name, wanted)}, and the provider gives at most "
                    f"{in_words(name, most)}: ask for less, or raise maxima.{name} in the provider's settings"
                )
            limit = getattr(self.limits, name) or (_machine_memory() // 2 if name == "memory" else 0)
            chosen = wanted if wanted is not None else min(limit, most) if limit and most else limit or most
            if chosen:
                given[name] = chosen
        return given


def exceeded(name: str, limits: dict[str, Json]) -> ResourcesExceeded:
    """A task was ended, or could not go on, for this limit of its own."""
    limit = f"resources.{name} = {in_words(name, limits[name])}"
    return ResourcesExceeded(f"needed more than {limit}; {_HELP.get(name, 'ask for more there')}")


_HELP = {"output": "write less, or to a file, or ask for more there"}


@functools.cache
def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
