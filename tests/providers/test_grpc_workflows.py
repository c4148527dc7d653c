"""Workflows with gRPC calls, pages and downloads through real daemons; the servers are in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gleitzeitd.events.provider import TaskOutput
from tests.daemons import Daemons
from tests.fake_grpc import SERVICE, FakeGrpc

pytestmark = pytest.mark.slow


async def _page(request: web.Request) -> web.Response:
    number = int(request.query["page"])
    return web.json_response([{"name": f"n{number}"}] if number < 3 else [])


async def test_calls_streams_pages_and_files_in_workflows(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_get("/names", _page)
    state = {"STATE_DIRECTORY": str(tmp_path / "state")}
    daemons = Daemons(
        tmp_path,
        providers=("echo", "grpc", "http"),
        environment_of=lambda name: state if name == "provider-http" else {},
    )
    async with FakeGrpc().serve() as grpc, TestServer(app) as web_server, daemons, daemons.client() as client:
        names = str(web_server.make_url("/names"))

        def task(task_id: str, method: str, /, **parameters) -> dict:
            return {"id": task_id, "method": method, "parameters": parameters}

        def call(task_id: str, name: str, method: str = "grpc/call", /, **more) -> dict:
            return task(task_id, method, target=grpc.target, method=f"{SERVICE}/{name}", **more)

        shown: list[str] = []

        def show(published) -> None:
            if isinstance(published.event, TaskOutput):
                shown.extend(chunk.text for chunk in published.event.chunks if chunk.stream == "partial")

        tasks = [
            task("names", "http/pages", url=names, by="page", max_items=2),
            call("greet", "Greet", request={"user_name": "${names.items[0].name}"}),
            call("count", "Count", "grpc/stream", request={"to": 3}),
            task("file", "http/download", url=names, params={"page": 1}, file="names.json"),
            task("end", "echo/echo", text="${greet.response.full_text}", last="${count.messages[2].number}"),
        ]
        result = await client.run({"name": "W", "tasks": tasks}, on_event=show)
        assert result.completed, result.plain()
        assert result.tasks["end"].result == {"text": "hello n1", "last": 2}
        assert "".join(shown) == '{"number": 0}\n{"number": 1}\n{"number": 2}\n'
        file = Path(result.tasks["file"].result["path"])
        assert file == tmp_path / "state" / "downloads" / "names.json"
        assert file.read_text() == '[{"name": "n1"}]'

        wrong = {
            "fail": call("fail", "Fail", request={"status": "NOT_FOUND", "details": "gone"}),
            "bad": call("bad", "Greet", request={"user": "x"}),
            "late": {**call("late", "Wait"), "timeout": 1},
            "none": call("none", "Gret"),
        }
        for one in wrong.values():
            one["retry"] = {"max_attempts": 1}
        result = await client.run({"name": "W", "tasks": list(wrong.values())})
        codes = {task_id: each.error.name for task_id, each in result.tasks.items() if each.error}
        assert codes == {
            "fail": "TASK_EXECUTION_FAILED",
            "bad": "TASK_PARAMETER_INVALID",
            "late": "TASK_TIMEOUT",
            "none": "METHOD_NOT_SUPPORTED",
        }
