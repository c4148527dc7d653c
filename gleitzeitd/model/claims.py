"""What a token says, as the claims of a JSON Web Token (RFC 7519): one object of plain values.

``iss`` is always ``gleitzeit``, ``sub`` the subject, ``roles`` names roles of components and of users,
``names`` is the pattern of component ids, ``ns`` the namespace, ``exp`` and ``iat`` are seconds since 1970,
``jti`` is what a token is revoked by, and ``ca`` the SHA-256 fingerprint of the certificate authority that
signed the hub's certificate. Whether a token is genuine is not found out here.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping

from gleitzeitd.errors import MalformedData
from gleitzeitd.model.access import EVERYTHING, NAMESPACE_END, Grant, UserRole
from gleitzeitd.model.names import NAME_LIMIT, Role, is_identifier
from gleitzeitd.plain import Json, did_you_mean

ISSUER = "gleitzeit"
SEGMENTS = 3
"""Of a token: header, claims, signature (RFC 7515, 3.1)."""
EVERY_NAME = "*"

_COMPONENTS = {role.value: role for role in Role if role in EVERYTHING and role is not Role.CLIENT}
_USERS = {role.value: role for role in UserRole}
ROLE_NAMES = (*_COMPONENTS, *_USERS)
"""What ``roles`` may name."""


def roles_of(names: Iterable[Json]) -> tuple[frozenset[Role], UserRole | None]:
    """The roles of components, and the highest role of a user.

    Raises:
        MalformedData: one of them is none.
    """
    components, user = set(), None
    for name in names:
        if type(name) is str and name in _COMPONENTS:
            components.add(_COMPONENTS[name])
        elif type(name) is str and name in _USERS:
            named = _USERS[name]
            user = named if user is None or named.includes(user) else user
        else:
            near = did_you_mean(str(name)[:100], ROLE_NAMES) or f"; roles are {', '.join(ROLE_NAMES)}"
            raise MalformedData("roles", f"{str(name)[:100]!r} is no role{near}")
    return frozenset(components), user


def role_names(grant: Grant) -> list[str]:
    """As ``roles`` has them."""
    named = [name for name, role in _COMPONENTS.items() if role in grant.components]
    return named if grant.user is None else [*named, grant.user.value]


def claims_of(grant: Grant, *, issued: float, authority: str | None = None) -> dict[str, Json]:
    """The claims that make this grant; ``authority`` is the fingerprint of a CA certificate."""
    optional: dict[str, Json] = {
        "names": None if grant.names == EVERY_NAME else grant.names,
        "ns": grant.namespace,
        "exp": None if grant.expires is None else int(grant.expires),
        "ca": authority,
    }
    return {
        "iss": ISSUER,
        "sub": grant.subject,
        "roles": role_names(grant),
        "iat": int(issued),
        "jti": grant.token_id,
        **{key: value for key, value in optional.items() if value is not None},
    }


def grant_of(claims: Mapping[str, Json]) -> Grant:
    """What claims grant.

    Raises:
        MalformedData: they do not have the form above; the message does not repeat what may be secret.
    """
    if claims.get("iss") != ISSUER:
        raise MalformedData("iss", f"expected {ISSUER}")
    roles = claims.get("roles")
    if type(roles) is not list or not roles:
        raise MalformedData("roles", "expected a list of at least one role")
    components, user = roles_of(roles)
    expires = claims.get("exp")
    if expires is not None and (type(expires) not in (int, float) or not math.isfinite(expires)):
        raise MalformedData("exp", "expected seconds since 1970")
    namespace = claims.get("ns")
    return Grant(
        subject=_text(claims, "sub"),
        components=components,
        user=user,
        names=_text(claims, "names") if "names" in claims else EVERY_NAME,
        namespace=None if namespace is None else checked_namespace(namespace),
        expires=expires,
        token_id=_text(claims, "jti"),
    )


def checked_namespace(namespace: Json) -> str:
    """``namespace``, if it can be one.

    Raises:
        MalformedData: it cannot.
    """
    if type(namespace) is str and is_identifier(namespace) and NAMESPACE_END not in namespace:
        return namespace
    raise MalformedData("ns", "expected letters, digits, and . _ @ - (not at the beginning)")


def _text(claims: Mapping[str, Json], key: str) -> str:
    value = claims.get(key)
    if type(value) is not str or not 0 < len(value) <= NAME_LIMIT or not value.isprintable():
        raise MalformedData(key, f"expected one line of 1 to {NAME_LIMIT} characters")
    return value


def said_by(token: str) -> dict[str, Json] | None:
    """The claims of a token, of which nobody knows whether they are true; None if it is no such token."""
    parts = token.split(".")
    return segment(parts[1]) if len(parts) == SEGMENTS and segment(parts[0]) is not None else None


def segment(text: str) -> dict[str, Json] | None:
    """The object that a segment of a token encodes; None if it does not."""
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return None
    return found if type(found) is dict else None
