"""Our Debian packages, built from this tree as it stands, and kept as long as nothing of it changes.

They are built in a copy: a build leaves nothing in the working tree, and takes nothing from it that is
ignored by git. The version before the present one is the same code with a lower number, until there is a
release to compare with.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.system.containers import ENVIRONMENT
from tests.system.image import cache_folder, lock_of
from tests.system.progress import step

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_PACKAGED = ("tests/", "bench/", ".ci/")
BUILD_SECONDS = 600
KEPT = 6
"""Builds in the cache; the oldest go first."""


def present_version() -> str:
    """As the changelog of the packages has it."""
    first = (ROOT / "debian/changelog").read_text().splitlines()[0]
    found = re.match(r"gleitzeit \(([^)]+)\)", first)
    assert found, f"debian/changelog: not a version: {first}"
    return found[1]


def former_version() -> str:
    """Lower than every version since the last release, for Debian and for Python alike."""
    major, *_ = present_version().split(".")
    return f"{int(major) - 1}.99.0"


def packages_of(version: str) -> Path:
    """A folder with the packages and their .changes, in the cache.

    Raises:
        RuntimeError: they cannot be built; with the end of what the build has written.
    """
    files = _files()
    found = hashlib.sha256(version.encode())
    for name in files:
        path = ROOT / name
        found.update(f"{name} {path.stat().st_mode:o}\n".encode())
        found.update(path.read_bytes())
    folder = cache_folder() / f"debs-{version}-{found.hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(folder) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not folder.is_dir():
            with step(f"packages {version}"):
                _build(version, files, folder)
            _forget_oldest(folder)
        folder.touch()
    return folder


def _files() -> list[str]:
    """All that git knows or would, without what is in no package."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            f"safe.directory={ROOT}",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return sorted(
        name for name in {*listed} - {""} if not name.startswith(NOT_PACKAGED) and (ROOT / name).is_file()
    )


def _build(version: str, files: list[str], folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gleitzeit-build-") as scratch:
        source = Path(scratch) / "gleitzeit"
        for name in files:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
        if version != present_version():
            _renumber(source, version)
        built = subprocess.run(
            ["dpkg-buildpackage", "-b", "-us", "-uc"],
            cwd=source,
            env={**ENVIRONMENT, "DEB_BUILD_OPTIONS": "nocheck", "HOME": scratch},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
            check=False,
        )
        if built.returncode != 0:
            raise RuntimeError(f"dpkg-buildpackage failed:\n{built.stdout[-6000:]}")
        half = folder.with_name(f".{folder.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        for file in Path(scratch).iterdir():
            if file.is_file():
                shutil.move(file, half / file.name)
        half.rename(folder)


def _renumber(source: Path, version: str) -> None:
    changelog = source / "debian/changelog"
    changelog.write_text(re.sub(r"\(([^)]+)\)", f"({version})", changelog.read_text(), count=1))
    package = source / "gleitzeitd/__init__.py"
    package.write_text(re.sub(r'__version__ = "[^"]+"', f'__version__ = "{version}"', package.read_text()))


def _forget_oldest(newest: Path) -> None:
    others = [path for path in newest.parent.glob("debs-*") if path != newest]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
