"""Workflows that keep hosts busy for a while, and write down where and how often their tasks ran."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.system.host import Host

RUNS = "/var/lib/gleitzeit/provider/shell/kept/runs"
"""What :func:`counted` tasks write down on the host on which they run."""

_numbers = itertools.count(1)


def new_id(about: str) -> str:
    """An id that no other workflow of this run has."""
    return f"{about}-{next(_numbers)}"


def busy(tasks: int, seconds: float) -> str:
    """Tasks of three protocols side by side, then one that waits for all of them."""
    kinds: list[dict[str, Any]] = [
        {"method": "echo/wait", "parameters": {"seconds": seconds}},
        {"method": "shell/execute", "parameters": {"script": f"sleep {seconds}; hostname"}},
        {
            "method": "python/execute",
            "parameters": {"code": f"import time\ntime.sleep({seconds})\nresult = 1"},
        },
    ]
    made = [{"id": f"t{n}", **kinds[n % len(kinds)]} for n in range(tasks)]
    return _document(made)


def counted(workflow_id: str, tasks: int, seconds: float) -> str:
    """Commands that each write a line before their work, and another one after it."""
    script = f"echo begun {workflow_id} $0 >>{RUNS}; sleep {seconds}; echo ended {workflow_id} $0 >>{RUNS}"
    made = [
        {"id": f"t{n}", "method": "shell/execute", "parameters": {"argv": ["sh", "-c", script, f"t{n}"]}}
        for n in range(tasks)
    ]
    return _document(made)


def _document(tasks: list[dict[str, Any]]) -> str:
    last = {
        "id": "last",
        "method": "echo/echo",
        "parameters": {"message": "done"},
        "dependencies": [task["id"] for task in tasks],
    }
    return json.dumps({"name": "Busy", "tasks": [*tasks, last]}, indent=1)


def runs(hosts: Iterable[Host], workflow_id: str, what: str = "begun") -> Counter[str]:
    """How often each task of the workflow has begun, or ended, on all of the hosts together."""
    lines = itertools.chain.from_iterable(host.said("cat", RUNS, check=False).splitlines() for host in hosts)
    words = (line.split() for line in lines)
    return Counter(task for begun, workflow, task in words if (begun, workflow) == (what, workflow_id))
