"""The keys that tokens are signed with, and whether a token is genuine.

A token is a JSON Web Token (RFC 7519), signed by one of the keys of a ring, which its ``kid`` names. Each key
is for one algorithm, so that a token cannot choose how it is checked. One key of a ring is active: with it
tokens are made. The others are what was active before, and are accepted until their time is over. No message
repeats a token, or a key.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt

from gleitzeitd.errors import ConfigError, MalformedData, NotAuthenticated
from gleitzeitd.machines.registration import token_problem
from gleitzeitd.model.access import Grant
from gleitzeitd.model.claims import SEGMENTS, claims_of, grant_of, segment
from gleitzeitd.plain import Json
from gleitzeitd.runtime import durable_files

ALGORITHMS = ("HS256", "EdDSA")
"""HMAC with SHA-256 (RFC 7518, 3.2), and Ed25519 (RFC 8037, 3.1)."""
SECRET_BYTES = 32
LENGTH_LIMIT = 4096
"""Characters of a token."""
FILE_LIMIT = 256 * 1024
"""Bytes of a file of keys."""
KEYS_LIMIT = 100
_HEADER = {"alg", "kid", "typ"}
_MAKE = "make one on the hub's host: gleitzeit token create"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What tokens are signed with."""

    key_id: str
    algorithm: str
    secret: bytes
    """32 bytes: of HMAC, or the private key of Ed25519."""
    until: float | None = None
    """Seconds since 1970; tokens that it has signed are accepted until then. None: for ever."""

    def __repr__(self) -> str:
        return f"Key({self.key_id}, {self.algorithm})"

    def signer(self) -> Any:
        """As the library wants it to sign."""
        return self.secret if self.algorithm == "HS256" else _private_key(self.secret)

    def verifier(self) -> Any:
        """As the library wants it to check a signature."""
        return self.secret if self.algorithm == "HS256" else _private_key(self.secret).public_key()


