"""Every role, and what can happen to it, on real processes. Each scenario returns what was seen."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gleitzeitd.client import new_workflow_id
from gleitzeitd.model.names import TaskId
from tests.chaos.proxy import TO_COMPONENT, TO_HUB, How, Proxy
from tests.daemons import LOOK_SECONDS, ROLES, ROOT
from tests.matrix.trial import PROVIDER, STEPS, Seen, Trial, chain, last_of, step

EVERY = ("hub", *ROLES, PROVIDER)
TWICE = tuple(role for role in ROLES if role != "persistence")
PAUSE_SECONDS = 6.0
CUT_SECONDS = 8.0
PAUSE_ALLOWED = 5.0
"""How long nothing may begin while a second instance is there."""
KILLED = "killed, started again at once"
KILLED_OF_TWO = "one of two killed, not started again"
PAUSED = f"stopped for {PAUSE_SECONDS:g} s (SIGSTOP)"
CUT = f"cut off from the hub for {CUT_SECONDS:g} s"
FORGOTTEN = f"cut off for {CUT_SECONDS:g} s, and its connections are dead for ever (a firewall forgot them)"
Yield = Callable[[Seen], None]


def role_of(name: str) -> str:
    """As the page calls it."""
    return name.removesuffix("-recorded")


# --- one of each ---------------------------------------------------------------------------------------


async def killed(trial: Trial, role: str) -> Seen:
    """Killed in the middle of a chain, and started again as systemd does."""
    workflow_id = await trial.submit(chain())
    await trial.begun(workflow_id)
    began = time.monotonic()
    trial.daemons.kill(role)
    trial.daemons.start(role)
    said = await trial.said(workflow_id)
    seen = await trial.account(Seen(role=role_of(role), fault=KILLED), workflow_id, began, said)
    return _chain_seen(seen)


async def paused(trial: Trial, role: str) -> Seen:
    """Stopped, and continued."""
    workflow_id = await trial.submit(chain())
    await trial.begun(workflow_id)
    began = time.monotonic()
    trial.daemons.pause(role)
    asking = asyncio.ensure_future(trial.said(workflow_id))
    await asyncio.sleep(PAUSE_SECONDS)
    trial.daemons.go_on(role)
    seen = await trial.account(Seen(role=role_of(role), fault=PAUSED), workflow_id, began, await asking)
    return _chain_seen(seen)


def _chain_seen(seen: Seen) -> Seen:
    """Only what ran there may run again: one task at a time, in a chain."""
    holds_work = seen.role in ("execution-engine", "provider")
    seen.may = "the tasks that ran there" if holds_work else "nothing"
    seen.expect(seen.done == STEPS, f"{seen.done} of {STEPS}")
    seen.expect(seen.extra <= int(holds_work), f"{seen.extra} executions too many: {seen.executions}")
    seen.user = f"{seen.done} of {seen.tasks} tasks done"
    return seen


# --- two of each ---------------------------------------------------------------------------------------


async def killed_of_two(trial: Trial, role: str) -> Seen:
    """The one that has to do with the workflow is killed, and stays away."""
    workflow_id = await trial.submit(chain())
    await trial.begun(workflow_id)
    victim = await trial.holder(role, workflow_id)
    began = time.monotonic()
    trial.daemons.kill(victim)
    said = await trial.said(workflow_id)
    seen = await trial.account(Seen(role=role_of(role), fault=KILLED_OF_TWO), workflow_id, began, said)
    seen.expect(seen.pause <= PAUSE_ALLOWED, f"nothing began for {seen.pause:.1f} s")
    trial.daemons.start(victim)
    await trial.whole()
    return _chain_seen(seen)


# --- no hub --------------------------------------------------------------------------------------------


async def no_hub(trial: Trial, how: str, seconds: float) -> Seen:
    """Both hubs away, while six tasks run and one waits for the last of them."""
    names = list(trial.daemons.ports)
    tasks = [step(f"r{n}", seconds=2.0 + n) for n in range(6)]
    after = step("after", "r5")
    workflow_id = await trial.submit({"name": "no hub", "tasks": [*tasks, after]})
    await trial.begun(workflow_id, len(tasks))
    order = asyncio.ensure_future(_completions(trial, workflow_id))
    began = time.monotonic()
    await asyncio.gather(
        *(
            asyncio.to_thread(trial.daemons.kill if how == "kill -9" else trial.daemons.terminate, n)
            for n in names
        )
    )
    said = await trial.said(workflow_id)
    await asyncio.sleep(began + seconds - time.monotonic())
    away = [run for run in trial.executions(workflow_id) if run.outcome == "ok"]
    for name in names:
        trial.daemons.start(name)
    seen = Seen(role="hub", fault=f"all hubs gone for {seconds:g} s ({how})")
    seen = await trial.account(seen, workflow_id, began + seconds, said)
    seen.pause = (seen.back or 0.0) + seconds
    seen.expect(
        len(away) == len(tasks), f"only {len(away)} of {len(tasks)} tasks ended while no hub was there"
    )
    seen.expect(seen.extra == 0, f"executed twice: {seen.executions}")
    completed = await asyncio.wait_for(order, 60)
    seen.expect(sorted(completed) == sorted([*(t["id"] for t in tasks), "after"]), f"completed: {completed}")
    seen.expect(completed[-1:] == ["after"], f"in the order {completed}")
    seen.user = (
        f"the {len(away)} tasks under way end; {seen.done} of {seen.tasks} tasks done, in order; the next one "
        f"begins {seen.back or 0:.1f} s after the hubs were started again"
    )
    return seen


async def _completions(trial: Trial, workflow_id: str) -> list[str]:
    """Tasks in the order in which a client is told of their ends; each once, and by growing numbers."""
    completed, last = [], 0
    async for published in trial.client.watch(workflow_id):
        stamp = getattr(published.event, "feed", None)
        if stamp is not None:
            assert stamp.number > last, f"{stamp.number} after {last}"
            last = stamp.number
        if published.event.name == "task_completed":
            completed.append(published.event.task_id)  # type: ignore[attr-defined]
    return completed


# --- the client ------------------------------------------------------------------------------------------


async def client_killed(trial: Trial) -> Seen:
    """Killed when it has submitted, and has no answer yet; the ledger is held up until then."""
    workflow_id = new_workflow_id("client")
    document = chain(5)
    path = trial.record.with_name("client.json")
    path.write_text(json.dumps(document))
    arguments = ["submit", str(path), "--id", workflow_id]
    trial.daemons.pause("persistence")
    command = [sys.executable, "-c", "from gleitzeitd.cli import main; main()", *arguments]
    first = subprocess.Popen(
        command, env=trial.daemons.environment(), cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        await _submitted(trial)
    finally:
        first.kill()
        out, _ = await asyncio.to_thread(first.communicate)
        trial.daemons.go_on("persistence")
    began = time.monotonic()
    seen = Seen(
        role="client", fault="killed between submitting and its answer, started again with the same id"
    )
    seen.expect(workflow_id.encode() not in out, f"it had an answer: {out!r}")
    code, text = await trial.command(*arguments)
    seen.expect(code == 0, f"exit code {code}: {text}")
    found = [each for each in await trial.client.list() if each.name == document["name"]]
    seen.expect([each.workflow_id for each in found].count(workflow_id) == 1, f"{len(found)} workflows")
    seen = await trial.account(seen, workflow_id, began, "")
    seen.expect(seen.extra == 0, f"executed twice: {seen.executions}")
    seen.user = f"one workflow; {seen.done} of {seen.tasks} tasks done"
    return seen


async def _submitted(trial: Trial) -> None:
    """Wait until the hub has passed on what the command has sent."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        trace = await trial.client.trace(event="submit_workflow")
        if any(record.source.startswith("cli-") and record.targets for record in trace.records):
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise TimeoutError("it was not submitted")


