"""Node.js with the client library of Socket.IO, as ``./dev test`` installs it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = ROOT / "build" / "javascript" / "node_modules"


def needs_node() -> dict[str, str]:
    """An environment in which node finds the client library; skips the test where there is none."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed: apt-get install nodejs npm, then ./dev test")
    if not (MODULES / "socket.io-client").is_dir():
        pytest.skip("socket.io-client is not installed: ./dev test does it, with npm")
    return {**os.environ, "NODE_PATH": str(MODULES)}


def copied(folder: Path) -> Path:
    """The provider in JavaScript as somebody has it who has copied it and run npm install; skips as above."""
    needs_node()
    source = ROOT / "packaging" / "sdk" / "javascript"
    for name in ("provider.mjs", "package.json"):
        shutil.copy(source / name, folder)
    (folder / "node_modules").symlink_to(MODULES)
    return folder / "provider.mjs"
