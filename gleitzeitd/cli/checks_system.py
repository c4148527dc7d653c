"""What ``gleitzeit doctor`` looks at by way of the hub: components, versions, clocks, and work that waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gleitzeitd import __version__
from gleitzeitd.cli.checks import Finding, ok, problem, warning
from gleitzeitd.cli.presence import SILENT_SECONDS
from gleitzeitd.cli.show import duration, plural
from gleitzeitd.events.hub import INSECURE, ComponentInfo
from gleitzeitd.model.ledger import HELD, TaskState
from gleitzeitd.model.names import SHARDS, Role
from gleitzeitd.model.report import TaskReport, WorkflowReport

if TYPE_CHECKING:
    from gleitzeitd.client import Client

OWNERS = (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER)
SKEW_SECONDS = 1.0
"""A clock that differs more from the hub's makes journals hard to read."""
WORKFLOWS_READ = 50
"""Unfinished workflows whose tasks are looked at, the newest first."""
SHOWN = 3
_HELD = frozenset(state.value for state in HELD)


def roles(components: Sequence[ComponentInfo]) -> Iterator[Finding]:
    """Whether somebody of every role is there."""
    present = {each.component_type for each in components}
    missing = [role for role in Role if role not in present and role not in (Role.CLIENT, Role.HUB)]
    for role in missing:
        words = role.value.replace("_", " ")
        unit = "gleitzeit-provider@NAME" if role is Role.PROVIDER else f"gleitzeit-{role.file_name}"
        yield problem("components", f"no {words} is connected", f"systemctl start {unit}")
    if not missing:
        ours = [each for each in components if each.component_type is not Role.CLIENT]
        hosts = {each.hostname for each in ours if each.hostname}
        where = f" on {plural(len(hosts), 'host')}" if hosts else ""
        yield ok("components", f"{len(ours)} are connected{where}, of all roles")


def states(components: Sequence[ComponentInfo]) -> Iterator[Finding]:
    """Who is there, and not well."""
    for each in components:
        unit = (
            f"systemctl status gleitzeit-{each.component_type.file_name}*, on {each.hostname or 'its host'}"
        )
        if each.component_type is Role.CLIENT:
            continue
        if each.heartbeat_age > SILENT_SECONDS:
            text = f"{each.component_id} has not answered for {duration(each.heartbeat_age)}"
            yield problem("components", text, unit)
        elif each.status == INSECURE:
            text = f"{each.component_id} asks for no token: whoever is on its host may do everything"
            yield warning("hub", text, "start the hub without --insecure, and without security.insecure")
        elif each.status == "draining":
            undo = f"gleitzeit drain --undo {each.component_id}, or start it again when it has ended"
            yield warning("components", f"{each.component_id} takes no new work: it is draining", undo)
        elif each.status != "healthy":
            yield warning("components", f"{each.component_id} is {each.status}", unit)


def shards(components: Sequence[ComponentInfo]) -> Iterator[Finding]:
    """Whether every workflow has somebody who decides its course."""
    for role in OWNERS:
        some = [each for each in components if each.component_type is role]
        owned = {shard for each in some for shard in each.shards}
        if some and len(owned) < SHARDS:
            text = f"{SHARDS - len(owned)} of {SHARDS} shards have no {role.value.replace('_', ' ')}"
            remedy = "wait for some seconds; if it stays so: gleitzeit components, and is persistence there?"
            yield problem("shards", text, remedy)


def versions(components: Sequence[ComponentInfo]) -> Iterator[Finding]:
    """Whether all run the same version, and this command is of it."""
    found: dict[str, list[ComponentInfo]] = {}
    for each in components:
        if each.component_type is not Role.CLIENT and each.version:
            found.setdefault(each.version, []).append(each)
    if not found:
        return
    if len(found) > 1:
        newest = max(found, key=version_key)
        for version, some in sorted(found.items(), key=lambda item: version_key(item[0])):
            if version != newest:
                who = _few([each.component_id for each in some])
                where = _few(sorted({each.hostname for each in some if each.hostname}))
                remedy = f"apt upgrade, on {where or 'their hosts'}"
                yield warning("versions", f"{who} of version {version}, others of {newest}", remedy)
    elif __version__ not in found:
        yield warning(
            "versions", f"all run {next(iter(found))}, this command is {__version__}", "apt upgrade, here"
        )
    else:
        yield ok("versions", f"all run {__version__}")