# --- an engine that wakes up too late -----------------------------------------------------------------------


async def past_lease(trial: Trial) -> Seen:
    """Stopped until its tasks are another engine's. One has ended meanwhile, the other still runs."""
    trial.daemons.kill("execution-engine-2")
    short, long = step("short", seconds=1.5), step("long", seconds=14.0)
    workflow_id = await trial.submit({"name": "past lease", "tasks": [short, long]})
    await trial.begun(workflow_id, 2)
    began = time.monotonic()
    trial.daemons.pause("execution-engine")
    trial.daemons.start("execution-engine-2")
    said = await trial.said(workflow_id)
    await trial.until(lambda: len(trial.executions(workflow_id)) == 4, "both begin again")
    back = time.monotonic() - began
    trial.daemons.go_on("execution-engine")
    woken = time.monotonic()
    engine = "an outdated attempt was discarded"
    await trial.until(
        lambda: len(last_of(trial.daemons.log("execution-engine"), engine)) == 2,
        "both are refused as stale",
        30,
    )
    stale = time.monotonic() - woken
    seen = Seen(role="execution-engine", fault="stopped past its lease, then continued (SIGSTOP)")
    seen = await trial.account(seen, workflow_id, began, said)
    seen.back, seen.pause, seen.may = back, back, "the tasks that ran there"
    runs = {(run.task_id, run.attempt): run.outcome for run in trial.executions(workflow_id)}
    seen.expect(runs.get(("long", 1)) == "cancelled", f"the outdated work was not ended: {runs}")
    seen.expect(runs.get(("long", 2)) == runs.get(("short", 2)) == "ok", f"{runs}")
    attempts = {task.task_id: task.attempt for task in await trial.client.tasks(workflow_id)}
    seen.expect(attempts == {"short": 2, "long": 2}, f"attempts {attempts}")
    seen.user = f"late results are refused as stale within {stale:.1f} s, their work is ended"
    return seen


