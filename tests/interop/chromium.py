"""Headless Chromium, driven by its debugging protocol; and a server for the page that it shows."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

PATIENCE = 60.0
"""Seconds for Chromium to start on a busy machine."""


class Tab:
    """A page that is shown."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, in the page."""
        number = next(self._numbers)
        parameters = {"expression": script, "returnByValue": True, "awaitPromise": True}
        await self._socket.send_json({"id": number, "method": "Runtime.evaluate", "params": parameters})
        while (answer := json.loads((await self._socket.receive()).data)).get("id") != number:
            pass
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")

    async def until(self, script: str) -> Any:
        """The expression's value, as soon as it is a true one."""
        waiting = f"""new Promise((done) => {{
            const look = () => {{ const value = {script}; value ? done(value) : setTimeout(look, 20); }};
            look();
        }})"""
        async with asyncio.timeout(PATIENCE):
            return await self.run(waiting)


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[str]:
    """The address of a file, by a web server on loopback."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=file.read_text(encoding="utf-8"), content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def shown(url: str, profile: Path) -> AsyncIterator[Tab]:
    """A tab with the page; skips the test where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium, or ./dev test")
    flags = [
        "--headless",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(
        chromium,
        *flags,
        f"--user-data-dir={profile}",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(PATIENCE):
                address = await _debugger(session, profile / "DevToolsActivePort", process)
            async with session.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                async with asyncio.timeout(PATIENCE):
                    # A script that is run before the page is there goes with what was there before.
                    while not await tab.run(
                        "location.protocol === 'http:' && document.readyState === 'complete'"
                    ):
                        await asyncio.sleep(0.02)
                yield tab
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def _debugger(session: aiohttp.ClientSession, file: Path, process: asyncio.subprocess.Process) -> str:
    while True:
        assert process.returncode is None, "chromium has ended"
        if file.exists() and (port := file.read_text(encoding="utf-8").partition("\n")[0]):
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        await asyncio.sleep(0.05)
