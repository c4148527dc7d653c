"""The provider in Rust, built in the user's cache with cargo, and with what Debian has of crates."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent.parent / "packaging" / "sdk" / "rust"
CRATES = Path("/usr/share/cargo/registry")
"""Where the packages librust-...-dev put them."""
SECONDS = 300
"""For cargo, on a busy machine."""


def built() -> Path:
    """The program, built once for each state of its sources; skips the test where that is not possible."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("cargo is not installed: apt-get install cargo librust-serde-json-dev")
    sources = sorted(SOURCE.iterdir())
    version = subprocess.run([cargo, "--version"], check=True, capture_output=True).stdout
    key = hashlib.sha256(b"\0".join([version, *(each.read_bytes() for each in sources)])).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gleitzeit"
    program, folder = cache / f"rust-{key}", cache / "rust"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            for each in sources:
                shutil.copy(each, folder)
            _build([cargo], folder)
            for old in cache.glob("rust-*"):
                old.unlink()
            (folder / "target" / "debug" / "provider").rename(program)
    return program


def _build(cargo: Sequence[str], folder: Path) -> None:
    options = []
    if any(CRATES.glob("serde_json-*")):
        replaced = ('source.crates-io.replace-with="debian"', f'source.debian.directory="{CRATES}"')
        options = ["--offline", *(word for each in replaced for word in ("--config", each))]
    (folder / "Cargo.lock").unlink(missing_ok=True)  # made with other crates, perhaps
    fetched = _run([*cargo, "generate-lockfile", *options], folder)
    if fetched.returncode:
        why = fetched.stderr.strip().splitlines()[-1]
        pytest.skip(f"cargo finds no crates ({why}): apt-get install librust-serde-json-dev")
    made = _run([*cargo, "build", *options], folder)
    assert made.returncode == 0, made.stderr


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target"), "CARGO_NET_RETRY": "0"}
    return subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
