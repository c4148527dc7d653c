"""What a connection may be, and what its user may do: what a token grants.

Users have one of four roles, each of which includes those before it. What each event asks for is declared
with the event.
"""

from __future__ import annotations

from enum import Enum
from fnmatch import fnmatchcase

from gleitzeitd.model.certificate import Holder
from gleitzeitd.model.names import Role
from gleitzeitd.record import record

NAMESPACE_END = ":"
"""Between a namespace and the rest of a workflow's id."""


class UserRole(Enum):
    """What somebody may do who is no component of the system."""

    VIEWER = "viewer"
    """Look: status, results, components, what is going on."""
    SUBMITTER = "submitter"
    """Also submit workflows and cancel them."""
    OPERATOR = "operator"
    """Also drain, delete, change priorities, and read the audit."""
    ADMIN = "admin"
    """Also change what the system consists of."""

    def includes(self, other: UserRole) -> bool:
        """Whether this role may do what the other may."""
        return _ORDER[self] >= _ORDER[other]


_ORDER = {role: number for number, role in enumerate(UserRole)}


@record
class Grant:
    """What a token that was accepted says."""

    subject: str
    """Whose it is. A component's id is taken over only by the subject that has it."""
    components: frozenset[Role] = frozenset()
    """The roles that its components may have."""
    user: UserRole | None = None
    """What its clients may do; None: nothing, and they may not connect."""
    names: str = "*"
    """The pattern (as of a shell) that the ids of its components match."""
    namespace: str | None = None
    """Its clients see and touch only workflows whose ids begin with this and a colon; None: all."""
    expires: float | None = None
    """Seconds since 1970; None: never."""
    token_id: str = ""
    """By which it can be revoked."""
    holder: Holder | None = None
    """Whom the certificate is for that came with the token; None: there was none."""

    def admits(self, role: Role) -> bool:
        """Whether a connection may have this role."""
        return role in self.components or (role is Role.CLIENT and self.user is not None)

    def covers_name(self, component_id: str) -> bool:
        """Whether a component may be called this."""
        return fnmatchcase(component_id, self.names)

    def allows(self, least: UserRole) -> bool:
        """Whether its clients may do what takes at least this role."""
        return self.user is not None and self.user.includes(least)

    def covers_workflow(self, workflow_id: str) -> bool:
        """Whether its clients may touch this workflow."""
        return in_namespace(workflow_id, self.namespace)


EVERYTHING = frozenset(Role) - {Role.HUB}


def full_grant(subject: str) -> Grant:
    """Everything, for ever: for those who share one secret, or none."""
    return Grant(subject=subject, components=EVERYTHING, user=UserRole.ADMIN)


def in_namespace(workflow_id: str, namespace: str | None) -> bool:
    """Whether a workflow belongs to a namespace; to None all belong."""
    return namespace is None or workflow_id.startswith(namespace + NAMESPACE_END)
