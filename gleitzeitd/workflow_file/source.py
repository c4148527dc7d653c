"""The bytes of a file that somebody names, whatever it is: a pipe without an end, a folder, a device.

A pipe is waited for, since ``gleitzeit run <(generate)`` is one; but not one that nobody has opened to
write, and not one that says nothing.
"""

from __future__ import annotations

import codecs
import os
import select
import stat
from pathlib import Path

WRITER_SECONDS = 1.0
"""How long a pipe may have no writer."""
SILENT_SECONDS = 60.0
"""How long a writer may write nothing."""
_AT_ONCE = 256 * 1024


class Unreadable(Exception):
    """The message says why, and what to do."""


class NoTextError(Exception):
    """Bytes are no UTF-8; the message says what they are, and what to do."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        """From 1."""
        self.column = column
        """From 1, in bytes."""


def decoded(data: bytes) -> str:
    """The text that ``data`` is in UTF-8, without a mark at its beginning.

    Raises:
        NoTextError: it is none.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise NoTextError("this is UTF-32; save it as UTF-8")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise NoTextError("this is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise NoTextError(
            f"no UTF-8 text, found the byte 0x{data[problem.start]:02x}; save it as UTF-8",
            data.count(b"\n", 0, problem.start) + 1,
            problem.start - data.rfind(b"\n", 0, problem.start),
        ) from problem


def read_bounded(path: str | Path, most: int) -> bytes:
    """What is in the file, but no more than ``most`` bytes and one, which says that it is too large.

    Raises:
        Unreadable: there is no such file, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise Unreadable(_why(problem)) from problem
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise Unreadable("this is a folder; name a file in it")
        parts, left = [], most + 1
        while left and (part := _part(descriptor, min(left, _AT_ONCE), waits=not stat.S_ISREG(mode))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    except OSError as problem:
        raise Unreadable(_why(problem)) from problem
    finally:
        os.close(descriptor)


def _part(descriptor: int, most: int, *, waits: bool) -> bytes:
    """What comes next; nothing at the end."""
    watched = select.poll()
    watched.register(descriptor, select.POLLIN)
    spoke = not waits or bool(watched.poll(WRITER_SECONDS * 1000))
    try:
        part = os.read(descriptor, most)
    except BlockingIOError:
        if not watched.poll(SILENT_SECONDS * 1000):
            raise Unreadable(f"nothing came from it in {SILENT_SECONDS:g} seconds; name a file") from None
        part, spoke = os.read(descriptor, most), True
    if not spoke and not part:
        raise Unreadable("a pipe that nobody writes to; start the writer first, or name a file")
    return part


_HELP = {
    "FileNotFoundError": "check its name, and the folder that this runs in",
    "PermissionError": "give this user the right to read it",
}


def _why(problem: Exception) -> str:
    text = problem.strerror if isinstance(problem, OSError) else str(problem)
    more = _HELP.get(type(problem).__name__)
    return f"{text}; {more}" if more else f"{text or problem}; name another file"
