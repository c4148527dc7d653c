"""Why a hub does not let us in, as an exception."""

from __future__ import annotations

from gleitzeitd.errors import (
    ErrorInfo,
    GleitzeitError,
    HubUnreachable,
    NotAuthenticated,
    NotPermitted,
    TokenExpired,
    TokenRevoked,
    WireUnsupported,
)
from gleitzeitd.plain import Json

_KINDS: tuple[type[NotAuthenticated | NotPermitted], ...] = (
    NotAuthenticated,
    TokenExpired,
    TokenRevoked,
    NotPermitted,
    WireUnsupported,
)


def refusal_of(data: Json) -> GleitzeitError:
    """The error in a hub's refusal to connect: ``[-25005 AUTHENTICATION_FAILED] why``."""
    text = str(data.get("message") or data) if isinstance(data, dict) else str(data)
    for refused in _KINDS:
        head = f"{refused.code} {refused.name}"
        if text.lstrip("[").startswith(head):
            return refused(text.lstrip("[").removeprefix(head).lstrip("]: "))
    return HubUnreachable(text)


def refused_as(error: ErrorInfo) -> NotAuthenticated | NotPermitted:
    """The error of a registration that was refused, or of a connection that was cut."""
    kind = next((each for each in _KINDS if each.code == error.code), NotPermitted)
    return kind(error.message)
