"""An MCP server of ours that does whatever a test wants; as a program, on standard streams or on loopback."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SCRIPT = Path(__file__).resolve().with_name("fake_mcp_server.py")


def ended(pid: int) -> bool:
    """Whether a process is no more, or only waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@asynccontextmanager
async def listening(port: int) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The server on this port of loopback; killed at the end."""
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(port)])
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
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