def version_key(version: str) -> tuple[tuple[int, str], ...]:
    """For sorting: numbers as numbers."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in version.split("."))


def clocks(components: Sequence[ComponentInfo]) -> Iterator[Finding]:
    """Whose clock differs from the hub's."""
    known = [each for each in components if each.clock_offset is not None]
    if not known:
        return
    off = [each for each in known if abs(each.clock_offset or 0.0) > SKEW_SECONDS]
    by_host: dict[str, ComponentInfo] = {each.hostname or each.component_id: each for each in off}
    for host, each in sorted(by_host.items()):
        offset = each.clock_offset or 0.0
        how = "ahead of" if offset > 0 else "behind"
        text = f"the clock of {host} is {duration(abs(offset))} {how} the hub's"
        yield warning("clocks", text, f"timedatectl set-ntp true, on {host}")
    if not off:
        most = max(abs(each.clock_offset or 0.0) for each in known)
        how = f"differ from the hub's by {duration(most)} at most" if most else "agree with the hub's"
        yield ok("clocks", f"{how}, as far as the network lets one tell")


async def work(client: Client, components: Sequence[ComponentInfo]) -> list[Finding]:
    """Tasks that nobody will run, and leases whose engine is gone."""
    if not {Role.PERSISTENCE, Role.PROTOCOL_REGISTRY} <= {each.component_type for each in components}:
        return []  # nobody to ask, and that is a finding already
    served = {each.protocol for each in (await client.protocols()).providers}
    findings = list(unserved(components, served))
    present: set[str] = {each.component_id for each in components}
    running = await client.list(status="running", limit=WORKFLOWS_READ)
    stuck: list[Finding] = []
    for workflow in running:
        stuck += held_up(workflow, await client.tasks(workflow.workflow_id), present)
    findings += stuck[: SHOWN * SHOWN]
    if not findings:
        many = "the newest " if len(running) == WORKFLOWS_READ else ""
        findings.append(ok("work", f"{many}{plural(len(running), 'workflow')} running, none stuck"))
    return findings


def unserved(components: Sequence[ComponentInfo], served: set[str]) -> Iterator[Finding]:
    """Protocols that tasks wait for, and nobody serves."""
    waiting: dict[str, int] = {}
    for each in components:
        for protocol, count in (each.metrics.get("by_protocol") or {}).items():
            waiting[protocol] = waiting.get(protocol, 0) + count
    for protocol, count in sorted(waiting.items()):
        if protocol not in served and count:
            unit = f"gleitzeit-provider@{protocol.partition('/')[0]}"
            text = f"{plural(count, 'task')} waiting for {protocol}, which no provider serves"
            yield problem("work", text, f"systemctl start {unit}")


def held_up(workflow: WorkflowReport, tasks: Sequence[TaskReport], present: set[str]) -> Iterator[Finding]:
    """What of a workflow does not go on by itself."""
    lost = [each for each in tasks if each.status in _HELD and each.engine and each.engine not in present]
    if lost:
        text = (
            f"{workflow.workflow_id}: {_few([each.task_id for each in lost])} leased to {lost[0].engine}, "
            "which is not connected"
        )
        yield warning("work", text, f"wait for the lease to end; then gleitzeit why {workflow.workflow_id}")
    unknown = [each.task_id for each in tasks if each.status == TaskState.UNKNOWN.value]
    if unknown:
        text = f"{workflow.workflow_id}: {_few(unknown)} lost while it ran, and may not run twice"
        yield problem("work", text, f"gleitzeit resolve {workflow.workflow_id} {unknown[0]} rerun|fail|done")


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
