"""What every scenario needs: daemons with a provider that keeps a record, and an eye on both."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from gleitzeitd.client import Client, new_workflow_id
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.model.names import shard_of
from tests.chaos.audit import Execution, read_record
from tests.daemons import LOOK_SECONDS, ROOT, Daemons

STEPS = 20
STEP_SECONDS = 0.2
BEFORE = 4
"""Steps that have begun when something goes wrong."""
SAID_AFTER = 3.0
"""Seconds after the fault at which a user asks what is the matter."""
PATIENCE = 90.0
PROVIDER = "provider-recorded"


@dataclass(slots=True, kw_only=True)
class Seen:
    """What came of one fault."""

    role: str
    fault: str
    tasks: int = 0
    done: int = 0
    executions: Counter[Any] = field(default_factory=Counter)
    """Of each task, by the provider's own record."""
    pause: float = 0.0
    """The longest time between the beginnings of two steps, less the work in it; seconds."""
    back: float | None = None
    """Seconds from the fault until a task began again."""
    may: str = "nothing"
    """What may run again, by design."""
    said: str = ""
    """What the command said some seconds after the fault."""
    user: str = ""
    """What a user sees of it all."""
    wrong: list[str] = field(default_factory=list)
    """What must not be."""

    @property
    def extra(self) -> int:
        """Executions beyond one of each task."""
        return sum(count - 1 for count in self.executions.values())

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note what must be."""
        if not holds:
            self.wrong.append(otherwise)


def step(name: str, after: str | None = None, seconds: float = STEP_SECONDS) -> dict[str, Any]:
    """A task; after another one it counts on from there."""
    before = f"${{{after}.number}}" if after else 0
    return {
        "id": name,
        "method": "recorded/step",
        "parameters": {"seconds": seconds, "before": before},
        "dependencies": [after] if after else [],
    }


def chain(steps: int = STEPS, seconds: float = STEP_SECONDS) -> dict[str, Any]:
    """One task after the other."""
    names = [f"s{n}" for n in range(1, steps + 1)]
    tasks = [step(name, names[n - 1] if n else None, seconds) for n, name in enumerate(names)]
    return {"name": "chain", "tasks": tasks}


class Trial:
    """Daemons, a client, and the provider's record, as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        twice: Collection[str] = (),
        hubs: int = 1,
        hub_urls_of: Callable[[str], list[str]] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.record = directory / "executions.txt"
        self.daemons = Daemons(
            directory,
            providers=(),
            modules={"recorded": "tests.matrix.provider:Recorded"},
            twice=twice,
            hubs=hubs,
            hub_urls_of=hub_urls_of,
            environment={"GLEITZEIT_PROVIDER_RECORD": str(self.record), **(environment or {})},
            ready_method="recorded/ready",
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Trial:
        await self._stack.enter_async_context(self.daemons)
        client = Client(
            hub_urls=self.daemons.hub_urls, token=self.daemons.token, name="user", timeout=PATIENCE
        )
        try:
            self.client = await self._stack.enter_async_context(client)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # --- what runs --------------------------------------------------------------------------------

    async def submit(self, document: dict[str, Any]) -> str:
        """The workflow's id."""
        submitted = await self.client.submit(document, workflow_id=new_workflow_id(document["name"]))
        return submitted.workflow_id

    def executions(self, workflow_id: str) -> list[Execution]:
        """Of a workflow, in order of beginning."""
        return [each for each in read_record(self.record) if each.workflow_id == workflow_id]

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait for something in this process or in the record."""
        give_up = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > give_up:
                raise TimeoutError(f"{what}: not within {seconds:g} s")
            await asyncio.sleep(LOOK_SECONDS / 2)

    async def begun(self, workflow_id: str, count: int = BEFORE) -> None:
        """Wait until so many of its tasks have begun."""
        await self.until(lambda: len(self.executions(workflow_id)) >= count, f"{count} tasks begin")

    async def whole(self) -> None:
        """Wait until every daemon is connected, to every hub, and a workflow runs."""
        await asyncio.wait_for(self.daemons.ready(), PATIENCE)

    # --- who does it --------------------------------------------------------------------------------

    async def holder(self, role: str, workflow_id: str) -> str:
        """The daemon of a role that has to do with the workflow now."""
        if role in ("dependency-resolver", "queue-manager"):
            kind, shard = role.replace("-", "_"), shard_of(workflow_id)
            for each in await self.client.components():
                if each.component_type.value == kind and shard in each.shards:
                    return each.component_id
        while role in ("execution-engine", PROVIDER):
            for task in await self.client.tasks(workflow_id):
                name = task.engine if role == "execution-engine" else task.provider
                if task.status == "running" and name:
                    return name
        return role

    # --- what a user sees ---------------------------------------------------------------------------

    async def command(self, *arguments: str) -> tuple[int, str]:
        """``gleitzeit``: its exit code, and all that it prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from gleitzeitd.cli import main; main()", *arguments,
            env={**os.environ, **self.daemons.environment()}, cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def said(self, workflow_id: str, after: float = SAID_AFTER) -> str:
        """What ``gleitzeit why`` says of the workflow some seconds from now, in a line."""
        await asyncio.sleep(after)
        _, out = await self.command("why", workflow_id)
        lines = [line.strip() for line in out.splitlines() if line.strip()]
        reasons = [each for each in lines if each.startswith("gleitzeit:") or each[:3] not in ("try", "1 o")]
        shown = [each for each in reasons if not each.startswith(workflow_id) and "other task" not in each]
        text = " / ".join(shown[:3]) or " / ".join(lines[:1])
        return re.sub(r"\d{4}-\d\d-\d\d (?=\d\d:)|(?<=127.0.0.1):\d+", "", text)

    async def account(self, seen: Seen, workflow_id: str, began: float, said: str = "") -> Seen:
        """Wait for the end, and count; ``began`` is when the fault was, by the monotonic clock."""
        result = await asyncio.wait_for(self._result(workflow_id), PATIENCE)
        runs = self.executions(workflow_id)
        seen.tasks = len(result.tasks)
        seen.done = sum(task.status == "completed" for task in result.tasks.values())
        seen.executions = Counter(each.task_id for each in runs)
        gaps = [second.began - first.began for first, second in zip(runs, runs[1:], strict=False)]
        seen.pause = max([gap - STEP_SECONDS for gap in gaps], default=0.0)
        seen.back = min([each.began - began for each in runs if each.began > began], default=None)
        seen.said = said
        seen.expect(result.status == "completed", f"the workflow is {result.status}: {result.error}")
        for number, task in enumerate(result.tasks.values(), 1):
            if task.task_id == f"s{number}" and task.result != {"number": number}:
                seen.wrong.append(f"{task.task_id} is {task.status} with {task.result}: {task.error}")
        seen.expect(set(seen.executions) == set(result.tasks), "not every task ran")
        return seen

    async def _result(self, workflow_id: str) -> Any:
        while True:
            try:
                async for _ in self.client.watch(workflow_id):
                    pass
                return await self.client.result(workflow_id)
            except GleitzeitError:
                await asyncio.sleep(LOOK_SECONDS)


def last_of(text: str, words: str) -> Sequence[str]:
    """The lines of a log that have these words in them."""
    return [line for line in text.splitlines() if words in line]
