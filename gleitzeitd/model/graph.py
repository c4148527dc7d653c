"""Graphs of dependencies: pure, and without recursion, since a chain can have 100,000 links.

A graph is a mapping of each node to those it depends on. What is no key has no dependencies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeVar

Node = TypeVar("Node")


def dependents(graph: Mapping[Node, Iterable[Node]]) -> dict[Node, list[Node]]:
    """Each node to those that directly depend on it, in the graph's order."""
    found: dict[Node, list[Node]] = {node: [] for node in graph}
    for node, needed in graph.items():
        for one in dict.fromkeys(needed):
            found.setdefault(one, []).append(node)
    return found


def topological_order(graph: Mapping[Node, Iterable[Node]]) -> list[Node]:
    """All nodes, each after what it depends on; nodes of a cycle and all after them are left out.

    Among nodes that could be next, the one that became free first goes first.
    """
    after = dependents(graph)
    missing = {node: len(set(graph.get(node, ()))) for node in after}
    free = deque(node for node, count in missing.items() if not count)
    order = []
    while free:
        node = free.popleft()
        order.append(node)
        for one in after[node]:
            missing[one] -= 1
            if not missing[one]:
                free.append(one)
    return order


def find_cycles(graph: Mapping[Node, Iterable[Node]]) -> list[list[Node]]:
    """Cycles as ``[a, b, a]`` (a depends on b, b on a); none shares a node with another.

    Empty if and only if the graph has no cycle. A node that depends on itself is one.
    """
    ordered: list[Node] = topological_order(graph)
    in_doubt = set(dependents(graph)) - set(ordered)
    cycles = []
    done: set[Node] = set()
    for start in graph:
        if start not in in_doubt or start in done:
            continue
        path: list[Node] = []
        place: dict[Node, int] = {}
        node: Node | None = start
        while node is not None and node not in place:
            place[node] = len(path)
            path.append(node)
            # Whoever is in doubt depends on somebody in doubt: the path ends only in what was seen before.
            node = next((one for one in graph.get(node, ()) if one in in_doubt and one not in done), None)
        if node is not None:
            cycles.append([*path[place[node] :], node])
        done.update(path)
    return cycles


def ancestors(graph: Mapping[Node, Iterable[Node]], node: Node) -> set[Node]:
    """Everything that ``node`` directly or indirectly depends on."""
    seen: set[Node] = set()
    pending = list(graph.get(node, ()))
    while pending:
        one = pending.pop()
        if one not in seen:
            seen.add(one)
            pending.extend(graph.get(one, ()))
    return seen
