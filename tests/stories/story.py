"""A workflow's life on the wire, as a list of deliveries: who to whom, what.

    story = Story()
    story.submit("w", document)
    story.tells('''
        client -> resolver-1  analyze_workflow
        ...
    ''')

One of each role, and a network without delay, so that every run is the same. What keeps the system alive
(heartbeats, claims, registrations, the engines' offers) and what a client reads to catch up is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cluster import Cluster, Network

QUIET = {
    "heartbeat", "heartbeat_response", "claim_shard", "shard_claimed", "component_registered",
    "component_disconnected", "request_next_task", "capacity_update", "queue_stats_changed",
    "query_data", "data_retrieved", "subscribed", "list_protocols", "protocol_list", "register_protocol",
    "protocol_registered", "register_provider", "provider_registered", "find_provider", "provider_found",
    "initialize", "health_check", "health_status", "no_components_available", "execution_blocked",
}  # fmt: skip


class Story:
    """A cluster that is up, and what has been delivered since."""

    def __init__(self) -> None:
        self.cluster = Cluster(1, Network(delay=0.0))
        self.cluster.add_all()
        self.cluster.run(3.0)
        self._told = len(self.cluster.trace)

    def submit(self, workflow_id: str, document: Any) -> Story:
        self.cluster.submit(workflow_id, document)
        return self

    def ends(self) -> Story:
        assert self.cluster.run_until(self.cluster.ended, self.cluster.now + 60)
        return self.rests()

    def rests(self) -> Story:
        """Nobody has anything left to say."""
        self.cluster.run(self.cluster.now + 0.9)
        return self

    def until(self, condition: Callable[[], bool]) -> Story:
        assert self.cluster.run_until(condition, self.cluster.now + 60)
        return self

    def skip(self) -> Story:
        """What has been delivered so far is no part of the story."""
        self._told = len(self.cluster.trace)
        return self

    def tells(self, expected: str, only: Callable[[str, str, str], bool] | None = None) -> None:
        """These deliveries, in this order, and no others, since the story was told last.

        ``only`` says which count, by sender, receiver and name.
        """
        __tracebackhide__ = True
        lines = [line.split(maxsplit=1)[1].split() for line in self.cluster.trace[self._told :]]
        self._told = len(self.cluster.trace)
        told = [
            f"{source} -> {target}  {' '.join(name)}"
            for source, _, target, *name in lines
            if name[0] not in QUIET and (only is None or only(source, target, name[0]))
        ]
        wanted = [" ".join(line.split()) for line in expected.splitlines() if line.strip()]
        assert [" ".join(line.split()) for line in told] == wanted, "\n" + "\n".join(told)


def task(name: str, *needs: str, method: str = "echo/echo", **more: Any) -> dict[str, Any]:
    return {"id": name, "method": method, "dependencies": list(needs), **more}


def workflow(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"name": "story", "tasks": list(tasks)}
