"""The file system that all hosts of one release start from: Debian with what our packages depend on, and
without our packages. It is made once a week, and kept in the user's cache; hosts only read it.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.needs import search_path
from tests.system.progress import step

RELEASES = ("bookworm", "trixie", "forky")
"""Debian 12, 13 and 14."""

INCLUDED = (
    "ca-certificates",
    "dbus",
    "systemd",
    "systemd-sysv",
    "python3",
    "python3-aiohttp",
    "python3-click",
    "python3-cryptography",
    "python3-grpcio",
    "python3-jsonschema",
    "python3-jwt",
    "python3-prometheus-client",
    "python3-protobuf",
    "python3-psutil",
    "python3-rich",
    "python3-sdnotify",
    "python3-socketio",
    "python3-systemd",
    "python3-tomli-w",
    "python3-uvloop",
    "python3-yaml",
)
"""So that hosts need no network to install ours."""
FROM_TRIXIE_ON = ("python3-orjson",)

BUILD_SECONDS = 900


def included(release: str) -> tuple[str, ...]:
    """The packages of the base image."""
    return INCLUDED if release == "bookworm" else INCLUDED + FROM_TRIXIE_ON


def cache_folder() -> Path:
    """Where images and packages are kept from one run to the next."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "gleitzeit" / "system"


@contextmanager
def base_image(release: str) -> Iterator[Path]:
    """The folder with the image; nobody removes it meanwhile."""
    year, week, _ = datetime.datetime.now(datetime.UTC).isocalendar()
    listed = hashlib.sha256(" ".join(included(release)).encode()).hexdigest()[:8]
    image = cache_folder() / f"{release}-{year}W{week:02}-{listed}"
    image.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(image) as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        if not image.is_dir():
            fcntl.flock(held, fcntl.LOCK_EX)
            if not image.is_dir():
                with step(f"base image of {release}"):
                    _make(release, image)
                _remove_older(release, image)
            fcntl.flock(held, fcntl.LOCK_SH)
        yield image


@contextmanager
def lock_of(folder: Path) -> Iterator[int]:
    """A file beside the folder, opened for ``flock``."""
    held = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield held
    finally:
        os.close(held)


def _make(release: str, image: Path) -> None:
    half = image.with_name(f".{image.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(included(release))}"]
    command.append('--aptopt=APT::Install-Recommends "false"')
    if release == "forky":
        # What is in testing may be signed for a shorter time than mirrors take.
        command.append('--aptopt=Acquire::Check-Valid-Until "false"')
    made = subprocess.run(
        [*command, release, str(half)],
        env={"PATH": search_path(), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if made.returncode != 0:
        shutil.rmtree(half, ignore_errors=True)
        raise RuntimeError(f"mmdebstrap {release} failed:\n{made.stderr[-3000:]}")
    half.rename(image)


def _remove_older(release: str, image: Path) -> None:
    """Those of other weeks and lists that nobody uses now."""
    for other in image.parent.glob(f"{release}-*"):
        if other == image:
            continue
        with lock_of(other) as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(other, ignore_errors=True)
