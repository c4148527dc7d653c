"""Files that are put into place together: all of them, whole, or none; each with its mode from the start."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gleitzeitd.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file as it is to be."""

    path: Path
    content: bytes
    mode: int = 0o644
    user: int = -1
    """-1: whose process this is."""
    group: int = -1


def place(files: Sequence[Placed]) -> None:
    """Write all of them, in the place of those that have their names.

    Raises:
        ConfigError: one cannot be written; what was there before is there again.
    """
    drafts: list[tuple[Path, Placed]] = []
    former: list[tuple[Path, Path | None]] = []
    at = None
    try:
        for each in files:
            at = each.path
            drafts.append((_draft(each), each))
        for draft, each in drafts:
            at = each.path
            kept = _kept(each.path)
            former.append((each.path, kept))
            draft.replace(each.path)
    except OSError as problem:
        for path, kept in reversed(former):
            with suppress(OSError):
                if kept is None:
                    path.unlink()
                else:
                    kept.replace(path)
        hint = "" if os.geteuid() == 0 else " (it takes root)"
        raise ConfigError(f"{at}: cannot be written: {problem.strerror}{hint}") from problem
    finally:
        for rest in [draft for draft, _ in drafts] + [kept for _, kept in former if kept is not None]:
            with suppress(OSError):
                rest.unlink()


def _draft(wanted: Placed) -> Path:
    directory = wanted.path.parent
    if not directory.is_dir():
        # Of a directory that only root's secrets are in, nobody else has to know the names.
        directory.mkdir(mode=0o700 if directory.name == "credstore" else 0o755, parents=True)
    draft = directory / f".{wanted.path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(wanted.content)
            out.flush()
            if (wanted.user, wanted.group) != (-1, -1):
                os.fchown(out.fileno(), wanted.user, wanted.group)
            os.fchmod(out.fileno(), wanted.mode)
            os.fsync(out.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft


def _kept(path: Path) -> Path | None:
    """Another name of the file that is there now; None if there is none."""
    kept = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        os.link(path, kept)
    except FileNotFoundError:
        return None
    return kept
