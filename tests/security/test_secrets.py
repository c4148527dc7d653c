"""A planted secret reaches whoever needs it, and nothing that is sent, kept or logged."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import sys
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gleitzeitd.client import Client
from gleitzeitd.model.names import Role, TaskId
from gleitzeitd.plain import Json
from gleitzeitd.providers.masking import MASK
from gleitzeitd.providers.secrets import SecretSettings
from gleitzeitd.runtime import assembly, journal
from gleitzeitd.runtime.embedded import Embedded, Part, default_parts
from gleitzeitd.runtime.prints import Prints
from tests.fake_llm import FakeLlm
from tests.security.relay import Relay, relay

SECRET = "pl4nted/s3cret \"with\" 'quotes' & ümlaut+"
FORMS = {
    "itself": SECRET,
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON in UTF-8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "base64": base64.b64encode(SECRET.encode()).decode()[:-4],
    "base64 of it behind one byte": base64.b64encode(b"x" + SECRET.encode()).decode()[2:-4],
    "URL": urllib.parse.quote(SECRET, safe=""),
    "form": urllib.parse.quote_plus(SECRET),
    "hexadecimal": SECRET.encode().hex(),
    "HTML": html.escape(SECRET),
    "its beginning": SECRET[:14],
    "its middle": SECRET[4:18],
    "its end": SECRET[-16:],
}
PYTHON = """
import base64, html, json, sys, time, urllib.parse
secret = ${secret.planted}
for part in ("say ", secret[:9], secret[9:], "\\n"):
    sys.stdout.write(part)
    sys.stdout.flush()
    time.sleep(0.02)
print(f"in a text: ${secret.planted}", file=sys.stderr)
ways = [json.dumps(secret), base64.b64encode(b"user:" + secret.encode()).decode(), urllib.parse.quote(secret),
        urllib.parse.quote_plus(secret), html.escape(secret), repr(secret), secret.encode().hex(), ascii(secret)]
print(*ways)
progress(0.5, "at " + secret)
result = {"ways": ways, secret: secret, "context": context["key"], "length": len(secret)}
"""
REFERENCE = "${secret.planted}"


class Relayed(Embedded):
    """The whole system; its components reach the hub through a relay."""

    def __init__(self, through: Relay, **options: Any) -> None:
        self._through = through
        super().__init__(**options)

    @property  # type: ignore[override]  # the parts are told of the relay
    def hub_url(self) -> str:
        return self._through.url

    @hub_url.setter
    def hub_url(self, url: str) -> None:
        self._through.hub_url = url


@dataclass
class Site:
    """A server that keeps what it was sent, and says it again."""

    url: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        sent = request.headers.get("X-Api-Key", ""), request.query.get("key", ""), await request.text()
        self.asked.append(sent)
        echo = {"you said": sent, "to": request.path_qs}
        return web.json_response(echo, status=500 if "fail" in request.path else 200)


@asynccontextmanager
async def _site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield site
    finally:
        await runner.cleanup()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that a daemon would write to its journal, at the level debug, prints included."""
    stream = io.StringIO()
    root = logging.getLogger()
    level = root.level
    journal.set_up("debug", role="all", stream=stream)
    out, err = Prints(stream, journal.shown), Prints(stream, journal.shown)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    yield stream
    out.end()
    err.end()
    root.setLevel(level)
    for handler in [one for one in root.handlers if isinstance(one, journal.Writer)]:
        root.removeHandler(handler)


def _tasks(site: str) -> dict[str, dict[str, Json]]:
    """One of each kind, by id."""
    shell = 'printf %s "$KEY"; printf "%s\\n" "$KEY" >&2; printf %s "$KEY" | base64 -w0'
    headers: Json = {"X-Api-Key": "${secret.plain}"}
    body: dict[str, Json] = {"method": "POST", "params": {"key": REFERENCE}, "headers": headers}
    calls: dict[str, tuple[str, dict[str, Json]]] = {
        "python": ("python/execute", {"code": PYTHON, "context": {"key": f"k={REFERENCE}"}}),
        "python-fails": ("python/execute", {"code": f"key = {REFERENCE}\nraise RuntimeError('no ' + key)"}),
        "python-is-wrong": ("python/execute", {"code": f"key = {REFERENCE} what is this"}),
        "shell": ("shell/execute", {"script": shell, "env": {"KEY": REFERENCE}}),
        "shell-fails": ("shell/execute", {"argv": ["cat", REFERENCE]}),
        "shell-stdin": ("shell/execute", {"argv": ["cat"], "stdin": f"{REFERENCE}\n{REFERENCE}"}),
        "shell-wrong": ("shell/execute", {"argv": ["true"], "env": [REFERENCE]}),
        "http": ("http/request", {"url": f"{site}/x", **body, "json": {"a": [REFERENCE]}}),
        "http-fails": ("http/request", {"url": f"{site}/fail", **body, "json": REFERENCE}),
        "llm": ("llm/generate", {"model": "m", "prompt": f"say {REFERENCE}"}),
        "say": ("careless/say", {"word": REFERENCE}),
        "fail": ("careless/fail", {"word": REFERENCE}),
        "choose": ("careless/choose", {"word": REFERENCE}),
        "apart": ("careless/apart", {"word": REFERENCE}),
        "later": ("careless/later", {}),
        "echo": ("echo/echo", {"message": REFERENCE}),
        "unknown": ("shell/execute", {"argv": ["true"], "env": {"KEY": "${secret.nobody}"}}),
    }
    return {
        name: {
            "id": name,
            "method": called,
            "protocol": called.partition("/")[0] + "/v1",
            "parameters": given,
        }
        for name, (called, given) in calls.items()
    }


