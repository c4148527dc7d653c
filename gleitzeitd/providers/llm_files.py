"""Texts and images that a prompt takes from files, or from parameters.

A file is judged by what was opened, not by its name: a link leads nowhere that its target could not be named.
The credentials of this process and what the kernel shows of it (its environment holds keys) are never read.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gleitzeitd.errors import ParameterInvalid

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
FOLDER_LIMIT = 10_000
"""Files that a directory may give."""
_NEVER = ("/proc", "/sys", "/dev", "/run/credentials", "/etc/credstore", "/etc/gleitzeit/token")
_DATA_URL = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it is in a file."""

    data: bytes
    kind: str
    """Media type: ``image/png``."""

    def base64(self) -> str:
        """As APIs want it."""
        return base64.b64encode(self.data).decode()


@dataclass(frozen=True, slots=True)
class Files:
    """What may be read."""

    directories: tuple[Path, ...]
    """Files are below one of these; none: they can be anywhere."""
    limit: int
    """Bytes of one file."""
    forbidden: tuple[str, ...] = _NEVER

    @classmethod
    def within(cls, directories: list[str], limit: int, environment: Mapping[str, str]) -> Files:
        """Those below ``directories``, up to ``limit`` bytes, and not the credentials of this process."""
        own = environment.get("CREDENTIALS_DIRECTORY", "")
        places = tuple(Path(os.path.realpath(directory)) for directory in directories)
        return cls(places, limit, (*_NEVER, os.path.realpath(own)) if own else _NEVER)

    def text(self, path: str) -> str:
        """The file's text.

        Raises:
            ParameterInvalid: it cannot be read, is too large, or is no text.
        """
        try:
            text = self._bytes(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ParameterInvalid(f"{path}: no UTF-8 text") from None
        if "\0" in text:
            raise ParameterInvalid(f"{path}: no text")
        return text

    def image(self, path: str) -> Image:
        """The file's image.

        Raises:
            ParameterInvalid: it cannot be read, is too large, or is no image.
        """
        return image_of(self._bytes(path), path)

    def below(self, directory: str, pattern: str) -> list[str]:
        """Files in a directory, by name.

        Raises:
            ParameterInvalid: there is no such directory, or nothing in it matches.
        """
        folder = Path(directory)
        if ".." in Path(pattern).parts or Path(pattern).is_absolute():
            raise ParameterInvalid(f"file_pattern: {pattern!r} is no pattern of files in a directory")
        try:
            found = islice((p for p in folder.glob(pattern) if p.is_file()), FOLDER_LIMIT + 1)
            files = sorted(str(path) for path in found)
        except (ValueError, OSError) as problem:
            raise ParameterInvalid(f"{directory}: {pattern}: {problem}") from problem
        if not files:
            raise ParameterInvalid(f"{directory}: no file matches {pattern!r}")
        if len(files) > FOLDER_LIMIT:
            raise ParameterInvalid(f"{directory}: more than {FOLDER_LIMIT} files match {pattern!r}")
        return files

    def _bytes(self, path: str) -> bytes:
        try:
            # A pipe without a writer would wait for one.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            with os.fdopen(descriptor, "rb") as file:
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode):
                    raise ParameterInvalid(f"{path}: no file")
                self._admit(path, Path(f"/proc/self/fd/{descriptor}").readlink())
                data = file.read(self.limit + 1)
        except (OSError, ValueError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else str(problem)
            raise ParameterInvalid(f"{path}: cannot be read: {why}") from problem
        if len(data) > self.limit:
            raise ParameterInvalid(f"{path}: larger than the {self.limit} bytes allowed")
        return data

    def _admit(self, path: str, real: Path) -> None:
        if any(real.is_relative_to(place) for place in self.forbidden):
            raise ParameterInvalid(f"{path}: is never read")
        if self.directories and not any(real.is_relative_to(place) for place in self.directories):
            raise ParameterInvalid(f"{path}: is in none of the directories that the provider may read")


def is_image(path: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def image_in(text: str, name: str) -> Image:
    """The image that a parameter holds, in base64 or as a ``data:`` URL.

    Raises:
        ParameterInvalid: it is none.
    """
    start = _DATA_URL.match(text[:200])
    coded = "".join(text[start.end() if start else 0 :].split())
    try:
        return image_of(base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True), name)
    except binascii.Error:
        raise ParameterInvalid(f"{name}: no base64") from None


def image_of(data: bytes, name: str) -> Image:
    """The image, with what it is.

    Raises:
        ParameterInvalid: it is none that is known.
    """
    for start, kind in (
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"GIF8", "gif"),
        (b"BM", "bmp"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
    ):
        if data.startswith(start):
            return Image(data, f"image/{kind}")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Image(data, "image/webp")
    raise ParameterInvalid(f"{name}: no image of a known kind: PNG, JPEG, GIF, WebP, BMP or TIFF")
