"""What a task writes, as records of the journal: one per line, with the fields of the task."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gleitzeitd.plain import Json
from gleitzeitd.runtime.journal import NOTICE, safe
from gleitzeitd.runtime.moderation import OUTPUT

LINE_LIMIT = 2048
"""Characters of one record; a longer line goes on in the next one."""

_LEVELS = {"stderr": NOTICE}
_log = logging.getLogger(OUTPUT)


class OutputRecords:
    """The lines of one call."""

    def __init__(self, about: Mapping[str, Json], limit: int) -> None:
        """``about`` are fields of every record. Of more than ``limit`` bytes the rest is left out."""
        self._about = dict(about)
        self._left = limit
        self._open: dict[str, str] = {}  # by stream: a line without its end

    def written(self, stream: str, text: str) -> None:
        """The work has written something."""
        if self._left <= 0 or not _log.isEnabledFor(logging.INFO):
            return
        *lines, rest = (self._open.pop(stream, "") + text).replace("\r\n", "\n").split("\n")
        for line in lines:
            self._write(stream, line)
        while len(rest) > LINE_LIMIT:
            self._write(stream, rest[:LINE_LIMIT])
            rest = rest[LINE_LIMIT:]
        self._open[stream] = rest

    def close(self) -> None:
        """The work has ended: write lines that have no end."""
        for stream, rest in self._open.items():
            self._write(stream, rest)
        self._open.clear()

    def _write(self, stream: str, line: str) -> None:
        for start in range(0, len(line.rstrip()), LINE_LIMIT):
            if self._left <= 0:
                return
            part = line[start : start + LINE_LIMIT].rstrip()
            self._left -= len(part.encode("utf-8", "replace"))
            self._record(stream, part)
            if self._left <= 0:
                self._record(stream, "(more is not written into the journal: gleitzeit logs shows it)")

    def _record(self, stream: str, text: str) -> None:
        level = _LEVELS.get(stream, logging.INFO)
        extra = safe({"role": "provider", **self._about, "stream": stream})
        _log.log(level, "[%s] %s", self._about.get("task_id", ""), text, extra=extra)