class KeyRing:
    """The keys of one system; unchangeable."""

    def __init__(self, keys: Sequence[Key], active: str) -> None:
        """``active`` is the id of the key that signs; the first that is not has to be no key of ``keys``."""
        self.keys = tuple(keys)
        self._by_id = {key.key_id: key for key in self.keys}
        self.active = self._by_id[active]
        self._verifiers: dict[str, Any] = {}

    @classmethod
    def make(cls, algorithm: str = ALGORITHMS[0]) -> KeyRing:
        """A ring with one new key.

        Raises:
            ConfigError: the algorithm cannot be used here.
        """
        key = _new_key(algorithm)
        return cls([key], key.key_id)

    def rotated(self, *, now: float, overlap: float, algorithm: str | None = None) -> KeyRing:
        """With a new active key; that of now is accepted for ``overlap`` seconds more. What is over goes."""
        key = _new_key(algorithm or self.active.algorithm)
        until = now + overlap
        kept = [each for each in self.keys if each.until is None or each.until > now]
        ended = [
            replace(each, until=until if each.until is None else min(each.until, until)) for each in kept
        ]
        return KeyRing([key, *ended], key.key_id)

    # -- files

    @classmethod
    def load(cls, file: Path) -> KeyRing:
        """The ring in a file.

        Raises:
            ConfigError: it cannot be read, or holds none; the message names it, and no key.
        """
        try:
            with file.open("rb") as source:
                text = source.read(FILE_LIMIT + 1)
        except OSError as problem:
            raise ConfigError(f"{file}: the keys cannot be read: {problem.strerror}") from problem
        if len(text) > FILE_LIMIT:
            raise ConfigError(f"{file}: the keys are more than {FILE_LIMIT} bytes")
        try:
            return cls._parsed(json.loads(text))
        except (ValueError, RecursionError, KeyError, TypeError, MalformedData) as problem:
            place = (
                problem if isinstance(problem, MalformedData) else "not what `gleitzeitd keygen` has written"
            )
            raise ConfigError(f"{file}: holds no keys: {place}") from None

    @classmethod
    def _parsed(cls, data: Json) -> KeyRing:
        if data["version"] != 1:
            raise MalformedData("version", "expected 1")
        keys = [_key(each) for each in data["keys"][:KEYS_LIMIT]]
        if data["active"] not in [key.key_id for key in keys]:
            raise MalformedData("active", "is none of the keys")
        return cls(keys, data["active"])

    def text(self) -> str:
        """As it is in a file; secret."""
        keys = [
            {
                "kid": key.key_id,
                "algorithm": key.algorithm,
                "secret": base64.urlsafe_b64encode(key.secret).decode(),
                "until": key.until,
            }
            for key in self.keys
        ]
        return json.dumps({"version": 1, "active": self.active.key_id, "keys": keys}, indent=1) + "\n"

    def write(self, file: Path) -> None:
        """Into a file that its owner alone may read, in place of what it held. Raises OSError."""
        durable_files.replace(file, self.text(), 0o600)

    # -- tokens

    def issue(self, grant: Grant, *, now: float, authority: str | None = None) -> str:
        """A token that grants this, signed with the active key.

        ``authority`` is the SHA-256 fingerprint of the CA certificate that hubs are known by. An empty
        ``token_id`` becomes a new one.
        """
        named = replace(grant, token_id=grant.token_id or new_token_id())
        claims = claims_of(named, issued=now, authority=authority)
        headers = {"kid": self.active.key_id}
        return jwt.encode(claims, self.active.signer(), algorithm=self.active.algorithm, headers=headers)

    def verify(self, token: Json, *, now: float, revoked: frozenset[str] = frozenset()) -> Grant:
        """What a token grants; ``now`` is in seconds since 1970.

        The grant ends no later than the key is accepted.

        Raises:
            TokenExpired, TokenRevoked: it was genuine.
            NotAuthenticated: it is none of ours, or none at all.
        """
        key, claims = self._genuine(token)
        try:
            grant = grant_of(claims)
        except MalformedData as problem:
            raise NotAuthenticated(f"the token's claim {problem}: {_MAKE}") from None
        ends = [each for each in (grant.expires, key.until) if each is not None]
        grant = replace(grant, expires=min(ends) if ends else None)
        refusal = token_problem(grant, revoked, now)
        if refusal is not None:
            raise refusal
        return grant

    def _genuine(self, token: Json) -> tuple[Key, dict[str, Json]]:
        """The claims of a token that one of these keys has signed, and that key."""
        if type(token) is not str or not token:
            raise NotAuthenticated(f"the hub wants a token: {_MAKE}")
        if len(token) > LENGTH_LIMIT:
            raise NotAuthenticated(f"the token has {len(token)} characters, at most {LENGTH_LIMIT} are read")
        parts = token.split(".")
        header = segment(parts[0]) if len(parts) == SEGMENTS else None
        if header is None or header.keys() - _HEADER:
            raise NotAuthenticated(f"the token is none that a key of this hub has signed: {_MAKE}")
        key_id = header.get("kid")
        key = self._by_id.get(key_id) if type(key_id) is str else None
        if key is None:
            raise NotAuthenticated(
                f"the token was signed with a key that the hub does not have: {_MAKE}; if it is from "
                "there, restart the hub, which reads new keys when it starts"
            )
        if header.get("alg") != key.algorithm:
            raise NotAuthenticated(f"the token is not signed as its key signs, with {key.algorithm}: {_MAKE}")
        try:
            payload = jwt.PyJWS().decode(token, self._verifier(key), algorithms=[key.algorithm])
            claims = json.loads(payload)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise NotAuthenticated(f"the signature of the token is wrong: {_MAKE}") from None
        if type(claims) is not dict:
            raise NotAuthenticated(f"the token makes no claims: {_MAKE}")
        return key, claims

    def _verifier(self, key: Key) -> Any:
        if key.key_id not in self._verifiers:
            self._verifiers[key.key_id] = key.verifier()
        return self._verifiers[key.key_id]


def new_token_id() -> str:
    """By which a token can be revoked."""
    return secrets.token_hex(8)


def _new_key(algorithm: str) -> Key:
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, found {algorithm[:20]!r}")
    key_id = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(3)}"
    key = Key(key_id=key_id, algorithm=algorithm, secret=os.urandom(SECRET_BYTES))
    key.signer()
    return key


def _key(data: Json) -> Key:
    if data["algorithm"] not in ALGORITHMS:
        raise MalformedData("algorithm", f"expected one of {', '.join(ALGORITHMS)}")
    secret = base64.urlsafe_b64decode(data["secret"])
    if len(secret) != SECRET_BYTES:
        raise MalformedData("secret", f"expected {SECRET_BYTES} bytes")
    until = data["until"]
    if until is not None and type(until) not in (int, float):
        raise MalformedData("until", "expected seconds since 1970")
    return Key(key_id=str(data["kid"]), algorithm=data["algorithm"], secret=secret, until=until)


def _private_key(secret: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        raise ConfigError("EdDSA takes the package python3-cryptography, which is not installed") from None
    return Ed25519PrivateKey.from_private_bytes(secret)
