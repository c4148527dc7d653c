"""Keys, tokens, and what is refused: whatever a token says of itself, its key decides."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import ConfigError, NotAuthenticated, TokenExpired, TokenRevoked
from gleitzeitd.model.access import EVERYTHING, Grant, UserRole
from gleitzeitd.model.claims import said_by
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.tokens import ALGORITHMS, LENGTH_LIMIT, KeyRing

NOW = 1_800_000_000.0
DAY = 86_400.0
ALICE = Grant(subject="alice", user=UserRole.SUBMITTER, namespace="team-a", expires=NOW + DAY, token_id="a1")
HOST = Grant(subject="host:b", components=EVERYTHING - {Role.CLIENT}, names="*-b-*", token_id="b1")


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(header: dict[str, Any], token: str, secret: bytes | None = None) -> str:
    """The claims of a token under another header, signed with HMAC, or not at all."""
    signed = f"{encoded(header)}.{token.split('.')[1]}"
    if secret is None:
        return f"{signed}."
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("grant", [ALICE, HOST])
def test_what_was_granted_is_what_is_found(algorithm: str, grant: Grant) -> None:
    ring = KeyRing.make(algorithm)
    assert ring.verify(ring.issue(grant, now=NOW), now=NOW) == grant


def test_a_token_is_good_until_it_expires_and_for_as_long_as_clocks_may_differ() -> None:
    ring = KeyRing.make()
    token = ring.issue(ALICE, now=NOW)
    assert ring.verify(token, now=NOW + DAY + 4) == ALICE
    with pytest.raises(TokenExpired, match="the token of alice expired"):
        ring.verify(token, now=NOW + DAY + 6)


def test_a_revoked_token_is_refused() -> None:
    ring = KeyRing.make()
    with pytest.raises(TokenRevoked, match="the token of alice was revoked"):
        ring.verify(ring.issue(ALICE, now=NOW), now=NOW, revoked=frozenset({"a1"}))


def test_a_token_without_a_signature_is_refused() -> None:
    ring = KeyRing.make()
    token = ring.issue(ALICE, now=NOW)
    for algorithm in ("none", "None", "NONE", ""):
        bare = forged({"alg": algorithm, "kid": ring.active.key_id}, token)
        with pytest.raises(NotAuthenticated, match="not signed as its key signs"):
            ring.verify(bare, now=NOW)
    with pytest.raises(NotAuthenticated, match="signature"):
        ring.verify(token.rpartition(".")[0] + ".", now=NOW)


def test_a_public_key_does_not_serve_as_a_shared_secret() -> None:
    ring = KeyRing.make("EdDSA")
    token = ring.issue(ALICE, now=NOW)
    public = ring.active.verifier().public_bytes_raw()
    with pytest.raises(NotAuthenticated, match="not signed as its key signs, with EdDSA"):
        ring.verify(forged({"alg": "HS256", "kid": ring.active.key_id}, token, public), now=NOW)


@pytest.mark.parametrize("key_id", [None, "", "other", 7, ["x"], {"a": 1}, "../keys"])
def test_a_key_that_the_ring_does_not_have_is_refused(key_id: Any) -> None:
    ring = KeyRing.make()
    token = ring.issue(ALICE, now=NOW)
    header = {"alg": "HS256", "kid": key_id}
    with pytest.raises(NotAuthenticated, match="key that the hub does not have"):
        ring.verify(forged(header, token, ring.active.secret), now=NOW)


def test_headers_that_ask_for_more_are_refused() -> None:
    ring = KeyRing.make()
    token = ring.issue(ALICE, now=NOW)
    for more in ({"crit": ["x"]}, {"b64": False}, {"jwk": {}}, {"jku": "http://evil.test"}, {"x5u": "x"}):
        header = {"alg": "HS256", "kid": ring.active.key_id, **more}
        with pytest.raises(NotAuthenticated):
            ring.verify(forged(header, token, ring.active.secret), now=NOW)


@pytest.mark.parametrize(
    ("claims", "place"),
    [
        ({"iss": "other"}, "iss"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"roles": []}, "roles"),
        ({"roles": "admin"}, "roles"),
        ({"roles": ["root"]}, "roles"),
        ({"roles": ["hub"]}, "roles"),
        ({"roles": [["admin"]]}, "roles"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"ns": "a:b"}, "ns"),
        ({"jti": None}, "jti"),
        ({"names": 1}, "names"),
    ],
)
def test_claims_of_another_form_are_refused_even_if_they_are_signed(
    claims: dict[str, Any], place: str
) -> None:
    ring = KeyRing.make()
    said = {**(said_by(ring.issue(ALICE, now=NOW)) or {}), **claims}
    header = {"alg": "HS256", "kid": ring.active.key_id}
    with pytest.raises(NotAuthenticated, match=f"claim {place}"):
        ring.verify(forged(header, f"x.{encoded(said)}.x", ring.active.secret), now=NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        None,
        7,
        [],
        {},
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        "\ud800",
        "." * 100,
        "x" * (LENGTH_LIMIT + 1),
    ]
    + [f"{base64.urlsafe_b64encode(b'[' * 3000).decode()}.x.x"[:LENGTH_LIMIT]],
)
def test_what_is_no_token_is_refused_with_words_and_not_with_an_accident(token: Any) -> None:
    with pytest.raises(NotAuthenticated):
        KeyRing.make().verify(token, now=NOW)


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_a_token_of_which_one_character_is_another_is_refused_and_not_repeated(
    place: int, other: str
) -> None:
    ring = RING
    before = TOKEN
    at = place % len(before)
    changed = before[:at] + other + before[at + 1 :]
    # The last character of a part has bits that say nothing.
    if changed == before or at in ENDS:
        return
    with pytest.raises(NotAuthenticated) as refused:
        ring.verify(changed, now=NOW)
    assert TOKEN.split(".")[2] not in str(refused.value)
    assert changed not in str(refused.value)


RING = KeyRing.make()
TOKEN = RING.issue(ALICE, now=NOW)
ENDS = {index - 1 for index, each in enumerate(f"{TOKEN}.") if each == "."}


def test_after_a_rotation_tokens_of_both_keys_are_accepted_until_the_overlap_is_over() -> None:
    ring = KeyRing.make()
    before = ring.issue(HOST, now=NOW)
    rotated = ring.rotated(now=NOW, overlap=7 * DAY)
    after = rotated.issue(HOST, now=NOW)
    assert rotated.verify(after, now=NOW + 100 * DAY) == HOST
    assert rotated.verify(before, now=NOW).expires == NOW + 7 * DAY
    with pytest.raises(TokenExpired):
        rotated.verify(before, now=NOW + 8 * DAY)
    with pytest.raises(NotAuthenticated, match="restart the hub"):
        ring.verify(after, now=NOW)
    assert len(rotated.rotated(now=NOW + 8 * DAY, overlap=DAY).keys) == 2  # the first has gone


def test_a_second_rotation_gives_the_first_key_no_more_time() -> None:
    twice = KeyRing.make().rotated(now=NOW, overlap=DAY).rotated(now=NOW + 1, overlap=9 * DAY)
    assert [key.until for key in twice.keys] == [None, NOW + 1 + 9 * DAY, NOW + DAY]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_ring_is_in_its_file_what_it_was_and_its_owners_alone(tmp_path: Path, algorithm: str) -> None:
    file = tmp_path / "store" / "keys"
    ring = KeyRing.make().rotated(now=NOW, overlap=DAY, algorithm=algorithm)
    ring.write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["keys"]
    again = KeyRing.load(file)
    assert (again.keys, again.active) == (ring.keys, ring.active)
    assert again.verify(ring.issue(ALICE, now=NOW), now=NOW) == ALICE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\ufffe",
        '{"version": 2, "active": "a", "keys": []}',
        '{"version": 1, "active": "a", "keys": []}',
        '{"version": 1, "active": "a", "keys": [{"kid": "a", "algorithm": "none", "secret": "", "until": null}]}',
        '{"version": 1, "active": "a", "keys": [{"kid": "a", "algorithm": "HS256", "secret": "YQ", "until": null}]}',
        "[" * 100_000,
        "x" * 300_000,
    ],
)
def test_a_file_that_holds_no_keys_is_named_and_its_content_is_not_repeated(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ConfigError, match=str(file)) as refused:
        KeyRing.load(file)
    assert "YQ" not in str(refused.value)


def test_keys_do_not_show_what_is_secret() -> None:
    key = KeyRing.make().active
    assert repr(key) == f"Key({key.key_id}, HS256)"
