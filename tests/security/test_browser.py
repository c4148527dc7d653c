"""What a web page can make a user's browser do to a hub: nothing.

The requests are those that browsers make, byte by byte.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub_request import Asked, Refusal, names_host, normal_origin, page_problem, read_head
from tests.runtime.hub_peers import hub, scenario

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
PAGES = ("/healthz", "/readyz", "/metrics", "/", "/socket.io/", "/socket.io/?EIO=4&transport=polling")


async def asked(server, path, *headers, method="GET", host=None):
    """The answer's status, its headers (lower case) and what came of its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{server.port}'}", *headers]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1")
    status, *rest = head.rstrip().split("\r\n")
    found = {}
    for line in rest:
        name, _, value = line.partition(":")
        found[name.lower()] = value.strip()
    body = b"" if " 101 " in status else await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return int(status.split()[1]), found, body


@scenario
async def test_a_websocket_of_another_site_is_refused_however_the_site_spells_itself():
    async with hub() as (server, _):
        for origin in (
            "https://evil.test",
            "null",
            "file://",
            "http://127.0.0.1:1",
            f"https://127.0.0.1:{server.port}",
            f"http://localhost.evil.test:{server.port}",
            f"http://127.0.0.1.evil.test:{server.port}",
            f"http://127.0.0.1:{server.port}@evil.test",
            f"http://127.0.0.1:{server.port}/../",
            "http://b\xfccher.test",
            "http://xn--bcher-kva.test",
            "HTTPS://EVIL.TEST",
            "",
        ):
            status, _, body = await asked(server, WEBSOCKET, *UPGRADE, f"Origin: {origin}")
            assert status == 403, origin
            assert b"hub.allowed_origins" in body
        assert server.hub.counts.refused["origin"] == 13


@scenario
async def test_programs_without_an_origin_and_the_hubs_own_pages_may_connect():
    async with hub() as (server, _):
        own = f"http://127.0.0.1:{server.port}"
        for headers in ((), (f"Origin: {own}",), (f"Origin: {own.upper()}",)):
            assert (await asked(server, WEBSOCKET, *UPGRADE, *headers))[0] == 101, headers


@scenario
async def test_a_site_that_is_configured_may_connect_in_each_of_its_spellings_and_no_other_may():
    allowed = ("https://bücher.test", "https://example.test:8443")
    async with hub(allowed_origins=allowed) as (server, _):
        for origin, status in (
            ("https://xn--bcher-kva.test", 101),
            ("https://XN--BCHER-KVA.test:443", 101),
            ("https://example.test:8443", 101),
            ("https://example.test", 403),
            ("http://xn--bcher-kva.test", 403),
            ("https://sub.xn--bcher-kva.test", 403),
        ):
            assert (await asked(server, WEBSOCKET, *UPGRADE, f"Origin: {origin}"))[0] == status, origin
    async with hub(allowed_origins=("*",)) as (server, _):
        assert (await asked(server, WEBSOCKET, *UPGRADE, "Origin: null"))[0] == 101


@scenario
async def test_two_origins_or_hosts_or_folded_headers_are_no_way_around():
    async with hub() as (server, _):
        own = f"http://127.0.0.1:{server.port}"
        for headers in (
            (f"Origin: {own}", "Origin: https://evil.test"),
            (f"Origin: {own}", "origin : https://evil.test"),
            ("Host: evil.test",),
            ("X-Header: a\n Origin: https://evil.test",),
            ("X-Header: a\r\n Origin: https://evil.test",),
            ("no header",),
        ):
            assert (await asked(server, WEBSOCKET, *UPGRADE, *headers))[0] == 400, headers
        assert (await asked(server, WEBSOCKET, *UPGRADE, f"X-Forwarded-Host: {own}", "Origin: null"))[
            0
        ] == 403


@pytest.mark.parametrize("insecure", [False, True])
def test_a_page_whose_own_name_leads_here_gets_nothing(insecure):
    asyncio.run(_by_its_own_name(insecure=insecure))


async def _by_its_own_name(*, insecure):
    async with hub(gate=Gate.open() if insecure else None) as (server, _):
        for host in ("evil.test", f"evil.test:{server.port}", "127.0.0.1.evil.test", "[::1].evil.test", "@"):
            for path in PAGES:
                status, _, body = await asked(server, path, host=host)
                assert status == 403, (host, path)
                assert b"gleitzeit_hub" not in body
            origin = f"Origin: http://{host}"
            assert (await asked(server, WEBSOCKET, *UPGRADE, origin, host=host))[0] == 403
        for host in ("localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.9", socket.gethostname()):
            assert (await asked(server, "/healthz", host=host))[0] == 200, host


