"""What it takes to be let in by certain servers: certificates, headers with secrets, OAuth2.

An access belongs to all addresses below its ``base_url``, and to no other: a redirection that leads away from
it leaves its secrets behind. Tasks do not name it, and never see what is secret. A token, had for client
credentials (RFC 6749, 4.4), is kept until shortly before it expires, and a server that refuses one (401) gets
one new one.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, unquote

from yarl import URL

from gleitzeitd.bounds import sized
from gleitzeitd.errors import ConfigError, ExecutionFailed, MalformedData
from gleitzeitd.providers.credentials import TEXT_LIMIT, bytes_of, file_of, text_of

MARGIN_SECONDS = 30.0
"""A token that expires sooner is not used any more; but at most a tenth of its life."""
Fetch = Callable[[str, dict[str, str], dict[str, str], "ssl.SSLContext | None"], Awaitable[Any]]
"""``(url, form, headers, context)``: what the token server says, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """One access: ``[[provider.access]]``. Names of credentials may also be absolute paths of files."""

    name: str = sized("", most=100)
    """In messages."""
    base_url: str = ""
    """``https://host/path``; it holds for all addresses below."""
    ca: str = ""
    """Credential with the authorities that may vouch for the servers; else those of the system."""
    certificate: str = ""
    """Credential with the certificate of this client, and those between it and the authority."""
    key: str = ""
    """Credential with the private key of the certificate, if it is not in the same one."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with each request: from the name to the credential with the value, as in
    ``X-Api-Key = "office.key"``."""
    token_url: str = ""
    """Where tokens are had for client credentials; none are used if it is empty."""
    client_id: str = sized("", most=1000)
    """Who asks for them."""
    client_secret: str = ""
    """Credential with the secret of who asks."""
    scope: str = sized("", most=4000)
    """What the token is to be good for."""
    audience: str = sized("", most=4000)
    """Whom the token is to be shown to; not all servers know this."""
    client_authentication: Literal["basic", "post"] = "basic"
    """Whether id and secret are sent in a header, or in the form."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        if not self.name:
            raise MalformedData("name", "expected a name")
        for key, value in (("base_url", self.base_url), ("token_url", self.token_url)):
            if (key == "base_url" or value) and not _is_web(value):
                # It is not repeated: there may be a password in it.
                raise MalformedData(key, "expected https://HOST/PATH or http://HOST/PATH, without a user")
        if self.key and not self.certificate:
            raise MalformedData("key", "needs a certificate")
        if bool(self.token_url) != bool(self.client_id) or bool(self.token_url) != bool(self.client_secret):
            raise MalformedData("token_url", "token_url, client_id and client_secret go together")
        if self.token_url and "authorization" in {name.lower() for name in self.headers}:
            raise MalformedData("headers", "the token is the header Authorization")


class Access:
    """One access, with its secrets."""

    def __init__(self, settings: AccessSettings, environment: Mapping[str, str]) -> None:
        """Raises ConfigError: a credential is not there, or is not what it should be."""
        self.settings = settings
        where = f"provider.access {settings.name}"
        self.context = _context(settings, environment, where)
        self._base = URL(settings.base_url)
        self._headers = {
            name: text_of(source, environment, f"{where}: headers.{name}")
            for name, source in settings.headers.items()
        }
        self._tokens: Tokens | None = None
        if settings.token_url:
            secret = text_of(settings.client_secret, environment, f"{where}: client_secret")
            self._tokens = Tokens(settings, secret, self.context)

    @property
    def secrets(self) -> list[str]:
        """What no result and no message may show, as of now."""
        tokens = self._tokens.secrets if self._tokens is not None else []
        return [*self._headers.values(), *tokens]

    def covers(self, url: URL) -> bool:
        """Whether it is below ``base_url``."""
        # Whoever leaves the path by dots is not below it, however the server reads them.
        path = unquote(url.raw_path)
        base = self._base.path.rstrip("/")
        inside = path == base or path.startswith(f"{base}/")
        return same_origin(url, self._base) and inside and ".." not in path.split("/")

    async def headers(self, fetch: Fetch) -> dict[str, str]:
        """What is sent with a request.

        Raises:
            ExecutionFailed, RateLimited: there is no token to be had.
        """
        if self._tokens is None:
            return self._headers
        return {**self._headers, "Authorization": f"Bearer {await self._tokens.token(fetch)}"}

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Whether another try with a new token makes sense, after these headers were answered with 401."""
        if self._tokens is None:
            return False
        self._tokens.forget(headers["Authorization"].removeprefix("Bearer "))
        return True


