"""What a provider's own code prints, on its way to the journal: line by line, without secrets."""

from __future__ import annotations

import atexit
import io
import sys
from collections.abc import Callable
from threading import Lock
from typing import TextIO

LINE_LIMIT = 64 * 1024
"""Characters; what a line has beyond them goes on in the next one."""


class Prints(io.TextIOBase):
    """Stands for standard output or standard error. Threads may write to it."""

    def __init__(self, stream: TextIO, without: Callable[[str], str]) -> None:
        """``without`` takes out of a line what is secret."""
        super().__init__()
        self._stream = stream
        self._without = without
        self._open = ""
        self._lock = Lock()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property here, an attribute there
        return self._stream.encoding

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        with self._lock:
            lines, newline, self._open = (self._open + text).rpartition("\n")
            self._say(lines + newline)
            while len(self._open) > LINE_LIMIT:
                self._say(self._open[:LINE_LIMIT] + "\n")
                self._open = self._open[LINE_LIMIT:]
        return len(text)

    def flush(self) -> None:
        """What is no whole line yet waits nevertheless: it may be half a secret."""
        with self._lock:
            self._stream.flush()

    def end(self) -> None:
        """Write also what is no whole line."""
        with self._lock:
            self._say(self._open)
            self._open = ""

    def _say(self, text: str) -> None:
        if text:
            self._stream.write(self._without(text))
            self._stream.flush()


def hide_in_prints(without: Callable[[str], str]) -> None:
    """From now on, what this process prints goes through ``without``, to its end."""
    for name in ("stdout", "stderr"):
        prints = Prints(getattr(sys, name), without)
        setattr(sys, name, prints)
        atexit.register(prints.end)
