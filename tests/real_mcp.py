"""MCP servers that others have written, from PyPI and npm; each is fetched once, into the user's cache."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

EVERYTHING = "@modelcontextprotocol/server-everything"
TIME = "mcp-server-time"
FETCH_SECONDS = 180
_LOOPBACK = """
const { Server } = require("net");
const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...more) {
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, more.find((one) => typeof one === "function"));
};
"""
"""The server itself would listen on all addresses."""


def _cache(name: str) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "gleitzeit" / "mcp" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetched(folder: Path, result: Path, *commands: list[str]) -> Path:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in commands if not result.exists() else []:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=FETCH_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                pytest.skip(f"cannot be fetched: {' '.join(command[:3])}: {done.stderr.strip()[-200:]}")
    return result


def time_server() -> list[str]:
    """The command of the server from PyPI; skips the test if there is none."""
    folder = _cache("time")
    program = folder / "bin" / TIME
    make = [sys.executable, "-m", "venv", str(folder)]
    return [str(_fetched(folder, program, make, ["bin/python", "-m", "pip", "install", "-qq", TIME]))]


def everything_server() -> list[str]:
    """The command of the server from npm, without its transport; skips the test if there is none."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    folder = _cache("everything")
    program = folder / "node_modules" / EVERYTHING / "dist" / "index.js"
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", ".", EVERYTHING]
    return [node, str(_fetched(folder, program, install))]


@asynccontextmanager
async def everything_on(port: int, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The server from npm, on this port of loopback; killed at the end."""
    node, program = everything_server()
    preload = folder / "loopback.cjs"
    preload.write_text(_LOOPBACK)
    process = await asyncio.create_subprocess_exec(
        node,
        "--require",
        str(preload),
        program,
        "streamableHttp",
        env={**os.environ, "PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def toml(value: object) -> str:
    """A value as a variable of the environment has it."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)