# --- a task that kills its provider -----------------------------------------------------------------------


async def deadly(trial: Trial) -> Seen:
    """Every time; others run in the same provider."""
    others = {"name": "others", "tasks": [step(f"o{n}", seconds=1.0) for n in range(4)]}
    other = await trial.submit(others)
    beside = await trial.submit(chain(10))
    await trial.begun(beside, 2)
    began = time.monotonic()
    async with _kept(trial, PROVIDER):
        poison = await trial.submit({"name": "poison", "tasks": [{"id": "p", "method": "recorded/deadly"}]})
        said = await trial.said(poison)
        async for _ in trial.client.watch(poison):
            pass
        took = time.monotonic() - began
        seen = Seen(role="provider", fault="a task kills its process every time")
        for each in (beside, other):
            await trial.account(seen, each, began, said)
    result = await trial.client.result(poison)
    task = result.tasks[TaskId("p")]
    runs = [*trial.executions(poison), *trial.executions(beside), *trial.executions(other)]
    deaths = [run for run in runs if run.workflow_id == poison]
    seen.expect(task.status == "failed", f"the task is {task.status}")
    seen.expect(len(deaths) == 3, f"it ran {len(deaths)} times")
    text = task.error.message if task.error is not None else ""
    seen.expect("3" in text and "provider" in text, f"its error does not say what happened: {text!r}")
    alone = [run for run in runs if run.pid == deaths[-1].pid and run.outcome == "killed"]
    seen.expect(len(alone) == 1, f"it did not die alone: {alone}")
    seen.executions = Counter((run.workflow_id, run.task_id) for run in runs)
    seen.tasks, seen.done, seen.back, seen.pause = len(seen.executions), len(seen.executions) - 1, None, took
    seen.may = "the task, up to 3 times in all, and the tasks beside it"
    seen.user = f"FAILED after {len(deaths)} attempts: {text}; the tasks beside it are done"
    return seen


@asynccontextmanager
async def _kept(trial: Trial, name: str) -> AsyncIterator[None]:
    """Start it again whenever it has ended, as systemd does."""

    async def keep() -> None:
        while True:
            if trial.daemons.processes[name].poll() is not None:
                trial.daemons.start(name)
            await asyncio.sleep(LOOK_SECONDS)

    keeper = asyncio.ensure_future(keep())
    try:
        yield
    finally:
        keeper.cancel()


# --- a network that does not carry ---------------------------------------------------------------------------


async def cut_off(trial: Trial, role: str, proxy: Proxy, how: How) -> Seen:
    """Nothing passes between it and the hub, and nobody is told so. What was sent is delivered later, or not."""
    workflow_id = await trial.submit(chain())
    await trial.begun(workflow_id)
    began = time.monotonic()
    proxy.cut(how, (TO_HUB, TO_COMPONENT))
    asking = asyncio.ensure_future(trial.said(workflow_id))
    await asyncio.sleep(CUT_SECONDS)
    proxy.heal()
    fault = CUT if how == "hold" else FORGOTTEN
    seen = await trial.account(Seen(role=role_of(role), fault=fault), workflow_id, began, await asking)
    return _chain_seen(seen)


# --- all of them ---------------------------------------------------------------------------------------------

Group = Callable[[Path, Yield], Coroutine[Any, Any, None]]


