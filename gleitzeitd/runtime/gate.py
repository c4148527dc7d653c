"""Who is let in: by tokens that a ring of keys has signed; or, of earlier installations, by one shared text.

A gate has one way in. With neither keys nor a shared text nobody is let in, unless everybody who is on the
host of the hub was asked for.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from pathlib import Path

from gleitzeitd.errors import ConfigError, NotAuthenticated
from gleitzeitd.model.access import Grant, full_grant
from gleitzeitd.model.claims import said_by
from gleitzeitd.plain import Json
from gleitzeitd.runtime.clock import wall
from gleitzeitd.runtime.hub_address import is_loopback, names_loopback
from gleitzeitd.runtime.revocation import RevocationList, revoked_file
from gleitzeitd.runtime.security import SecuritySettings, find_keys, find_token
from gleitzeitd.runtime.tokens import KeyRing

log = logging.getLogger(__name__)

INSECURE = "insecure: whoever is on this host is let in without a token, and may do everything"
_NO_KEYS = (
    "this hub has no keys, and lets nobody in: make them with `gleitzeitd keygen`, as root, and restart it. "
    "For a trial, `gleitzeitd hub --insecure` lets in whoever is on its host"
)
SHARED = full_grant("shared token")
ANYBODY = full_grant("anybody on this host")


class Gate:
    """Made by :meth:`by_keys`, :meth:`by_file`, :meth:`by_shared_token`, :meth:`open` or :meth:`closed`."""

    def __init__(
        self,
        *,
        ring: KeyRing | None = None,
        ring_file: Path | None = None,
        revoked: RevocationList | None = None,
        shared: str | None = None,
        insecure: bool = False,
        announced: str = "",
    ) -> None:
        """``announced`` is what the journal is told when the hub starts, and is no error."""
        self.ring = ring
        self.insecure = insecure
        self._shared = shared
        self._announced = announced
        self._revoked = revoked or RevocationList(None)
        self._file = ring_file
        self._seen = _changed(ring_file)

    @classmethod
    def by_keys(cls, ring: KeyRing) -> Gate:
        """For whoever has a token that a key of this ring has signed."""
        return cls(ring=ring)

    @classmethod
    def by_file(cls, keys: Path, revoked: Path | None) -> Gate:
        """The same, of a ring in a file, save tokens that the second file lists.

        Raises:
            ConfigError: one of the files cannot be used.
        """
        return cls(ring=KeyRing.load(keys), ring_file=keys, revoked=RevocationList(revoked))

    @classmethod
    def by_shared_token(cls, token: str) -> Gate:
        """For whoever shows this text, as installations had it before there were keys.

        Raises:
            ConfigError: it is a token of ours: what it grants can be known from the keys alone.
        """
        if said_by(token) is not None:
            raise ConfigError(_NO_KEYS)
        return cls(shared=token)

    @classmethod
    def alone(cls) -> Gate:
        """For what runs in the process of the hub: the keys are new, and nowhere but in memory."""
        return cls(
            ring=KeyRing.make(), announced="there are no keys: nobody is let in who is not of this process"
        )

    @classmethod
    def open(cls) -> Gate:
        """For whoever is on this host."""
        return cls(insecure=True)

    @classmethod
    def closed(cls) -> Gate:
        """For nobody."""
        return cls()

    def announce(self) -> None:
        """Tell the journal, if this is not how it should be."""
        if self.insecure:
            log.warning(
                INSECURE, extra={"remedy": "start the hub without --insecure, and without the setting"}
            )
        elif self._shared is not None:
            log.warning(
                "one shared token opens everything to whoever has it, as in earlier versions",
                extra={"remedy": "gleitzeitd keygen --replace"},
            )
        elif self._announced:
            log.warning(self._announced, extra={"remedy": "gleitzeitd keygen, or for a trial --insecure"})
        elif self.ring is None:
            log.error("nobody is let in: there are no keys", extra={"remedy": "gleitzeitd keygen"})

    def admit(self, token: Json, address: str, host_header: str | None) -> Grant:
        """What whoever connects from ``address`` with this token may be.

        Raises:
            NotAuthenticated, TokenExpired, TokenRevoked: nothing.
        """
        if self.insecure:
            if not is_loopback(address):
                raise NotAuthenticated("this hub asks for no token, and so serves its own host only")
            if not names_loopback(host_header):
                raise NotAuthenticated("this hub asks for no token, and so is localhost only")
            return ANYBODY
        if self.ring is not None:
            return self.ring.verify(token, now=wall(), revoked=self._revoked.current())
        if self._shared is None:
            raise NotAuthenticated(_NO_KEYS)
        shown = token.encode(errors="replace") if type(token) is str else b""
        if not hmac.compare_digest(shown, self._shared.encode(errors="replace")):
            raise NotAuthenticated("the token is not the hub's" if shown else "the hub wants a token")
        return SHARED

    def own_token(self, grant: Grant) -> str | None:
        """A token for a component in the process of the hub; None: it needs none."""
        return self._shared if self.ring is None else self.ring.issue(grant, now=wall())

    def revoked(self) -> frozenset[str]:
        """Ids of tokens that are not accepted any more; looks whether files have changed."""
        self._look_at_keys()
        return self._revoked.current()

    def _look_at_keys(self) -> None:
        now = _changed(self._file)
        if self._file is None or now == self._seen or now is None:
            return
        self._seen = now
        try:
            self.ring = KeyRing.load(self._file)
        except ConfigError as problem:
            log.error("keys could not be read again; those of before stay", extra={"error": problem})
        else:
            log.info("keys were read again", extra={"keys": len(self.ring.keys)})


def gate_for(settings: SecuritySettings, environment: Mapping[str, str], *, alone: bool = False) -> Gate:
    """The gate of a hub with these settings; ``alone`` if all others are in its process, and have their way.

    Raises:
        ConfigError: a file that they name cannot be used.
    """
    if settings.insecure:
        return Gate.open()
    keys = find_keys(settings.keys_file, environment)
    if keys is not None:
        return Gate.by_file(keys, revoked_file(settings.revoked_file, settings.keys_file))
    token = find_token(settings.token_file, environment)
    # A token that keys have signed says nothing to a hub without them.
    if token is None or said_by(token) is not None:
        return Gate.alone() if alone else Gate.closed()
    return Gate.by_shared_token(token)


def _changed(file: Path | None) -> tuple[int, int] | None:
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
