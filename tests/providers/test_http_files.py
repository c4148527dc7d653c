from __future__ import annotations

import asyncio
import gc
import hashlib
import os
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gleitzeitd.errors import ConfigError, ExecutionFailed, ParameterInvalid, ResultInvalid
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.http import HttpProvider, HttpSettings
from gleitzeitd.providers.http_files import PART, Downloads, name_for, own_directory

DATA = bytes(range(256)) * 100
SUM = hashlib.sha256(DATA).hexdigest()
BLOCK = bytes(2**20)


class Shelf:
    """Gives out DATA, and more."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.failures = 0
        self.server: TestServer | None = None

    async def data(self, request: web.Request) -> web.Response:
        if self.failures:
            self.failures -= 1
            raise web.HTTPBadGateway(text="broken", headers={"Retry-After": "0"})
        return web.Response(body=DATA, headers={"X-Encoding": request.headers["Accept-Encoding"]})

    async def large(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query["megabytes"])):
            await response.write(BLOCK)
        return response

    async def stuck(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        await response.write(b"x" * 1000)
        if "cut" in request.query:
            assert request.transport is not None
            request.transport.abort()
            return response
        self.begun.set()
        await asyncio.sleep(60)
        return response


@pytest.fixture
async def shelf():
    shelf = Shelf()
    app = web.Application()
    for name in ("data", "large", "stuck"):
        app.router.add_get(f"/{name}", getattr(shelf, name))
    async with TestServer(app) as shelf.server:
        yield shelf


@pytest.fixture
async def download(shelf, tmp_path):
    provider = HttpProvider(HttpSettings(max_download_bytes=2**29), {"STATE_DIRECTORY": str(tmp_path)})
    await provider.start()

    async def call(path: str, **parameters):
        parameters = {"url": str(shelf.server.make_url(path)), **parameters}
        call = MethodCall(method="http/download", parameters=parameters, workflow_id="w1", task_id="t1")
        return await provider.call(call)

    yield call
    await provider.stop()


def files(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())


async def test_a_body_becomes_a_file(download, tmp_path) -> None:
    done = await download("/data")
    assert Path(done["path"]).read_bytes() == DATA
    assert Path(done["path"]) == tmp_path / "downloads" / "w1" / "t1" / "data"
    assert (done["size"], done["sha256"], done["status"]) == (len(DATA), SUM, 200)
    assert done["headers"]["x-encoding"] == "identity"
    assert done["elapsed"] > 0


async def test_a_body_can_be_asked_for_in_an_encoding(download) -> None:
    done = await download("/data", headers={"accept-encoding": "gzip"})
    assert (done["headers"]["x-encoding"], done["sha256"]) == ("gzip", SUM)


async def test_a_file_has_the_name_that_the_task_gives_it_and_replaces_another(download, tmp_path) -> None:
    place = tmp_path / "downloads" / "a" / "b.bin"
    place.parent.mkdir(parents=True)
    place.write_text("old")
    done = await download("/data", file="a/b.bin", sha256=SUM.upper())
    assert Path(done["path"]) == place
    assert place.read_bytes() == DATA


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "", ".", "a/", f"{PART}x", "a\0b", "link/x"]
)
async def test_a_name_leads_nowhere_else(download, tmp_path, name) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "downloads" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ParameterInvalid):
        await download("/data", file=name)
    assert files(tmp_path) == []


async def test_another_sum_than_expected_leaves_no_file(download, tmp_path) -> None:
    with pytest.raises(ResultInvalid, match=SUM):
        await download("/data", sha256="0" * 64)
    assert files(tmp_path) == []


async def test_an_error_status_leaves_no_file_and_says_what_the_server_said(
    download, shelf, tmp_path
) -> None:
    shelf.failures = 1
    with pytest.raises(ExecutionFailed, match="status 502: broken"):
        await download("/data", retries=0)
    assert files(tmp_path) == []
    shelf.failures = 2
    assert (await download("/data"))["sha256"] == SUM


async def test_a_connection_that_is_lost_half_way_leaves_no_file(download, tmp_path) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        await download("/stuck?cut=1", retries=0)
    assert caught.value.retryable
    assert files(tmp_path) == []


async def test_a_cancel_leaves_no_file(download, shelf, tmp_path) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(download("/stuck"))
        await asyncio.wait_for(shelf.begun.wait(), 10)
        task.cancel()
    assert task.cancelled()
    assert files(tmp_path) == []


async def test_a_body_that_is_too_large_leaves_no_file(shelf, tmp_path) -> None:
    provider = HttpProvider(HttpSettings(max_download_bytes=3 * 2**20, download_directory=str(tmp_path)), {})
    for path in ("/large?megabytes=4", "/stuck"):
        url = str(shelf.server.make_url(path))
        parameters = {"url": url, "file": "x"}
        if path == "/stuck":
            provider.settings = HttpSettings(max_download_bytes=1000, download_directory=str(tmp_path))
        with pytest.raises(ResultInvalid, match="allowed"):
            await provider.call(MethodCall(method="http/download", parameters=parameters))
    assert files(tmp_path) == []
    await provider.stop()


async def test_a_hundred_megabytes_take_no_more_memory_than_a_few(download) -> None:
    await download("/large?megabytes=8")
    gc.collect()
    process = psutil.Process()
    before, most = process.memory_info().rss, 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.02)

    watcher = asyncio.get_running_loop().create_task(watch())
    done = await download("/large?megabytes=100")
    watcher.cancel()
    assert done["size"] == 100 * 2**20
    assert max(most, process.memory_info().rss) - before < 30 * 2**20


async def test_a_directory_of_the_settings_has_to_be_there(tmp_path) -> None:
    provider = HttpProvider(HttpSettings(download_directory=str(tmp_path / "none")), {})
    with pytest.raises(ConfigError, match="download_directory"):
        await provider.start()


def test_what_is_old_is_deleted_from_the_own_directory_alone(tmp_path) -> None:
    own, others = tmp_path / "downloads" / "w", tmp_path / "others"
    for folder in (own, others):
        folder.mkdir(parents=True)
        (folder / "new").write_text("")
        (folder / "old").write_text("")
        os.utime(folder / "old", (0, 0))
    Downloads("", 3600, {"STATE_DIRECTORY": str(tmp_path)}).sweep()
    Downloads(str(others), 3600, {}).sweep()
    assert files(tmp_path) == ["downloads/w/new", "others/new", "others/old"]
    (own / "new").unlink()
    Downloads("", 3600, {"STATE_DIRECTORY": str(tmp_path)}).sweep()
    assert not own.exists()


def test_names_are_made_of_what_is_harmless() -> None:
    assert name_for("/a/b/report 1.csv", "w", "t") == "w/t/report_1.csv"
    assert name_for("/", "../w", "../t").startswith("_w_")
    assert ".." not in name_for("/", "../w", "../t")
    assert name_for("/..", "", "").endswith("-download")
    assert own_directory({"HOME": "/h"}) == Path("/h/.local/state/gleitzeit/downloads")


def test_no_two_tasks_have_one_name() -> None:
    tasks = [("w", "a:b"), ("w", "a@b"), ("w", "a_b"), ("w:1", "a"), ("w@1", "a")]
    tasks += [("w", "a" * 199), ("w", "a" * 200)]
    names = [name_for("/x", *task) for task in tasks]
    names += [name_for("/b-c", "w", "a"), name_for("/c", "w", "a-b")]
    assert len(set(names)) == len(names)
