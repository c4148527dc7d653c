"""Files that are whole or not there, whatever ends the process, and that nobody reads who may not."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def create(file: Path, text: str, mode: int, group_id: int | None = None) -> bool:
    """Whether there was none, so that it was made; what is there is kept. Raises OSError."""
    with _draft(file, text, mode, group_id) as draft, suppress(FileExistsError):
        os.link(draft, file)
        _keep(file.parent)
        return True
    return False


def replace(file: Path, text: str, mode: int, group_id: int | None = None) -> None:
    """Make the file, or put another in its place. Raises OSError."""
    with _draft(file, text, mode, group_id) as draft:
        draft.replace(file)
        _keep(file.parent)


@contextmanager
def _draft(file: Path, text: str, mode: int, group_id: int | None) -> Iterator[Path]:
    file.parent.mkdir(mode=0o700 if mode == 0o600 else 0o755, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            if group_id is not None and draft.stat().st_gid != group_id:
                os.chown(draft, -1, group_id)
            draft.chmod(mode)
            os.fsync(out.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _keep(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
