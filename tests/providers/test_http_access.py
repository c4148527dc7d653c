from __future__ import annotations

import asyncio
import base64
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from gleitzeitd.errors import ConfigError, ExecutionFailed, MalformedData, ParameterInvalid
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.http import HttpProvider, HttpSettings
from gleitzeitd.providers.http_access import Access, AccessSettings, Tokens
from tests.certificates import Authority

SECRET = "s3cret+of/the:client"
KEY = "key-1234567890"


class Office:
    """A token server, and what is to be had for its tokens."""

    def __init__(self) -> None:
        self.given = 0
        self.forms: list[dict[str, str]] = []
        self.calls: list[str] = []
        self.valid = ""
        self.answer: dict = {"token_type": "bearer", "expires_in": 3600}
        self.status = 200
        self.server: TestServer | None = None

    @property
    def token(self) -> str:
        return f"token-number-{self.given}"

    async def tokens(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        header = request.headers.get("Authorization", "")
        if header:
            form["basic"] = base64.b64decode(header.removeprefix("Basic ")).decode()
        self.forms.append(form)
        if self.status != 200:
            said = {"error": "invalid_client", "error_description": f"not {form}"}
            return web.json_response(said, status=self.status)
        self.given += 1
        self.valid = self.token
        return web.json_response({"access_token": self.token, **self.answer})

    async def api(self, request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "")
        self.calls.append(header)
        if header != f"Bearer {self.valid}":
            raise web.HTTPUnauthorized(text=f"you said {header}")
        names = ("Authorization", "X-Api-Key", "X-Mine")
        return web.json_response({name: request.headers.get(name, "") for name in names})

    async def seen(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"headers": dict(request.headers), "method": request.method, "body": await request.text()}
        )

    async def circle(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/api/circle")

    async def turn(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["status"]), headers={"Location": request.query["to"]})


@pytest.fixture
async def office():
    office = Office()
    app = web.Application()
    app.router.add_post("/token", office.tokens)
    app.router.add_route("*", "/api/x", office.api)
    app.router.add_route("*", "/api/turn", office.turn)
    app.router.add_get("/api/circle", office.circle)
    app.router.add_route("*", "/open", office.seen)
    app.router.add_route("*", "/api/open", office.seen)
    async with TestServer(app) as office.server:
        yield office