@scenario
async def test_a_name_that_is_configured_is_the_hosts():
    async with hub(host_names=("hub.example",)) as (server, _):
        assert (await asked(server, "/healthz", host="HUB.example:8000"))[0] == 200
        assert (await asked(server, "/healthz", host="other.example"))[0] == 403


@scenario
async def test_no_answer_is_for_other_sites_none_sets_a_cookie_and_none_says_what_it_runs_on():
    async with hub() as (server, _):
        own = f"Origin: http://127.0.0.1:{server.port}"
        for path in (*PAGES, WEBSOCKET):
            for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"):
                for origin in (own, "Origin: https://evil.test", "Cookie: io=1; token=secret"):
                    status, headers, _ = await asked(server, path, origin, method=method)
                    assert status >= 400 or path == "/healthz", (path, method, origin, status)
                    assert not [name for name in headers if name.startswith("access-control-")]
                    assert "set-cookie" not in headers
                    assert headers["x-content-type-options"] == "nosniff"
                    assert headers["x-frame-options"] == "DENY"
                    assert headers["cache-control"] == "no-store"
                    assert headers["referrer-policy"] == "no-referrer"
                    assert headers["cross-origin-resource-policy"] == "same-origin"
                    assert headers["content-security-policy"].startswith("default-src 'none'")
                    assert headers["connection"] == "close"
                    assert headers["server"] == "gleitzeit"
        _, headers, _ = await asked(server, WEBSOCKET, *UPGRADE)
        assert not {"set-cookie", "access-control-allow-origin"} & set(headers)


@scenario
async def test_there_is_no_way_to_speak_but_a_websocket():
    async with hub() as (server, _):
        for path in ("/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4", "/socket.io/?EIO=3&j=1"):
            assert (await asked(server, path))[0] == 400, path
            assert (await asked(server, path, method="POST"))[0] == 405, path
            body = ("Content-Type: text/plain", "Content-Length: 100000000")
            assert (await asked(server, path, *body, method="POST"))[0] == 413, path
            assert (await asked(server, path, "Transfer-Encoding: chunked", method="POST"))[0] == 413, path


@scenario
async def test_a_cookie_or_a_login_in_the_address_is_no_token():
    async with hub() as (server, _):
        for headers in (("Cookie: token=secret",), ("Authorization: Basic c2VjcmV0OnNlY3JldA==",)):
            assert (await asked(server, "/metrics", *headers))[0] in (401, 403)
            assert (await asked(server, "/metrics?token=secret", *headers))[0] in (401, 403)


def test_an_origin_has_one_form():
    assert normal_origin("HTTPS://Bücher.Test") == ("https", "xn--bcher-kva.test", 443)
    assert normal_origin("wss://a.test:443") == normal_origin("https://a.test") == ("https", "a.test", 443)
    for none in ("null", "", "a.test", "https://", "ftp://a.test", "https://a.test:x", "https://u@a.test"):
        assert normal_origin(none) is None, none


def test_over_tls_the_name_is_the_certificates_and_not_looked_at():
    asked_for = Asked(host="hub.example", origin=None, upgrade=True)
    assert page_problem(asked_for, allowed=(), names=(), tls=True, loopback=True) is None
    own = Asked(host="hub.example", origin="https://hub.example", upgrade=True)
    assert page_problem(own, allowed=(), names=(), tls=True, loopback=False) is None
    plain = Asked(host="hub.example", origin="http://hub.example", upgrade=True)
    assert isinstance(page_problem(plain, allowed=(), names=(), tls=True, loopback=False), Refusal)


def test_what_is_no_request_is_refused_before_anything_reads_it():
    for head in (
        b"",
        b"GET /",
        b"GET / HTTP/1.1",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nHost:",
        b"A B C\0\r\nHost: a",
    ):
        assert isinstance(read_head(head), Refusal), head
    assert isinstance(read_head(b"GET / HTTP/1.1\r\nHost: a"), Asked)


def test_a_host_that_cannot_be_read_is_nobodys():
    for host in ("[", "[::1", "a:b:c", "", "\xff"):
        assert not names_host(host, ("x",)), host
