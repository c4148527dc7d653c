"""packaging/sdk/browser: a web page is a provider like any other, and a person's decision a task's result."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gleitzeitd.client import Client
from gleitzeitd.conform import CHECKS, Settings, Trial
from gleitzeitd.conform.arena import Arena
from gleitzeitd.conform.driver import Sample
from gleitzeitd.machines.hub_settings import Settings as HubSettings
from gleitzeitd.runtime.embedded import Embedded
from tests.interop.chromium import served, shown

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parent.parent.parent / "packaging" / "sdk" / "browser" / "approval.html"
CLICKING = """setInterval(() => document.querySelectorAll("article").forEach((article) => {
    if (article.querySelector("h2").textContent !== "wait") article.querySelector("button").click();
}), 20)"""
FIRST = """document.querySelector("article")"""


async def test_it_does_all_that_a_provider_has_to_do(tmp_path: Path) -> None:
    settings = Settings(
        seconds=10.0,
        away_seconds=0.5,
        calls=(Sample("approval/ask", {"question": "May it begin?"}),),
        slow=Sample("approval/ask", {"question": "wait"}),
    )
    async with served(PAGE) as page, Arena(origins=(page,)) as arena:
        async with shown(f"{page}/#hub={arena.hub_url}&token={arena.token}", tmp_path) as tab:
            await tab.run(CLICKING)
            trial = Trial(arena, settings=settings, only=[name for name in CHECKS if name != "drain"])
            found = {each.name: each async for each in trial.run()}
    assert {name: each.seen for name, each in found.items() if each.status == "failed"} == {}
    assert {name for name, each in found.items() if each.status == "skipped"} == {"end"}


async def test_somebody_decides_and_the_workflow_goes_on(tmp_path: Path) -> None:
    question = {"question": "Delete <b>everything</b>?", "details": {"files": 3}}
    workflow = {
        "name": "asked",
        "tasks": [
            {"id": "ask", "method": "approval/ask", "parameters": question},
            {
                "id": "then",
                "method": "echo/echo",
                "parameters": {"text": "${ask.result.comment}"},
                "dependencies": ["ask"],
            },
        ],
    }
    async with served(PAGE) as page:
        hub = HubSettings(port=0, allowed_origins=(page,))
        async with Embedded(database=tmp_path / "db", hub=hub) as system:
            async with (
                Client(system.hub_url, system.token) as client,
                shown(f"{page}/#hub={system.hub_url}&token={system.token}", tmp_path / "profile") as tab,
            ):
                await tab.until("""document.querySelector("#state").textContent === "connected" """)
                assert str(system.token) not in await tab.run("location.href")
                async with asyncio.timeout(20):
                    while "approval/v1" not in [each.name for each in (await client.protocols()).protocols]:
                        pass
                submitted = await client.submit(workflow)
                assert (
                    await tab.until(f"""{FIRST}?.querySelector("h2").textContent""") == question["question"]
                )
                assert '"files": 3' in await tab.run(f"""{FIRST}.querySelector("pre").textContent""")
                await tab.run(f"""{FIRST}.querySelector("input").value = "only these" """)
                await tab.run(f"""{FIRST}.querySelector("button[value=no]").click()""")
                async for _ in client.watch(submitted.workflow_id):
                    pass
                result = await client.result(submitted.workflow_id)
                assert result.tasks["ask"].result == {"approved": False, "comment": "only these"}
                assert result.tasks["then"].result == {"text": "only these"}
                assert not await tab.run(FIRST)


async def test_a_page_from_elsewhere_is_not_let_in(tmp_path: Path) -> None:
    async with served(PAGE) as page, Arena(origins=("http://elsewhere.example",)) as arena:
        async with shown(f"{page}/#hub={arena.hub_url}&token={arena.token}", tmp_path) as tab:
            await tab.run("new Promise((done) => setTimeout(done, 500))")
            assert await tab.run("""document.querySelector("#state").textContent""") == "not connected"
            assert arena.provider() is None
