"""Which files a role reads, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.names import Role, is_identifier

DIRECTORY = Path("/etc/gleitzeit")
SHARED = "gleitzeit"
"""The file for all roles, and of the all-in-one mode."""


def config_files(
    role: Role | None,
    given: Sequence[Path] = (),
    *,
    instance: str = "",
    directory: Path = DIRECTORY,
) -> list[Path]:
    """The files of ``role``, weakest first, each followed by its drop-ins in the order of their names.

    A file's drop-ins are ``<its name>.d/*.toml`` beside it. Without ``given`` the files are
    ``gleitzeit.toml`` and the role's own or, of one of several with the role, the instance's, as far as they
    exist; of no role (all in one) only the former. ``given`` stands for all of them.

    Raises:
        ConfigError: a given file does not exist or is a directory, or a directory cannot be looked into.
    """
    if given:
        missing = [f"{file}: {why}" for file in given if (why := _unusable(file))]
        if missing:
            raise ConfigError("\n".join(missing))
        return [found for file in given for found in (file, *_drop_ins(file))]
    names = [directory / f"{SHARED}.toml"]
    if role is not None and (instance or role is Role.PROVIDER):
        names.append(instance_file(role, instance, directory))
    elif role is not None:
        names.append(directory / f"{role.file_name}.toml")
    return [found for name in names for found in (*_existing(name), *_drop_ins(name))]


def instance_file(role: Role, instance: str, directory: Path = DIRECTORY) -> Path:
    """The file of one of several with a role: ``providers/<name>.toml``, ``execution-engine/<name>.toml``.

    Raises:
        ConfigError: ``instance`` cannot be a name.
    """
    if not is_identifier(instance):
        raise ConfigError(f"{role.file_name}: expected the name of one of them, found {instance!r}")
    folder = "providers" if role is Role.PROVIDER else role.file_name
    return directory / folder / f"{instance}.toml"


def _unusable(file: Path) -> str:
    try:
        if file.is_dir():
            return "is a directory"
        return "" if file.exists() else "does not exist"
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"


def _existing(file: Path) -> list[Path]:
    try:
        # A broken link exists for the operator who made it: reading it says so.
        return [file] if file.exists() or file.is_symlink() else []
    except OSError as problem:
        raise ConfigError(f"{file}: cannot be read: {problem.strerror}") from problem


def _drop_ins(file: Path) -> list[Path]:
    directory = file.with_suffix(".d")
    try:
        found = list(directory.iterdir()) if directory.is_dir() else []
    except OSError as problem:
        raise ConfigError(f"{directory}: cannot be read: {problem.strerror}") from problem
    # Hidden files are what editors leave while a file is open in them.
    return sorted(f for f in found if f.suffix == ".toml" and not f.name.startswith("."))
