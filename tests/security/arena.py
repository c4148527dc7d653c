"""A cluster at work, and somebody in it who lies: a component with a good token of its role, and bad intentions.

arena = Arena()
mallory = arena.intruder(Role.EXECUTION_ENGINE)
mallory.say(TaskCompleted(...))
arena.finish()          # the workflow ends as if nothing had been said
"""

from __future__ import annotations

import json
from typing import Any

from gleitzeitd.events import Event
from gleitzeitd.events.codec import encode_body
from gleitzeitd.machines.base import Context, Effects, Machine
from gleitzeitd.machines.link import Transmit
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId, shard_of
from tests.cluster import Cluster
from tests.cluster_parts import AT, Node

W, LONG, NEXT = WorkflowId("w"), TaskId("long"), TaskId("next")
SHARD = shard_of(W)
DOCUMENT = {
    "name": "honest work",
    "tasks": [
        {"id": "long", "method": "echo/echo", "parameters": {"n": 1}},
        {"id": "next", "method": "echo/echo", "parameters": {"n": "${long.n}"}, "dependencies": ["long"]},
    ],
}
ENGINE, PROVIDER = ComponentId("engine-1"), ComponentId("provider-1")
SECONDS = 3.0
"""What each task takes."""


class Mute(Machine):
    """Does nothing by itself."""

    def __init__(self, role: Role) -> None:
        self.role = role  # type: ignore[misc]  # one class for all of them
        self.component_id = ComponentId("mallory")

    def handle(self, name: str, event: Event, ctx: Context) -> Effects:
        return []


class Intruder:
    """Its connection is registered; what it hears is kept."""

    def __init__(self, arena: Arena, node: Node) -> None:
        self._arena = arena
        self._node = node
        self._number = 0
        self.heard: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        """Name, envelope and body of what has been delivered to it."""

    def say(self, event: Event | str, body: str | None = None, **envelope: Any) -> None:
        """Send an event, with these keys of the envelope; and let it have its effect."""
        self._number += 1
        name = event if isinstance(event, str) else event.name
        made: dict[str, Any] = {"_message_id": f"mallory.{self._number}", "_correlation_id": "e" * 32}
        if isinstance(event, Event):
            topic, shard = event.topic(), event.shard()
            made |= {} if topic is None else {"_topic": topic}
            made |= {} if shard is None else {"_shard": shard}
            body = encode_body(event)
        made |= {f"_{key}": value for key, value in envelope.items()}
        arena, connection = self._arena, self._node.connections["hub"]
        effects = arena.hubs["hub"].received(connection, name, made, body or "{}", arena.clock("hub"), AT)
        arena._perform_hub("hub", effects, made, body or "{}")  # as if it had come over the wire
        arena.run(arena.now + 0.1)

    def refusals(self) -> list[int]:
        """The numbers of the errors that it has been told."""
        told = [body.get("error") for _, _, body in self.heard if name_of_refusal(body)]
        return [error["code"] for error in told if error]

    def statuses(self) -> list[str]:
        """What the ledger has said became of its changes."""
        return [body["status"] for name, _, body in self.heard if name == "data_saved"]


def name_of_refusal(body: dict[str, Any]) -> bool:
    return isinstance(body.get("error"), dict)


class Arena(Cluster):
    """One workflow of two tasks, of which the first is running on engine-1."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.sent: dict[str, list[Transmit]] = {}
        """What each component has sent, by its name."""
        self.intruders: dict[str, Intruder] = {}
        self.work = lambda work: (SECONDS, {"result": work.parameters})
        self.add_all(engines=1, providers=1)
        self.run(5.0)
        self.submit(W, DOCUMENT)
        assert self.run_until(lambda: self.states(W).get(LONG) == "running", 20.0)

    def intruder(self, role: Role, name: str = "mallory") -> Intruder:
        """Somebody joins."""
        node = self.add(name, lambda _: Mute(role), role)
        self.intruders[name] = made = Intruder(self, node)
        self.run(self.now + 0.1)
        assert self.hubs["hub"].members.named(name) is not None
        return made

    def attempt(self, task: TaskId = LONG, number: int = 1) -> dict[str, Any]:
        return {"workflow_id": W, "task_id": task, "attempt": number}

    def last_ask(self, component: str, name: str) -> str:
        """The id of the last message of this name that a component has sent: others can guess it."""
        found = [each for each in self.sent[component] if each.name == name]
        return found[-1].envelope.message_id

    def dropped(self, component: str) -> int:
        """Answers that a component did not take."""
        return int(self.nodes[component].link._strays.count)

    def refused_by_ledger(self) -> int:
        figure = self.nodes["persistence"].machine.figures()["changes_refused"]
        assert isinstance(figure, int)
        return figure

    def finish(self) -> None:
        """The workflow ends as it would have."""
        assert self.run_until(self.ended, self.now + 60.0), (self.states(W), *self.trace[-30:])
        assert self.status(W) == "completed"
        assert self.states(W) == {LONG: "completed", NEXT: "completed"}
        assert self.result(W, LONG) == {"n": 1}
        assert self.result(W, NEXT) == {"n": 1}

    # --- what it looks at

    def _sent(self, node: Node, name: str, envelope: Any, body: str) -> None:
        self.sent.setdefault(node.name, []).append(Transmit("hub", name, envelope, body, False))

    def _record(self, node: Node, hub: str, name: str, envelope: Any, body: str) -> None:
        super()._record(node, hub, name, envelope, body)
        intruder = self.intruders.get(node.name)
        if intruder is not None:
            intruder.heard.append((name, envelope, json.loads(body)))