@pytest.fixture
async def made(office, tmp_path):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "api.key").write_text(KEY)
    providers = []

    async def make(*more: AccessSettings, base: str = "", **access):
        usual = {
            "name": "office",
            "base_url": base or str(office.server.make_url("/api")),
            "token_url": str(office.server.make_url("/token")),
            "client_id": "me",
            "client_secret": "secret",
        }
        settings = HttpSettings(access=[AccessSettings(**{**usual, **access}), *more])
        provider = HttpProvider(settings, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        providers.append(provider)
        await provider.start()

        async def call(path: str = "/api/x", name: str = "http/request", **parameters):
            url = path if "://" in path else str(office.server.make_url(path))
            if "verb" in parameters:
                parameters["method"] = parameters.pop("verb")
            return await provider.call(MethodCall(method=name, parameters={"url": url, **parameters}))

        return call

    yield make
    for provider in providers:
        await provider.stop()


async def test_a_token_is_fetched_once_and_used_by_all_calls(made, office) -> None:
    http = await made(scope="read write", audience="api")
    await asyncio.gather(*(http() for _ in range(5)))
    (form,) = office.forms
    assert form == {
        "grant_type": "client_credentials",
        "scope": "read write",
        "audience": "api",
        "basic": "me:s3cret%2Bof%2Fthe%3Aclient",
    }
    assert office.calls == ["Bearer token-number-1"] * 5


async def test_id_and_secret_can_be_in_the_form(made, office) -> None:
    await (await made(client_authentication="post"))()
    assert office.forms == [{"grant_type": "client_credentials", "client_id": "me", "client_secret": SECRET}]


async def test_a_token_that_is_refused_is_renewed_once(made, office) -> None:
    http = await made()
    await http()
    office.valid = "none"
    assert (await http(verb="POST", json={"a": 1}))["status"] == 200
    assert office.calls == ["Bearer token-number-1", "Bearer token-number-1", "Bearer token-number-2"]
    office.answer = {"access_token": "never-good-enough"}
    office.valid = "none"
    with pytest.raises(ExecutionFailed, match="status 401") as caught:
        await http()
    assert not caught.value.retryable
    assert len(office.forms) == 3


async def test_nothing_that_is_secret_is_in_a_result_or_an_error(made, office) -> None:
    http = await made(headers={"X-Api-Key": "api.key"})
    done = await http(headers={"X-Mine": "mine", "authorization": "Basic mine", "x-api-key": "mine"})
    assert done["json"] == {"Authorization": "Bearer (key)", "X-Api-Key": "(key)", "X-Mine": "mine"}
    office.answer = {"access_token": "another-secret-token"}
    office.valid = "none"
    with pytest.raises(ExecutionFailed) as refused:
        await http()
    office.status = 400
    office.valid = "none"
    with pytest.raises(ExecutionFailed, match="invalid_client") as no_token:
        await http()
    assert not no_token.value.retryable
    for text in (json.dumps(done), str(refused.value), str(no_token.value)):
        for secret in (SECRET, KEY, "token-number-1", "another-secret-token"):
            assert secret not in text, text


async def test_a_token_server_that_is_down_can_be_asked_again(made, office) -> None:
    http = await made()
    office.status = 503
    with pytest.raises(ExecutionFailed, match=r"token server .*: status 503") as caught:
        await http()
    assert caught.value.retryable
    assert office.calls == []


@pytest.mark.parametrize(
    "answer", [{"access_token": ""}, {"access_token": 1}, {"access_token": "a\nb"}, {"token_type": "mac"}]
)
async def test_what_is_no_token_is_not_used(made, office, answer) -> None:
    office.answer = answer
    with pytest.raises(ExecutionFailed, match="access office"):
        await (await made())()


async def test_a_token_is_used_until_shortly_before_it_expires() -> None:
    now, given = 0.0, []
    settings = AccessSettings(
        name="a", base_url="https://x", token_url="https://y", client_id="me", client_secret="s"
    )

    async def fetch(url, form, headers, context):
        given.append(now)
        return {"access_token": f"t{len(given)}", "expires_in": "100"}

    tokens = Tokens(settings, SECRET, now=lambda: now)
    for now in (0.0, 89.0, 91.0, 180.0, 182.0):
        await tokens.token(fetch)
    assert given == [0.0, 91.0, 182.0]
    assert {"t3", "t2"} <= set(tokens.secrets)


async def test_secrets_go_to_addresses_below_the_base_and_to_no_others(made, office) -> None:
    http = await made()
    for path in ("/open", "/apiary", "/api/../open", "/api/%2e%2e/open"):
        try:
            await http(path)
        except ExecutionFailed as error:
            assert "404" in str(error)
    assert office.forms == []


@pytest.mark.parametrize(
    ("url", "covered"),
    [
        ("https://h.example/v1", True),
        ("https://h.example/v1/a/b?c", True),
        ("https://H.example:443/v1/a", True),
        ("https://h.example/v10", False),
        ("https://h.example/", False),
        ("http://h.example/v1", False),
        ("https://h.example:8443/v1", False),
        ("https://h.example.org/v1", False),
        ("https://h.example/v1/../v2", False),
        ("https://h.example/v1/%2E%2E/v2", False),
    ],
)
def test_an_access_is_for_what_is_below_its_address(url, covered) -> None:
    access = Access(AccessSettings(name="a", base_url="https://h.example/v1/"), {})
    assert access.covers(URL(url)) is covered


async def test_a_redirection_out_of_the_base_leaves_secrets_behind(made, office) -> None:
    http = await made(headers={"X-Api-Key": "api.key"}, token_url="", client_id="", client_secret="")
    done = await http("/api/turn", params={"status": 302, "to": "/open"}, headers={"X-Mine": "1"})
    assert "X-Api-Key" not in done["json"]["headers"]
    assert done["json"]["headers"]["X-Mine"] == "1"
    assert done["url"].endswith("/open")
    inside = await http("/api/turn", params={"status": 302, "to": "open"})
    assert inside["json"]["headers"]["X-Api-Key"] == "(key)"
    stopped = await http(
        "/api/turn", params={"status": 302, "to": "/open"}, allow_redirects=False, expect_status=[302]
    )
    assert stopped["headers"]["location"] == "/open"


async def test_no_task_sends_what_is_secret_to_a_server_that_need_not_prove_who_it_is(made, office) -> None:
    # Nobody listens there: it is refused before anything is sent.
    http = await made(base="https://127.0.0.1:1/api", headers={"X-Api-Key": "api.key"})
    with pytest.raises(ParameterInvalid, match="verify: expected true, because access office sends secrets"):
        await http("https://127.0.0.1:1/api/x", verify=False)
    assert office.forms == []


@pytest.mark.parametrize(
    ("status", "verb", "then"),
    [
        (303, "PUT", "GET"),
        (302, "POST", "GET"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (301, "PUT", "PUT"),
    ],
)
async def test_a_redirection_keeps_the_method_or_makes_it_a_get(made, status, verb, then) -> None:
    http = await made(headers={"X-Api-Key": "api.key"}, token_url="", client_id="", client_secret="")
    done = await http("/api/turn", verb=verb, params={"status": status, "to": "open"}, body="x")
    assert (done["json"]["method"], done["json"]["body"]) == (then, "x" if then == verb else "")


async def test_redirections_in_circles_end(made) -> None:
    http = await made(headers={"X-Api-Key": "api.key"}, token_url="", client_id="", client_secret="")
    with pytest.raises(ParameterInvalid, match="TooManyRedirects"):
        await http("/api/circle")
    with pytest.raises(ParameterInvalid):
        await http("/api/turn", params={"status": 302, "to": "ftp://x/"})


async def test_a_client_certificate_and_an_own_authority_are_used(tmp_path, made) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.certificate("client")

    async def hello(request: web.Request) -> web.Response:
        subject = request.transport.get_extra_info("peercert")["subject"]
        return web.json_response(subject[-1][-1][-1])

    app = web.Application()
    app.router.add_get("/", hello)
    context = authority.server_context("localhost", "127.0.0.1", ask=True)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    base = str(server.make_url("/"))
    none = {"token_url": "", "client_id": "", "client_secret": ""}
    ours = {"ca": str(authority.file), "certificate": str(pair.certificate), "key": str(pair.key)}
    http = await made(base=base, **none, **ours)
    assert (await http(base))["json"] == "client"
    without = await made(base=base, **none, ca=str(authority.file))
    stranger = await made(base=base, **none, certificate=str(pair.certificate), key=str(pair.key))
    for call in (without, stranger):
        with pytest.raises((ExecutionFailed, ParameterInvalid)):
            await call(base)
    await server.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_secret": "none"},
        {"headers": {"X-A": "none"}},
        {"headers": {"X-A": "../secret"}},
        {"ca": "secret"},
        {"certificate": "secret"},
    ],
)
async def test_a_secret_that_is_not_there_or_no_certificate_is_said_at_the_start(made, wrong) -> None:
    with pytest.raises(ConfigError, match=r"provider\.access office"):
        await made(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"base_url": "ftp://x/"},
        {"base_url": "https://user:password@x/"},
        {"key": "a"},
        {"client_id": ""},
        {"headers": {"authorization": "a"}},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong) -> None:
    usual = {
        "name": "a",
        "base_url": "https://x",
        "token_url": "https://y",
        "client_id": "i",
        "client_secret": "s",
    }
    with pytest.raises(MalformedData) as caught:
        AccessSettings(**{**usual, **wrong})
    assert "password" not in str(caught.value) or "without a user" in str(caught.value)
