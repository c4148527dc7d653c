"""A hub's machine, and who is connected to it with which token."""

from __future__ import annotations

from typing import Any

from gleitzeitd.events.codec import dumps
from gleitzeitd.machines.base import Deliver, Effects, Note, Send
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.model.access import Grant, UserRole
from gleitzeitd.model.names import ComponentId, Role

AT = "2026-01-01T00:00:00.000Z"
CHAIN = "c" * 32


class Net:
    """The connection of a component is ``@`` and its id."""

    def __init__(self, **settings: Any) -> None:
        self.hub = Hub(ComponentId("hub-1"), Settings(**settings), version="5")
        self.now = 100.0
        self.hub.start(self.now, AT)
        self._sent = 0

    def join(
        self,
        component_id: str,
        role: Role,
        grant: Grant | None = None,
        *,
        address: str = "192.0.2.1",
        connection: str = "",
    ) -> Effects:
        """With a token of its role, if no other is given."""
        connection = connection or f"@{component_id}"
        self.hub.opened(connection, address)
        grant = grant or Grant(subject=component_id, components=frozenset({role}))
        self.hub.connected(connection, component_id, role.value, grant)
        said = {"component_id": component_id, "component_type": role.value, "capabilities": ["envelope"]}
        return self.send(connection.removeprefix("@"), "register_component", said)

    def client(self, name: str, user: UserRole, namespace: str | None = None, **more: Any) -> Effects:
        return self.join(name, Role.CLIENT, Grant(subject=name, user=user, namespace=namespace), **more)

    def send(self, component_id: str, name: str, body: Any = None, **envelope: Any) -> Effects:
        self._sent += 1
        self.envelope = {"_message_id": f"m{self._sent}", "_correlation_id": CHAIN, **envelope}
        connection = f"@{component_id}"
        return self.hub.received(connection, name, self.envelope, dumps(body or {}), self.now, AT)

    def beat(self, seconds: float = 1.0) -> None:
        self.now += seconds
        for member in self.hub.members:
            member.heard = self.now
        self.hub.timer_expired("beat", self.now, AT)


def errors(effects: Effects) -> list[int]:
    """The numbers of what the sender was told."""
    events = [each.event for each in effects if isinstance(each, Send)]
    return [event.error.code for event in events if hasattr(event, "error")]


def messages(effects: Effects) -> list[str]:
    events = [each.event for each in effects if isinstance(each, Send)]
    return [event.error.message for event in events if hasattr(event, "error")]


def delivered(effects: Effects) -> list[tuple[tuple[str, ...], str]]:
    return [(each.to, each.name) for each in effects if isinstance(each, Deliver)]


def notes(effects: Effects) -> list[Note]:
    return [each for each in effects if isinstance(each, Note)]
