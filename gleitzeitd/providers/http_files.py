"""Bodies that become files: written piece by piece, beside their place, and put there when they are whole.

Without a directory of the settings they go into the provider's own, below ``/var/lib/gleitzeit``, and are
deleted after a while. A directory of the settings is somebody else's: nothing is ever deleted there.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, ResultInvalid

PART = ".part-"
"""A file whose name begins so is not whole."""
SWEEP_SECONDS = 3600.0
"""Between two looks for what is to be deleted."""
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LENGTH = 150


class Downloads:
    """The directory."""

    def __init__(self, directory: str, keep_seconds: float, environment: Mapping[str, str]) -> None:
        self.directory = Path(directory) if directory else own_directory(environment)
        self._keep_seconds = 0.0 if directory else keep_seconds
        self._swept = 0.0

    def begin(self, name: str, limit: int) -> Part:
        """A file below the directory, which may be there already, and is then replaced.

        Raises:
            ParameterInvalid: the name leads out of it.
            ExecutionFailed: nothing can be written there.
        """
        wanted = Path(name)
        bad = wanted.is_absolute() or ".." in wanted.parts or not wanted.name or "\0" in name
        if bad or name.endswith("/") or wanted.name.startswith(PART):
            raise ParameterInvalid(f"file {name!r}: expected a name below {self.directory}")
        try:
            target = self.directory / wanted
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            parent = target.parent.resolve()
            if not parent.is_relative_to(self.directory.resolve()):
                raise ParameterInvalid(f"file {name!r}: leads out of {self.directory}")
            if target.is_dir():
                raise ParameterInvalid(f"file {name!r}: is a directory")
            part = parent / f"{PART}{secrets.token_hex(8)}"
            return Part(parent / target.name, part, part.open("xb"), limit)
        except (OSError, ValueError) as problem:
            raise ExecutionFailed(f"{self.directory / name}: {problem}") from problem

    def sweep(self) -> None:
        """Delete what is older than it may be; does nothing if it was called a short time ago."""
        now = time.time()
        if not self._keep_seconds or now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        for folder, _, names in os.walk(self.directory, topdown=False):
            for name in names:
                file = Path(folder, name)
                try:
                    if file.lstat().st_mtime < now - self._keep_seconds:
                        file.unlink()
                except OSError:
                    continue  # somebody else was faster, or it is not ours
            if Path(folder) != self.directory:
                try:
                    Path(folder).rmdir()
                except OSError:
                    continue  # there is something in it


class Part:
    """A file that is being written. Its methods block, and are called one after the other."""

    def __init__(self, target: Path, part: Path, file: BinaryIO, limit: int) -> None:
        self.target = target
        self.size = 0
        self._part = part
        self._file = file
        self._limit = limit
        self._sum = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            ResultInvalid: it becomes too large.
            ExecutionFailed: the disk does not take it.
        """
        self.size += len(data)
        if self.size > self._limit:
            raise ResultInvalid(f"the body is larger than the {self._limit} bytes allowed")
        self._sum.update(data)
        try:
            self._file.write(data)
        except OSError as problem:
            raise ExecutionFailed(f"{self.target}: {problem.strerror}") from problem

    def finish(self, expected: str | None) -> str:
        """Put it in its place; its SHA-256, which is as expected.

        Raises:
            ResultInvalid: it is another one.
            ExecutionFailed: the disk does not take it.
        """
        digest = self._sum.hexdigest()
        if expected is not None and expected.lower() != digest:
            raise ResultInvalid(f"{self.target.name}: its SHA-256 is {digest}, and not {expected.lower()}")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self.target)
        except OSError as problem:
            raise ExecutionFailed(f"{self.target}: {problem.strerror}") from problem
        return digest

    def end(self) -> None:
        """Delete it, unless it is finished."""
        try:
            self._file.close()
        except OSError:
            pass  # what could not be written is not wanted any more
        finally:
            self._part.unlink(missing_ok=True)


def own_directory(environment: Mapping[str, str]) -> Path:
    """Where a provider keeps what is its own: systemd says so, or it is below the user's state directory."""
    state = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if state:
        return Path(state) / "downloads"
    home = environment.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path(environment.get("HOME", "/tmp")) / ".local" / "state"  # noqa: S108
    return base / "gleitzeit" / "downloads"


def name_for(url_path: str, workflow_id: str, task_id: str) -> str:
    """A name that belongs to the task alone, and ends like the address."""
    last = _plain(url_path.rstrip("/").rpartition("/")[2]) or "download"
    if not workflow_id:
        return f"{secrets.token_hex(6)}-{last}"
    return f"{_alone(workflow_id)}/{_alone(task_id)}/{last}"


def _alone(name: str) -> str:
    """A name for a folder that no other one has."""
    plain = _plain(name)
    if plain == name:
        return plain
    # What was left out may be all that tells it from another one.
    return f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _plain(text: str) -> str:
    return _NAME.sub("_", text)[-_NAME_LENGTH:].lstrip(".")
