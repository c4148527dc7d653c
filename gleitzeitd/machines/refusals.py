"""What a hub does about refusals: each is told to its sender and counted; the journal has one record for each
cause; and whoever is refused again and again is cut, and kept away for a while.

Refusals are held against whom they come from: of a client its token's subject and its address, so that others
of the same host or the same subject elsewhere are not locked out with it; of a component its subject and its
name; of a connection whose token was not accepted its address. That an address is kept away concerns only
those of its connections that show no good token: they are cut without an answer. What a newer component sends
and this hub does not know is not held against it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gleitzeitd.errors import GleitzeitError, LimitExceeded, UnknownEvent
from gleitzeitd.machines.base import Note
from gleitzeitd.machines.members import Member
from gleitzeitd.machines.permissions import PLANS
from gleitzeitd.machines.registration import Waiting
from gleitzeitd.model.access import Grant
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json

REMEMBERED = 10_000
"""Senders of whom refusals are remembered; those refused longest ago are forgotten first."""
CAUSES_PER_CONNECTION = 20
"""Causes of refusals of one connection that the journal is told."""
MINUTE = 60.0


def offender(one: Waiting | Member | None, address: str = "") -> str:
    """Whom a refusal is held against."""
    if one is None or one.grant is None:
        return f"address {address if one is None else one.address}"
    return culprit(one.grant, one.role, one.component_id, one.address)


def culprit(grant: Grant, role: Role | None, component_id: str | None, address: str) -> str:
    """The same, of somebody whose token was accepted."""
    if role is None or role is Role.CLIENT or component_id is None:
        return f"clients of {grant.subject} at {address}"
    return f"{component_id} of {grant.subject}"


@dataclass(slots=True)
class _Record:
    at: float
    refusals: float = 0.0
    """Lately: they fade at the rate that is allowed."""
    away_until: float = 0.0


@dataclass(slots=True)
class Refusals:
    """What was refused to whom. ``now`` is monotonic."""

    per_minute: int
    """So many in a minute are borne."""
    pause: float
    """Seconds for which somebody who had more is kept away."""
    _records: OrderedDict[str, _Record] = field(default_factory=OrderedDict)
    _noted: dict[str, set[str]] = field(default_factory=dict)

    def blame(self, who: str, now: float) -> LimitExceeded | None:
        """Count one refusal; what is to be said to somebody who has had too many."""
        record = self._records.pop(who, None) or _Record(now)
        self._records[who] = record
        if len(self._records) > REMEMBERED:
            self._records.popitem(last=False)
        faded = (now - record.at) * self.per_minute / MINUTE
        record.refusals = max(0.0, record.refusals - faded) + 1
        record.at = now
        if record.refusals <= self.per_minute:
            return None
        record.refusals = 0.0
        record.away_until = now + self.pause
        return self._said(who, self.pause)

    def kept_away(self, who: str, now: float) -> LimitExceeded | None:
        """Why somebody may not come back yet; None if he may."""
        record = self._records.get(who)
        left = 0.0 if record is None else record.away_until - now
        return self._said(who, left) if left > 0 else None

    def _said(self, who: str, seconds: float) -> LimitExceeded:
        return LimitExceeded(
            f"{who}: more than {self.per_minute} refusals within a minute (hub.refusals_per_minute): kept "
            f"away for {seconds:.0f} s; send nothing that is refused",
            retry_after=round(seconds, 1),
        )

    def counts_against(self, problem: GleitzeitError, one: Waiting | Member | None) -> bool:
        """Whether a refusal is held against its sender."""
        known = isinstance(one, Member) and one.role is not Role.CLIENT
        return not (isinstance(problem, LimitExceeded) or (known and isinstance(problem, UnknownEvent)))

    def note(
        self, connection: str, name: str, problem: GleitzeitError, one: Waiting | Member | None
    ) -> list[Note]:
        """For the journal: the first refusal of each cause."""
        noted = self._noted.setdefault(connection, set())
        cause = f"{problem.name} {name}" if (name, Role.CLIENT) in PLANS else problem.name
        if cause in noted or len(noted) >= CAUSES_PER_CONNECTION:
            return []
        noted.add(cause)
        fields: dict[str, Json] = {"event": name[:100], "peer": "", "error": problem}
        if one is not None:
            fields |= {"peer": one.component_id or "", "address": one.address}
            fields |= {} if one.grant is None else {"subject": one.grant.subject}
        return [Note("warning", "an event was refused", fields)]

    def forget(self, connection: str) -> None:
        """The connection has ended; what is held against its peer stays."""
        self._noted.pop(connection, None)
