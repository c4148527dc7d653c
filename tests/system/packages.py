"""Our Debian packages, as ``./dev deb`` builds them from this tree and keeps them until something changes.

The version before the present one is the same code with a lower number, until there is a release to compare
with.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from gleitzeitd import __version__
from tests.system.progress import step

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD_SECONDS = 900


def former_version() -> str:
    """Lower than every version since the last release, for Debian and for Python alike."""
    major, *_ = __version__.split(".")
    return f"{int(major) - 1}.99.0"


def packages_of(version: str) -> Path:
    """The folder with the packages and their .changes.

    Raises:
        RuntimeError: they cannot be built; with what was written about that.
    """
    folder = ROOT / "build" / f"system-{version}"
    with step(f"packages {version}"):
        built = subprocess.run(
            [ROOT / "dev", "deb", "--version", version, "--output", folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    if built.returncode != 0:
        raise RuntimeError(f"./dev deb failed:\n{built.stderr[-6000:]}")
    return folder
