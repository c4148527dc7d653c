"""Finds the official SDK, which is an extra of Python's package and a package of its own on Debian."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from gleitzeitd.errors import ConfigError

DEBIAN_FOLDER = Path("/usr/lib/gleitzeit/provider-mcp")
"""Where the package gleitzeit-provider-mcp has it."""
LEAST_MAJOR = 2
INSTALL = "install the Debian package gleitzeit-provider-mcp, or pip install 'gleitzeitd[mcp]'"


def load_sdk(folder: Path = DEBIAN_FOLDER) -> str:
    """Make ``import mcp`` work; its version.

    Raises:
        ConfigError: it is not there, is too old, or cannot be imported; the message says what to install.
    """
    if find_spec("mcp") is None:
        place = next((each for each in _places(folder) if (each / "mcp").is_dir()), None)
        if place is None:
            raise ConfigError(f"this needs the Python package mcp, which is not here: {INSTALL}")
        # At the end: what it brings along must not take the place of what this interpreter has.
        sys.path.append(str(place))
    try:
        found = version("mcp")
        import_module("mcp.server.lowlevel")
    except (ImportError, PackageNotFoundError) as problem:
        raise ConfigError(f"the Python package mcp cannot be imported ({problem}): {INSTALL}") from problem
    if int(found.partition(".")[0]) < LEAST_MAJOR:
        raise ConfigError(
            f"the Python package mcp is {found}, and has to be {LEAST_MAJOR} or newer: {INSTALL}"
        )
    return found


def _places(folder: Path) -> Sequence[Path]:
    """The folder itself, or what is in it if it is an environment of this Python."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [folder, folder / "lib" / python / "site-packages", folder / "lib" / "python3" / "dist-packages"]
