"""gleitzeit token: made once, listed without what is secret, revoked, and signed with new keys."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from click.testing import Result

from gleitzeitd.errors import NotAuthenticated, TokenRevoked
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.claims import said_by
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.revocation import read_revoked
from gleitzeitd.runtime.tokens import KeyRing
from tests.cli.fake_client import FakeClient, call


class Host:
    """The files of a hub's host, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.revoked = folder / "gleitzeit.keys", folder / "gleitzeit.revoked"
        KeyRing.make().write(self.keys)

    def token(self, *arguments: str) -> Result:
        return call(FakeClient(), "token", *arguments, "--keys", str(self.keys))

    def made(self, *arguments: str) -> str:
        result = self.token("create", *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    def listed(self, *arguments: str) -> dict[str, str]:
        """Subject to state."""
        result = self.token("list", "--json", *arguments)
        return {each["subject"]: each["state"] for each in json.loads(result.stdout)["tokens"]}

    @property
    def ring(self) -> KeyRing:
        return KeyRing.load(self.keys)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_standard_output_has_the_token_and_standard_error_what_it_is_for(host: Host) -> None:
    result = host.token(
        *("create", "--subject", "alice", "--role", "submitter", "--role", "provider"),
        *("--names", "alice-*", "--namespace", "team-a", "--expires", "30d"),
    )
    grant = host.ring.verify(result.stdout.strip(), now=time.time())
    assert (grant.subject, grant.user, grant.components) == ("alice", UserRole.SUBMITTER, {Role.PROVIDER})
    assert (grant.names, grant.namespace) == ("alice-*", "team-a")
    assert 29.9 < ((grant.expires or 0) - time.time()) / 86_400 < 30.1
    assert f"{grant.token_id}: alice as provider, submitter, called like alice-*" in result.stderr


def test_a_host_gets_a_token_for_its_daemons_and_one_for_its_users(host: Host) -> None:
    daemons, users = host.made("--host", "b", "--role", "execution_engine").splitlines()
    found = host.ring.verify(daemons, now=time.time())
    assert (found.subject, found.components, found.user) == ("host:b", {Role.EXECUTION_ENGINE}, None)
    assert host.ring.verify(users, now=time.time()).user is UserRole.OPERATOR


def test_the_fingerprint_of_the_authority_is_in_the_token(host: Host, tmp_path: Path) -> None:
    digest = "AB:" * 31 + "cd"
    token = host.made("--subject", "b", "--role", "provider", "--ca", digest)
    assert (said_by(token) or {})["ca"] == "ab" * 31 + "cd"
    (tmp_path / "x").write_text("no certificate")
    for wrong in (tmp_path / "x", tmp_path / "none"):
        result = host.token("create", "--subject", "b", "--role", "provider", "--ca", str(wrong))
        assert (result.exit_code, "--ca" in result.stderr) == (2, True)


def test_the_list_shows_what_is_good_and_with_all_what_was(host: Host) -> None:
    host.made("--subject", "alice", "--role", "viewer")
    token = host.made("--subject", "bob", "--role", "admin", "--expires", "4w")
    assert host.token("revoke", "alice").exit_code == 0
    assert list(host.listed()) == ["bob"]
    assert host.listed("--all")["alice"] == "revoked"
    assert host.listed()["bob"].startswith("good until 20")
    text = host.token("list").stdout
    assert "bob" in text
    assert token.split(".")[2] not in text


def test_a_token_is_revoked_by_its_id_or_by_its_subject(host: Host) -> None:
    first, second = (host.made("--subject", "alice", "--role", "viewer") for _ in range(2))
    third = host.made("--subject", "bob", "--role", "viewer", "--expires", "1h")
    ids = [str((said_by(each) or {})["jti"]) for each in (first, second, third)]
    assert "2 tokens revoked" in host.token("revoke", "alice").stdout
    assert "1 token revoked" in host.token("revoke", ids[2]).stdout
    assert "0 tokens revoked" in host.token("revoke", ids[2]).stdout
    revoked = read_revoked(host.revoked)
    assert revoked.keys() == set(ids)
    assert revoked[ids[2]] is not None
    with pytest.raises(TokenRevoked):
        host.ring.verify(first, now=time.time(), revoked=frozenset(revoked))


def test_a_token_that_was_made_elsewhere_can_be_revoked_by_its_id_only(host: Host) -> None:
    result = host.token("revoke", "0123456789abcdef")
    assert result.exit_code == 0
    assert "0123456789abcdef: no token with this id was made on this host" in result.stderr
    result = host.token("revoke", "carol")
    assert result.exit_code == 2
    assert "carol: no token of this id or subject was made on this host" in result.stderr


def test_a_rotation_says_which_tokens_are_to_be_replaced_and_until_when(host: Host) -> None:
    before = host.made("--subject", "alice", "--role", "viewer")
    host.made("--subject", "short", "--role", "viewer", "--expires", "1h")
    result = host.token("rotate", "--overlap", "2d")
    assert "systemctl restart gleitzeit-hub" in result.stdout
    assert re.search(r"To be replaced until \d{4}-\d\d-\d\d .*\n  [0-9a-f]{16}  alice\n", result.stdout)
    assert "short" not in result.stdout
    assert "as its key" in host.listed()["alice"]
    assert len(host.ring.keys) == 2
    assert host.ring.verify(before, now=time.time()).subject == "alice"
    with pytest.raises(NotAuthenticated):
        host.ring.verify(before, now=time.time() + 3 * 86_400)


def test_the_algorithm_can_be_changed(host: Host) -> None:
    assert host.token("rotate", "--algorithm", "EdDSA").exit_code == 0
    host.ring.verify(host.made("--subject", "a", "--role", "viewer"), now=time.time())
    assert host.ring.active.algorithm == "EdDSA"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--subject", "a", "--role", "submiter"), "submiter"),
        (("create", "--subject", "a", "--role", "hub"), "hub"),
        (("create", "--subject", "a"), "what is it for?"),
        (("create", "--role", "viewer"), "whose is it?"),
        (("create", "--host", "b", "--subject", "a"), "--subject"),
        (("create", "--subject", "a", "--role", "viewer", "--expires", "30"), "expected how long, as 90m"),
        (("create", "--subject", "a", "--role", "viewer", "--expires", "0d"), "expected how long"),
        (("create", "--subject", "a", "--role", "viewer", "--expires", "8000y"), "at most 100y"),
        (("create", "--subject", "a", "--role", "viewer", "--namespace", "a:b"), "--namespace"),
        (("create", "--subject", "a\nb", "--role", "viewer"), "one line"),
        (("create", "--subject", "a", "--role", "viewer", "--names", ""), "--names"),
        (("rotate", "--overlap", "soon"), "expected how long"),
        (("rotate", "--overlap", "101y"), "at most 100y"),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_was_expected(
    host: Host, arguments: tuple[str, ...], said: str
) -> None:
    result = host.token(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert host.listed() == {}


def test_without_keys_it_is_said_where_they_are_made(host: Host) -> None:
    host.keys.unlink()
    result = host.token("list")
    assert result.exit_code == 2
    assert "as root: gleitzeitd keygen" in " ".join(result.stderr.split())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_whoever_may_not_read_the_keys_is_told_so(host: Host) -> None:
    host.keys.chmod(0)
    result = host.token("list")
    assert (result.exit_code, "it takes root" in result.stderr) == (2, True)
