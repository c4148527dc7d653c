"""The workflows that are measured, as documents."""

from __future__ import annotations

from gleitzeitd.plain import Json


def fan_out(tasks: int, method: str = "echo/ping") -> Json:
    """No-op tasks that depend on nothing."""
    return {"name": f"fan {tasks}", "tasks": [{"id": f"t{i}", "method": method} for i in range(tasks)]}


def unserved(tasks: int) -> Json:
    """Tasks that wait: nobody serves their protocol."""
    waiting = [{"id": f"t{i}", "protocol": "nobody/v1", "method": "nobody/ping"} for i in range(tasks)]
    return {"name": f"unserved {tasks}", "tasks": waiting}


def payloads(tasks: int, size: int) -> Json:
    """Each task hands a text of so many bytes on to the next."""
    steps: list[Json] = [{"id": "t0", "method": "echo/echo", "parameters": {"text": "x" * size}}]
    steps += [
        {"id": f"t{i}", "method": "echo/echo", "parameters": {"text": f"${{t{i - 1}.text}}"}}
        for i in range(1, tasks)
    ]
    return {"name": f"payloads of {size}", "tasks": steps}


def chain(tasks: int) -> Json:
    """Each task echoes what the one before returned."""
    steps: list[Json] = [{"id": "t0", "method": "echo/echo", "parameters": {"n": 0}}]
    steps += [
        {"id": f"t{i}", "method": "echo/echo", "parameters": {"n": f"${{t{i - 1}.n}}"}}
        for i in range(1, tasks)
    ]
    return {"name": f"chain {tasks}", "tasks": steps}


def diamond(number: int) -> Json:
    """Five tasks: one, three that take its result, and one that takes theirs."""
    middle = [
        {"id": f"m{i}", "method": "echo/echo", "parameters": {"n": "${first.n}", "i": i}} for i in range(3)
    ]
    return {
        "name": f"diamond {number}",
        "tasks": [
            {"id": "first", "method": "echo/echo", "parameters": {"n": number}},
            *middle,
            {"id": "last", "method": "echo/echo", "parameters": {"all": ["${m0.i}", "${m1.i}", "${m2.i}"]}},
        ],
    }
