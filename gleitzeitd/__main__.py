"""``gleitzeitd ROLE``: one daemon of gleitzeit, or all of them in one process."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from gleitzeitd.config import effective, redacted
from gleitzeitd.errors import ConfigError, GleitzeitError, StoreCorrupt
from gleitzeitd.model.names import Role
from gleitzeitd.plan import ALL, DATABASE, KEYGEN, Part, Plan, parsed, plan_of
from gleitzeitd.roles import ROLES
from gleitzeitd.runtime import journal
from gleitzeitd.runtime.security import find_token
from gleitzeitd.runtime.state import make_room

if TYPE_CHECKING:
    from gleitzeitd.runtime.daemon import Daemon

FAILED, USAGE, DAMAGED = 1, 2, 65  # the last one as EX_DATAERR in sysexits.h

log = logging.getLogger("gleitzeitd")


def main() -> NoReturn:
    """Exits with 0; 1 if it cannot go on; 2 if its settings are wrong; 65 if its database is damaged."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code."""
    if arguments[:1] == [KEYGEN]:
        from gleitzeitd.runtime.keygen import command

        return command(arguments[1:], sys.stdin)
    options = parsed(arguments)
    try:
        plan = plan_of(options, environment)
        if options.print_config and not options.effective:
            sys.stdout.write(plan.reference())
            return 0
        parts = plan.load()
        if options.print_config:
            sys.stdout.write("\n".join(effective(part.loaded) for part in parts))
            return 0
        lines = plan.check(parts)
    except ConfigError as problem:
        sys.stderr.writelines(f"gleitzeitd: {line}\n" for line in str(problem).splitlines())
        return USAGE
    if options.check_config:
        if not journal.under_journal(sys.stdout, environment):  # where every start would say so
            sys.stdout.write("\n".join(["ok", *lines, ""]))
        return 0
    return _serve(plan, parts)


# --- the process ----------------------------------------------------------------------------------


def _serve(plan: Plan, parts: list[Part]) -> int:
    # All imports are here or above: an upgrade may replace files while this process runs.
    from gleitzeitd.runtime.daemon import supervise
    from gleitzeitd.runtime.identity import own_unit
    from gleitzeitd.runtime.prints import hide_in_prints
    from gleitzeitd.runtime.systemd import Notifier

    settings = parts[0].loaded.settings
    journal.set_up(
        settings["log"].level,
        role=ALL if len(parts) > 1 else parts[0].role.value,
        identifier=own_unit(plan.environment),
        records_per_second=settings["log"].records_per_second,
    )
    if any(part.role is Role.PROVIDER for part in parts):
        hide_in_prints(journal.shown)
    unchosen = [
        part.loaded.settings["sqlite"].path for part in parts if part.loaded.origin.get(DATABASE) == "default"
    ]

    async def body() -> None:
        for path in unchosen:
            make_room(path)
        daemon = _daemon(plan, parts)
        await supervise(daemon, Notifier(os.environ), _Reload(plan, parts, daemon))

    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(body())
    except ConfigError as problem:
        log.error("the configuration cannot work", extra={"error": problem})
        return USAGE
    except (GleitzeitError, OSError) as problem:
        log.error("cannot go on", extra={"error": problem})
        return DAMAGED if isinstance(problem, StoreCorrupt) else FAILED
    except Exception:  # whatever was not foreseen: one record, and an exit code
        log.critical("a bug has ended this process", exc_info=True)
        return FAILED
    log.info("ended")
    return 0


def _daemon(plan: Plan, parts: list[Part]) -> Daemon:
    if len(parts) > 1:
        return _embedded(plan, parts)
    (part,) = parts
    if part.assembly is None:
        from gleitzeitd.runtime.gate import gate_for
        from gleitzeitd.runtime.hub_daemon import HubDaemon

        gate = gate_for(part.loaded.settings["security"], plan.environment)
        return HubDaemon(part.loaded.settings["hub"], gate, plan.credentials(part))
    token = plan.token(part)
    from gleitzeitd.runtime.assembly import component_of
    from gleitzeitd.runtime.component_daemon import ComponentDaemon
    from gleitzeitd.runtime.identity import make_identity, own_unit

    link = part.loaded.settings["connection"]
    unit = own_unit(plan.environment)
    me = make_identity(part.role, link.component_id, label=part.label, unit=unit)
    journal.identify(me.component_id)
    built = part.assembly.build(part.loaded.settings, me)
    token_file = part.loaded.settings["security"].token_file
    trust = plan.trust(part)
    return ComponentDaemon(
        component_of(built, me, hub_urls=link.hub_urls, token=token, settings=link, trust=trust),
        built.machine,
        trust,
        drain_seconds=link.shutdown_seconds,
        # Not the credential and the variable, which are those of the start.
        find_token=lambda: find_token(token_file, {}, role=part.role),
    )


def _embedded(plan: Plan, parts: list[Part]) -> Daemon:
    from gleitzeitd.runtime.embedded import Embedded
    from gleitzeitd.runtime.embedded import Part as Embeddable
    from gleitzeitd.runtime.embedded_daemon import EmbeddedDaemon
    from gleitzeitd.runtime.gate import gate_for

    inside = [
        Embeddable(role=p.role, label=p.label, assembly=p.assembly, sections=p.loaded.settings)
        for p in parts
        if p.assembly is not None
    ]
    link = parts[1].loaded.settings["connection"]
    system = Embedded(
        hub=parts[0].loaded.settings["hub"],
        gate=gate_for(parts[0].loaded.settings["security"], plan.environment, alone=True),
        parts=inside,
        link=replace(link, component_id=""),
        credentials=plan.credentials(parts[0]),
    )
    return EmbeddedDaemon(system)


class _Reload:
    """Reads the configuration again: applies what can be changed now, and says what needs a restart."""

    def __init__(self, plan: Plan, parts: list[Part], daemon: Daemon) -> None:
        self._plan = plan
        self._daemon = daemon
        self._in_force = _values(parts)

    def __call__(self) -> None:
        try:
            parts = self._plan.load()
        except ConfigError as problem:
            log.error("the configuration is wrong and was not read again", extra={"error": problem})
            return
        journal.set_level(parts[0].loaded.settings["log"].level)
        self._daemon.read_certificates()
        values = _values(parts)
        changed = sorted(key for key, value in values.items() if value != self._in_force.get(key))
        applied = [key for key in changed if key.endswith("log.level")] + self._adjust(parts, changed)
        self._in_force.update((key, values[key]) for key in applied)
        waiting = [key for key in changed if key not in applied]
        log.info(
            "the configuration was read again",
            extra={
                "needs_restart": ", ".join(waiting) or "nothing",
                "applied": ", ".join(applied) or "nothing",
            },
        )

    def _adjust(self, parts: list[Part], changed: list[str]) -> list[str]:
        """The keys of the machine's settings that were given their new values."""
        if len(parts) > 1:
            return []
        live = [key for key in ROLES[parts[0].role].live if key in changed]
        for section, _, key in (name.partition(".") for name in live):
            self._daemon.adjust(key, getattr(parts[0].loaded.settings[section], key))
        return live


def _values(parts: list[Part]) -> dict[str, Any]:
    several = len(parts) > 1
    return {
        f"{f'{part.label}: ' if several else ''}{section}.{key}": value
        for part in parts
        for section, settings in part.loaded.settings.items()
        for key, value in redacted(settings).items()
    }


if __name__ == "__main__":
    main()