@asynccontextmanager
async def _system(directory: Path) -> AsyncIterator[tuple[Client, Relay]]:
    file = directory / "secrets.env"
    quoted = SECRET.replace('"', '\\"')
    file.write_text(f'planted="{quoted}"\nplain=plainly-planted\n', encoding="utf-8")
    file.chmod(0o600)
    database = directory / "state" / "gleitzeit.db"
    database.parent.mkdir()
    parts = default_parts(database, secrets_file=str(file))
    careless = assembly.provider("careless", "tests.security.secret_methods")
    sections = {"secrets": SecretSettings(file=str(file))}
    parts.insert(-1, Part(role=Role.PROVIDER, label="careless", assembly=careless, sections=sections))
    async with (
        relay() as between,
        Relayed(between, parts=parts) as system,
        Client(hub_urls=[between.url], token=system.token) as client,
    ):
        yield client, between


def _found_in(text: str) -> list[str]:
    return [name for name, form in FORMS.items() if form in text] + ["plain"] * ("plainly-planted" in text)


@pytest.mark.slow
async def test_a_planted_secret_is_in_no_frame_no_record_and_no_file(
    tmp_path: Path, records: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    failed: dict[str, str] = {}
    results: dict[str, Json] = {}
    async with _site() as site, FakeLlm().serve() as llm:
        monkeypatch.setenv("OLLAMA_HOST", llm.url)
        async with _system(tmp_path) as (client, between):
            for name, task in _tasks(site.url).items():
                outcome = (await client.run({"name": name, "tasks": [task]})).tasks[TaskId(name)]
                results[name], failed[name] = outcome.result, str(outcome.error or "")
    # Whoever needs it has got it.
    assert site.asked[0] == ("plainly-planted", SECRET, json.dumps({"a": [SECRET]}))
    assert llm.asked[-1].text.count(json.dumps(SECRET, ensure_ascii=False)[1:-1])
    assert results["python"]["result"]["length"] == len(SECRET)
    # And nobody else.
    assert results["say"] == {"word": MASK, MASK: [MASK, {"again": f"<{MASK}>"}]}
    assert results["later"] == results["apart"] == MASK
    assert results["shell-stdin"]["stdout"] == f"{MASK}\n{MASK}"
    for name in ("python-fails", "shell-fails", "fail", "choose"):
        assert MASK in failed[name], (name, failed[name])
    assert "'nobody'" in failed["unknown"] and "[SECRET_NOT_AVAILABLE]" in failed["unknown"]
    assert len(between.frames) > 100
    assert sum(REFERENCE in frame for frame in between.frames) > 5  # the reference itself travels
    assert [(found, frame) for frame in between.frames if (found := _found_in(frame))] == []
    written = records.getvalue()
    assert MASK in written and "it is ***" in written
    assert _found_in(written) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secrets.env"]
    assert any(path.name == "gleitzeit.db" for path in files)
    for path in files:
        assert _found_in(path.read_bytes().decode("utf-8", "replace")) == [], path


@pytest.mark.slow
async def test_nobody_gets_a_secret_by_saying_its_name(tmp_path: Path) -> None:
    said = "see ${secret.planted}, $${secret.planted} and ${secret..planted}"
    code = "print(${ask.result})\nresult = {'text': '${ask.result}', 'whole': context['ask']}"
    tasks: list[Json] = [
        {
            "id": "ask",
            "method": "python/execute",
            "parameters": {"code": f"result = {said.replace('${', '$${')!r}"},
        },
        {
            "id": "use",
            "method": "python/execute",
            "parameters": {"code": code, "context": {"ask": {"said": "${ask}"}, "given": "${inputs.text}"}},
        },
        {"id": "say", "method": "echo/echo", "parameters": {"message": "${ask.result} ${inputs.text}"}},
    ]
    document = {"name": "w", "inputs": {"text": {"type": "string"}}, "tasks": tasks}
    async with _system(tmp_path) as (client, between):
        results = (await client.run(document, inputs={"text": REFERENCE})).tasks
    assert results[TaskId("use")].result["result"] == {"text": said, "whole": {"said": said}}
    assert f"{said} {REFERENCE}" in json.dumps(results[TaskId("say")].result)
    assert not any(MASK in json.dumps(one.result) for one in results.values())
    assert not any(_found_in(frame) for frame in between.frames)