def groups(away: float) -> dict[str, Group]:
    """Scenarios that share daemons, by name; ``away`` is how long all hubs are gone, in seconds."""

    async def kills(directory: Path, found: Yield) -> None:
        async with Trial(directory) as trial:
            for role in EVERY:
                found(await killed(trial, role))

    def pauses(roles: tuple[str, ...]) -> Group:
        async def group(directory: Path, found: Yield) -> None:
            async with Trial(directory) as trial:
                for role in roles:
                    found(await paused(trial, role))

        return group

    def pairs(roles: tuple[str, ...]) -> Group:
        async def group(directory: Path, found: Yield) -> None:
            async with Trial(directory, twice={*TWICE, PROVIDER}, hubs=2) as trial:
                for role in roles:
                    found(await killed_of_two(trial, role))

        return group

    def hubless(how: str) -> Group:
        async def group(directory: Path, found: Yield) -> None:
            async with Trial(directory, hubs=2) as trial:
                found(await no_hub(trial, how, away))

        return group

    async def misfits(directory: Path, found: Yield) -> None:
        async with Trial(directory) as trial:
            found(await client_killed(trial))
            found(await deadly(trial))

    async def late(directory: Path, found: Yield) -> None:
        lease = {"GLEITZEIT_PERSISTENCE_LEASE_SECONDS": "3"}
        async with Trial(directory, twice={"execution-engine"}, environment=lease) as trial:
            found(await past_lease(trial))

    def cuts(how: How) -> Group:
        async def group(directory: Path, found: Yield) -> None:
            await _cuts(directory, found, how)

        return group

    async def _cuts(directory: Path, found: Yield, how: How) -> None:
        proxies: dict[str, Proxy] = {}

        def urls(name: str) -> list[str]:
            port = proxies[name].port if name in proxies else trial.daemons.port
            return [f"http://127.0.0.1:{port}"]

        trial = Trial(directory, hub_urls_of=urls)
        for role in ("execution-engine", PROVIDER):
            proxies[role] = Proxy(trial.daemons.port)
            await proxies[role].start()
        try:
            async with trial:
                for role, proxy in proxies.items():
                    found(await cut_off(trial, role, proxy, how))
        finally:
            for proxy in proxies.values():
                await proxy.stop()

    paired = (*EVERY[:1], *TWICE, PROVIDER)
    return {
        "hubs away, kill": hubless("kill -9"),
        "hubs away, end": hubless("SIGTERM"),
        "cuts": cuts("hold"),
        "cuts for ever": cuts("swallow"),
        "pauses 1": pauses(EVERY[:4]),
        "pauses 2": pauses(EVERY[4:]),
        "kills": kills,
        "pairs 1": pairs(paired[:3]),
        "pairs 2": pairs(paired[3:]),
        "misfits": misfits,
        "late": late,
    }


ROWS = (
    *((role_of(role), KILLED) for role in EVERY),
    *((role_of(role), KILLED_OF_TWO) for role in EVERY if role != "persistence"),
    *((role_of(role), PAUSED) for role in EVERY),
    *((role_of(role), CUT) for role in ("execution-engine", PROVIDER)),
    *((role_of(role), FORGOTTEN) for role in ("execution-engine", PROVIDER)),
    ("hub", "all hubs gone for {away:g} s (SIGTERM)"),
    ("hub", "all hubs gone for {away:g} s (kill -9)"),
    ("client", "killed between submitting and its answer, started again with the same id"),
    ("execution-engine", "stopped past its lease, then continued (SIGSTOP)"),
    ("provider", "a task kills its process every time"),
)
"""Role and fault of every scenario, in the page's order."""


async def everything(away: float, only: str = "", *, at_once: int) -> list[Seen]:
    """All scenarios, so many clusters at a time. What goes wrong in one is noted there, and ends nothing else."""
    seen: list[Seen] = []
    room = asyncio.Semaphore(at_once)

    async def run(name: str, group: Group) -> None:
        directory = Path(tempfile.mkdtemp(prefix=f"gleitzeit-matrix-{name.replace(' ', '-')}-"))
        async with room:
            print(f"{time.strftime('%X')} {name}: {directory}", file=sys.stderr, flush=True)
            mine: list[Seen] = []
            try:
                await group(directory, lambda each: _note(mine, each))
            except (AssertionError, TimeoutError, RuntimeError) as problem:
                text = f"{name}: {type(problem).__name__}: {problem}; see {directory}"
                _note(mine, Seen(role=name, fault="broken off", wrong=[text]))
            seen.extend(mine)
            if not any(each.wrong for each in mine):
                shutil.rmtree(directory)

    await asyncio.gather(*(run(*each) for each in groups(away).items() if only in each[0]))
    order = {(role, fault.format(away=away)): number for number, (role, fault) in enumerate(ROWS)}
    return sorted(seen, key=lambda each: order.get((each.role, each.fault), len(order)))


def _note(seen: list[Seen], each: Seen) -> None:
    seen.append(each)
    back = "" if each.back is None else f", again after {each.back:.1f} s"
    print(
        f"{time.strftime('%X')} {each.role}: {each.fault}: {each.user}; {each.extra} executions more, "
        f"pause {each.pause:.1f} s{back}; said: {each.said}; wrong: {each.wrong}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