class Tokens:
    """The one token that is in use."""

    def __init__(
        self,
        settings: AccessSettings,
        secret: str,
        context: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._context = context
        self._now = now
        self._token = ""
        self._until: float | None = None
        self._last = ""
        self._asking = asyncio.Lock()

    @property
    def secrets(self) -> list[str]:
        """With the token before this one: an answer to it may still be on its way."""
        return [one for one in (self._secret, self._basic(), self._token, self._last) if one]

    async def token(self, fetch: Fetch) -> str:
        """One that has not expired; of many calls, one asks for it."""
        async with self._asking:
            if not self._token or (self._until is not None and self._now() >= self._until):
                self.forget(self._token)
                self._token, self._until = await self._fresh(fetch)
            return self._token

    def forget(self, token: str) -> None:
        """It was refused. Nothing happens if there is another one already."""
        if token == self._token:
            self._token, self._last = "", token or self._last

    async def _fresh(self, fetch: Fetch) -> tuple[str, float | None]:
        settings = self._settings
        form = {"grant_type": "client_credentials", "scope": settings.scope, "audience": settings.audience}
        headers = {"Accept": "application/json"}
        if settings.client_authentication == "basic":
            headers["Authorization"] = f"Basic {self._basic()}"
        else:
            form |= {"client_id": settings.client_id, "client_secret": self._secret}
        asked = self._now()
        form = {key: value for key, value in form.items() if value}
        said = await fetch(settings.token_url, form, headers, self._context)
        token = said.get("access_token") if isinstance(said, dict) else None
        if not isinstance(token, str) or not 0 < len(token) <= TEXT_LIMIT or not _one_line(token):
            raise ExecutionFailed(
                f"access {settings.name}: the token server sent no access_token", retryable=False
            )
        kind = said.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise ExecutionFailed(
                f"access {settings.name}: its tokens are not of the type Bearer", retryable=False
            )
        seconds = _seconds(said.get("expires_in"))
        return token, None if seconds is None else asked + seconds - min(MARGIN_SECONDS, seconds / 10)

    def _basic(self) -> str:
        # RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
        pair = f"{quote(self._settings.client_id, safe='')}:{quote(self._secret, safe='')}"
        return base64.b64encode(pair.encode()).decode()


def _context(settings: AccessSettings, environment: Mapping[str, str], where: str) -> ssl.SSLContext | None:
    if not settings.ca and not settings.certificate:
        return None
    try:
        context = ssl.create_default_context()
        if settings.ca:
            # These, and no others.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            authorities = bytes_of(settings.ca, environment, f"{where}: ca").decode("ascii", "replace")
            context.load_verify_locations(cadata=authorities)
        if settings.certificate:
            certificate = file_of(settings.certificate, environment, f"{where}: certificate")
            key = file_of(settings.key, environment, f"{where}: key") if settings.key else None
            context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as problem:
        raise ConfigError(f"{where}: certificates: {problem}") from problem
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; nobody is there who knows its password")


def same_origin(one: URL, other: URL) -> bool:
    """Whether both addresses are of one server (RFC 6454, 5)."""
    return _origin(one) == _origin(other)


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, (url.host or "").lower(), url.port


def _is_web(text: str) -> bool:
    try:
        url = URL(text)
        return url.scheme in ("http", "https") and bool(url.host) and url.user is None and bool(url.port)
    except ValueError:
        return False


def _one_line(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _seconds(value: Any) -> float | None:
    """``expires_in``: a number, which some servers send as text."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < 10**9 else None
