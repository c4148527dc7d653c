"""Every example can be read, is short, says what it shows, warns of nothing, and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web

from gleitzeitd.client import Client
from gleitzeitd.model.document import read
from gleitzeitd.protocol_file import load as load_protocol
from gleitzeitd.providers.mcp_sdk import find_sdk
from gleitzeitd.runtime.embedded import Embedded, default_parts
from gleitzeitd.workflow_file import load
from tests.fake_llm import FakeLlm

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


KINDS = {
    "python only": "python",
    "dependent tasks": "dependent",
    "parallel tasks": "parallel",
    "model and Python": "mixed",
    "tools of MCP": "mcp",
    "a batch over texts": "llm-batch",
    "a batch for Python": "batch",
    "a batch over images": "llm-batch-images",
    "vision from a file": "llm-vision",
    "names without ids": "named",
}
"""What earlier versions had examples of."""


def test_each_kind_of_workflow_has_an_example() -> None:
    assert set(KINDS.values()) <= {file.stem for file in FILES}


def test_a_protocol_is_read_without_a_problem_or_a_warning() -> None:
    for file in sorted((EXAMPLES / "protocols").iterdir()):
        reading = load_protocol(file).reading
        assert reading.protocol is not None, reading.problems
        assert not reading.warnings


def test_the_example_with_names_has_no_ids() -> None:
    document = load(EXAMPLES / "named.yaml").document
    assert all("id" not in task and task["name"] for task in document["tasks"])
    workflow = read(document).workflow
    assert workflow is not None
    load_data, sort_rows, report = workflow.tasks
    assert sort_rows.dependencies == (load_data.id,)
    assert set(report.dependencies) == {load_data.id, sort_rows.id}


def test_an_image_of_a_batch_is_an_image() -> None:
    workflow = read(load(EXAMPLES / "llm-batch-images.yaml").document).workflow
    assert workflow is not None
    assert [str(task.parameters["image_path"]) for task in workflow.tasks] == [
        str(EXAMPLES / "data/sign.png")
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_short_and_says_first_what_it_shows(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) < 40


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_read_without_a_problem_or_a_warning(file: Path) -> None:
    loaded = load(file)
    assert not loaded.problems
    reading = read(loaded.document)
    assert reading.workflow is not None, reading.problems
    assert not reading.warnings


def test_the_batch_has_a_task_for_each_file() -> None:
    workflow = read(load(EXAMPLES / "batch.yaml").document).workflow
    assert workflow is not None
    assert len(workflow.tasks) == len(list((EXAMPLES / "data").glob("*.txt")))


FAILS = {"failure"}
"""Examples that show how something fails."""


async def _hello(_: web.Request) -> web.Response:
    return web.Response(text="hello", content_type="text/html")


@pytest.mark.slow
async def test_every_example_runs_through_the_whole_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = web.Application()
    app.router.add_get("/", _hello)
    app.router.add_static("/", EXAMPLES / "data")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    inputs = dict.fromkeys(("http", "pages"), {"base_url": f"http://{host}:{port}"})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    secrets = tmp_path / "secrets.env"
    secrets.write_text("demo_token=correct-horse-battery\n", encoding="utf-8")
    secrets.chmod(0o600)
    try:
        async with FakeLlm().serve() as llm:
            monkeypatch.setenv("OLLAMA_HOST", llm.url)
            async with (
                Embedded(parts=default_parts(tmp_path / "gleitzeit.db", secrets_file=str(secrets))) as system,
                Client(hub_urls=[system.hub_url], token=system.token) as client,
            ):
                for file in FILES:
                    if file.stem == "mcp" and not find_sdk():
                        continue  # it needs what is not in every environment
                    result = await client.run(file, inputs=inputs.get(file.stem, {}))
                    expected = "failed" if file.stem in FAILS else "completed"
                    assert result.status == expected, (file.name, result.plain())
                    assert "${" not in json.dumps(result.plain())
                    assert "correct-horse-battery" not in json.dumps(result.plain())
            assert llm.asked
            assert not any("${" in asked.text for asked in llm.asked)
    finally:
        await runner.cleanup()
