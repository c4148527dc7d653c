"""A real hub, and those who would be somebody else: each is refused with its number, and the hub goes on."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from gleitzeitd.errors import ConfigError
from gleitzeitd.model.access import EVERYTHING, Grant, UserRole
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.revocation import write_revoked
from gleitzeitd.runtime.tokens import KeyRing
from tests.runtime.hub_peers import WAIT, closed, hub

DAEMONS = Grant(subject="host:a", components=EVERYTHING - {Role.CLIENT}, token_id="d1")
OTHERS = replace(DAEMONS, subject="host:b", token_id="d2")
ENGINES = Grant(
    subject="host:c", components=frozenset({Role.EXECUTION_ENGINE}), names="engine-*", token_id="e1"
)
ALICE = Grant(subject="alice", user=UserRole.OPERATOR, token_id="u1")


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[Any]:
    """A hub with keys, a function that makes tokens, and one that makes peers."""
    keys = tmp_path / "gleitzeit.keys"
    ring = KeyRing.make()
    ring.write(keys)
    gate = Gate.by_file(keys, tmp_path / "revoked")
    async with hub(gate=gate, heartbeat_interval=0.05) as (server, peer):

        def token(grant: Grant) -> str:
            return ring.issue(grant, now=time.time())

        yield server, peer, token


async def refused(
    server: Any, peer: Any, token: Any, role: str = "client", name: str = "c", **auth: Any
) -> str:
    """That the hub does not let it in: number and name of the error."""
    one = peer(role, name)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await one.connect(server, token, **auth)
    said = one.refusals[0]["message"]
    assert not token or str(token) not in said
    return str(said.partition("]")[0].lstrip("["))


def unsigned(token: str) -> str:
    """The same claims under `alg: none`."""
    head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    bare = base64.urlsafe_b64encode(json.dumps({**head, "alg": "none"}).encode()).rstrip(b"=").decode()
    return f"{bare}.{token.split('.')[1]}."


async def test_without_a_token_with_garbage_or_with_one_of_other_keys_nobody_is_let_in(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        foreign = KeyRing.make().issue(ALICE, now=time.time())
        for shown in (None, "", "garbage", 7, {}, "a.b.c", "x" * 5000, foreign, unsigned(token(ALICE))):
            assert await refused(server, peer, shown) == "-25005 AUTHENTICATION_FAILED", shown
        assert server.hub.counts.refused["AUTHENTICATION_FAILED"] == 9
        await peer("client", "c").join(server, token(ALICE))


async def test_an_expired_and_a_revoked_token_are_refused_with_numbers_of_their_own(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        late = replace(ALICE, expires=time.time() - 60)
        assert await refused(server, peer, token(late)) == "-25008 TOKEN_EXPIRED"
        write_revoked(tmp_path / "revoked", {"u1": None}, now=0.0)
        assert await refused(server, peer, token(ALICE)) == "-25009 TOKEN_REVOKED"


async def test_whoever_is_connected_with_a_token_that_is_revoked_is_told_so_and_cut_within_a_heartbeat(
    tmp_path,
):
    async with guarded(tmp_path) as (server, peer, token):
        alice = await peer("client", "alice").join(server, token(ALICE))
        daemon = await peer("provider", "shell-1").join(server, token(DAEMONS))
        write_revoked(tmp_path / "revoked", {"u1": None}, now=0.0)
        _, body = await alice.expect("registration_refused")
        assert body["error"]["name"] == "TOKEN_REVOKED"
        await asyncio.wait_for(alice.gone.wait(), WAIT)
        assert server.hub.members.named("alice") is None
        assert server.hub.members.named("shell-1") is not None
        assert not daemon.gone.is_set()


async def test_whoever_is_connected_is_cut_when_his_token_expires(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        soon = replace(ALICE, expires=time.time() - 4.0)  # clocks may differ by five
        alice = await peer("client", "alice").join(server, token(soon))
        _, body = await alice.expect("registration_refused")
        assert body["error"]["name"] == "TOKEN_EXPIRED"
        await asyncio.wait_for(alice.gone.wait(), WAIT)


async def test_a_token_of_a_user_makes_no_component_and_one_of_an_engine_no_ledger_and_no_client(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        for grant, roles in (
            (ALICE, [role for role in Role if role not in (Role.CLIENT, Role.HUB)]),
            (ENGINES, [role for role in Role if role not in (Role.EXECUTION_ENGINE, Role.HUB)]),
        ):
            for role in roles:
                found = await refused(server, peer, token(grant), role.value, "engine-1")
                assert found == "-25006 AUTHORIZATION_FAILED", (grant.subject, role)
        assert not len(server.hub.members)


async def test_a_role_that_is_said_only_when_registering_is_looked_at_all_the_same(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        alice = peer("persistence", "ledger")
        await alice.connect(server, token(ALICE), component_type=None, component_id=None)
        await alice.send(
            "register_component",
            {"component_id": "ledger", "component_type": "persistence", "capabilities": ["envelope"]},
        )
        _, body = await alice.expect("registration_refused")
        assert (body["error"]["code"], body["error"]["name"]) == (-25006, "AUTHORIZATION_FAILED")
        await asyncio.wait_for(alice.gone.wait(), WAIT)


async def test_nobody_registers_as_a_hub_or_under_its_name(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        assert await refused(server, peer, token(DAEMONS), "hub", "hub-2") == "-25006 AUTHORIZATION_FAILED"
        assert (
            await refused(server, peer, token(DAEMONS), "provider", "hub-1") == "-25006 AUTHORIZATION_FAILED"
        )


async def test_a_component_has_a_name_that_its_token_allows(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        found = await refused(server, peer, token(ENGINES), "execution_engine", "other-1")
        assert found == "-25006 AUTHORIZATION_FAILED"
        await peer("execution_engine", "engine-7").join(server, token(ENGINES))


async def test_a_living_component_keeps_its_name_against_another_subject(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        living = await peer("persistence", "ledger").join(server, token(DAEMONS))
        thief = peer("persistence", "ledger")
        await thief.connect(server, token(OTHERS))
        await thief.send(
            "register_component",
            {
                "component_id": "ledger",
                "component_type": "persistence",
                "epoch": 99,
                "capabilities": ["envelope"],
            },
        )
        _, body = await thief.expect("registration_refused")
        assert "connected with the token of host:a" in body["error"]["message"]
        await asyncio.wait_for(thief.gone.wait(), WAIT)
        await living.send("query_status", {})  # refused, so it is still there
        await living.expect("event_refused")
        assert not living.gone.is_set()


async def test_a_component_takes_over_from_itself(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        before = await peer("persistence", "ledger").join(server, token(DAEMONS))
        await peer("persistence", "ledger").join(server, token(replace(DAEMONS, token_id="d9")), epoch=1)
        await asyncio.wait_for(before.gone.wait(), WAIT)


async def test_a_refusal_is_one_record_with_the_address_and_a_count(tmp_path, caplog):
    async with guarded(tmp_path) as (server, peer, token):
        del token
        with caplog.at_level(logging.WARNING):
            await refused(server, peer, "garbage")
        records = [each for each in caplog.records if each.message == "a connection was refused"]
        assert [each.address for each in records] == ["127.0.0.1"]
        assert "garbage" not in caplog.text
        assert server.hub.counts.refused["AUTHENTICATION_FAILED"] == 1


async def test_a_hub_without_keys_lets_nobody_in(tmp_path, caplog):
    async with hub(gate=Gate.closed()) as (server, peer):
        assert await refused(server, peer, None) == "-25005 AUTHENTICATION_FAILED"
        assert (
            await refused(server, peer, KeyRing.make().issue(DAEMONS, now=0.0))
            == "-25005 AUTHENTICATION_FAILED"
        )
    assert "nobody is let in: there are no keys" in caplog.text


async def test_an_insecure_hub_says_so_in_the_journal_and_to_whoever_asks(caplog):
    async with hub(gate=Gate.open()) as (server, peer):
        client = await peer("client", "c").join(server, None)
        await client.send("list_components", {})
        _, body = await client.expect("component_list")
        assert body["components"][0]["status"] == "insecure"
    assert "insecure: whoever is on this host is let in" in caplog.text


async def test_the_pages_ask_for_the_token_of_a_user(tmp_path):
    async with guarded(tmp_path) as (server, _, token), aiohttp.ClientSession() as session:

        async def status(page: str, shown: str = "") -> int:
            headers = {"Authorization": f"Bearer {shown}"} if shown else {}
            async with session.get(f"http://127.0.0.1:{server.port}/{page}", headers=headers) as answer:
                return answer.status

        for page in ("metrics", "readyz"):
            assert await status(page) == 401
            assert await status(page, "garbage") == 401
            assert await status(page, token(DAEMONS)) == 403
            assert await status(page, token(ALICE)) in (200, 503)
        assert await status("healthz") == 200


async def test_keys_that_were_replaced_in_their_file_are_used_without_a_restart(tmp_path):
    keys = tmp_path / "keys"
    before = KeyRing.make()
    before.write(keys)
    gate = Gate.by_file(keys, None)
    async with hub(gate=gate, heartbeat_interval=0.05) as (server, peer):
        after = before.rotated(now=time.time(), overlap=3600)
        after.write(keys)
        async with asyncio.timeout(WAIT):
            while gate.ring is None or len(gate.ring.keys) < 2:  # the next heartbeat sees it
                await asyncio.sleep(0.01)
        for ring in (before, after):
            name = f"with-{ring.active.key_id}"
            await peer("client", name).join(server, ring.issue(ALICE, now=time.time()))


async def test_a_connect_packet_that_is_none_does_not_stop_the_hub(tmp_path):
    async with guarded(tmp_path) as (server, peer, token):
        url = f"http://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
        for packet in (
            '40{"token":' + "[" * 4000,
            "40[]",
            "40null",
            '40{"token":' + "9" * 4000 + "}",
            "40{}x",
        ):
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
                await ws.receive()
                await ws.send_str(packet)
                assert not [each for each in await closed(ws) if each.startswith("40")]
        await peer("client", "c").join(server, token(ALICE))


def test_a_token_that_keys_have_signed_is_never_a_shared_one():
    with pytest.raises(ConfigError, match="keygen"):
        Gate.by_shared_token(KeyRing.make().issue(ALICE, now=0.0))
