"""``gleitzeit components``, ``providers`` and ``queues``: what the system consists of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from gleitzeitd.cli.connection import Session, online, say_where, working
from gleitzeitd.cli.options import command, connection_options
from gleitzeitd.cli.presence import say_insecure
from gleitzeitd.cli.show import (
    Column,
    as_json,
    coarse,
    echo_lines,
    size,
    table,
    terminal_width,
)
from gleitzeitd.events.hub import ComponentInfo
from gleitzeitd.events.protocol_registry import ProviderInfo
from gleitzeitd.model.names import SHARDS, Role
from gleitzeitd.plain import Json

PROCESS_METRICS = frozenset(
    {"cpu_percent", "memory_bytes", "open_files", "load_average", "uptime_seconds", "threads", "shards"}
)
"""Metrics that are shown otherwise; the others are a role's own figures."""


@command("components")
@connection_options
def components() -> None:
    """Who is connected to the hub, and how busy it is.

    Example:
      gleitzeit components --hub http://hub.example:8000
    """
    _components()


@online
async def _components(session: Session) -> None:
    say_where(session)
    found = await session.client.components()
    say_insecure(session, found)
    if session.options.as_json:
        click.echo(as_json({"components": [component_plain(each) for each in found]}))
        return
    columns = [
        Column("component", flexible=True, least=20),
        Column("role"),
        Column("status"),
        Column("load", right=True),
        Column("cpu", right=True, optional=2),
        Column("memory", right=True, optional=3),
        Column("fds", right=True, optional=6),
        Column("shards", optional=4, flexible=True),
        Column("up", right=True, optional=1),
        Column("host", optional=5, flexible=True),
        Column("version", optional=7),
    ]
    echo_lines(table(columns, [component_row(each) for each in found], terminal_width()))


def component_plain(component: ComponentInfo) -> Json:
    """As ``--json`` prints it."""
    return {key: getattr(component, key) for key in ComponentInfo.__dataclass_fields__}


def component_row(component: ComponentInfo) -> tuple[str, ...]:
    """One line of the table."""
    cpu = component.metrics.get("cpu_percent")
    up = component.metrics.get("uptime_seconds", component.connected_seconds)
    return (
        component.component_id,
        component.component_type.value,
        component.status,
        str(component.load),
        f"{cpu:.0f} %" if isinstance(cpu, int | float) else "",
        size(component.metrics.get("memory_bytes")),
        str(component.metrics.get("open_files", "")),
        shards_text(component.shards),
        coarse(up),
        component.hostname,
        component.version,
    )


def shards_text(shards: Sequence[int]) -> str:
    """``0-3 7``; ``all`` of them."""
    if len(shards) == SHARDS:
        return "all"
    runs: list[list[int]] = []
    for shard in sorted(shards):
        if runs and runs[-1][-1] == shard - 1:
            runs[-1].append(shard)
        else:
            runs.append([shard])
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


@command("providers")
@connection_options
def providers() -> None:
    """Who serves which protocol, and how.

    Example:
      gleitzeit providers
    """
    _providers()


@working
async def _providers(session: Session) -> None:
    say_where(session)
    found = (await session.client.protocols()).providers
    by_id = {each.component_id: each for each in await session.client.components()}
    if session.options.as_json:
        click.echo(as_json({"providers": [_provider_plain(each, by_id) for each in found]}))
        return
    if not found:
        click.echo("no provider is connected; gleitzeitd provider NAME starts one")
        return
    columns = [
        Column("provider", flexible=True, least=20),
        Column("protocol"),
        Column("running", right=True),
        Column("capacity", right=True),
        Column("health", flexible=True),
        Column("host", optional=1),
    ]
    rows = []
    for each in found:
        component = by_id.get(each.component_id)
        load, host = (str(component.load), component.hostname) if component is not None else ("", "")
        rows.append((each.component_id, each.protocol, load, str(each.capacity), each.health, host))
    echo_lines(table(columns, rows, terminal_width()))


def _provider_plain(provider: ProviderInfo, components: dict[str, ComponentInfo] | Json) -> Json:
    component: ComponentInfo | None = components.get(provider.component_id)
    return {
        "component_id": provider.component_id,
        "protocol": provider.protocol,
        "capacity": provider.capacity,
        "health": provider.health,
        "running": component.load if component is not None else None,
        "hostname": component.hostname if component is not None else None,
    }


@command("queues")
@connection_options
def queues() -> None:
    """How much waits, in each queue manager.

    Example:
      gleitzeit queues
    """
    _queues()


@online
async def _queues(session: Session) -> None:
    say_where(session)
    managers = [
        each for each in await session.client.components() if each.component_type is Role.QUEUE_MANAGER
    ]
    if session.options.as_json:
        plain = [
            {"component_id": each.component_id, "shards": each.shards, **figures(each)} for each in managers
        ]
        click.echo(as_json({"queues": plain}))
        return
    if not managers:
        click.echo("no queue manager is connected; gleitzeitd queue-manager starts one")
        return
    names = list(dict.fromkeys(name for each in managers for name in figures(each)))
    columns = [Column("queue manager", flexible=True), Column("shards", flexible=True)]
    columns += [Column(name.replace("_", " "), right=True, optional=1 + i) for i, name in enumerate(names)]
    rows = [
        (each.component_id, shards_text(each.shards), *_values(figures(each), names)) for each in managers
    ]
    echo_lines(table(columns, rows, terminal_width()))


def figures(component: ComponentInfo) -> dict[str, Json]:
    """What the role itself reports."""
    return {key: value for key, value in component.metrics.items() if key not in PROCESS_METRICS}


def _values(found: dict[str, Json], names: Iterable[str]) -> list[str]:
    return [_figure(found.get(name, "")) for name in names]


def _figure(value: Json) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(each)}" for name, each in value.items())
    return value if isinstance(value, str) else as_json(value, indent=None)
