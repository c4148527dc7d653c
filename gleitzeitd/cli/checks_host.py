"""What ``gleitzeit doctor`` looks at on this host: units, configuration, token, database."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gleitzeitd.cli.backup import configured_database
from gleitzeitd.cli.checks import Finding, ok, problem, warning
from gleitzeitd.cli.host import Unit
from gleitzeitd.cli.options import Options
from gleitzeitd.cli.show import plural, size
from gleitzeitd.config import DIRECTORY
from gleitzeitd.errors import ConfigError, StoreError
from gleitzeitd.model.names import Role

TOKENS = (Path("/etc/gleitzeit/token"), Path("/etc/credstore/gleitzeit.token"))
"""What members of the group read, and what units are given."""
LOW_SHARE, LOW_BYTES = 0.10, 2**30
"""Free space at which the disk of the database is worth a warning: less than both."""
FULL_BYTES = 128 * 2**20
"""The same at which it is a problem."""
_GOOD = ("active", "activating", "reloading")


def units(found: Sequence[Unit], *, booted: bool) -> Iterator[Finding]:
    """Whether what should run does."""
    if not booted:
        yield ok("units", "systemd does not manage this host")
        return
    if not found:
        yield ok("units", "there are none of gleitzeit on this host")
        return
    bad = [finding for unit in found if (finding := _unit(unit)) is not None]
    running = sum(unit.active == "active" and unit.name.endswith(".service") for unit in found)
    if not any(each.level == "problem" for each in bad):
        yield ok("units", f"{plural(running, 'service')} active, none failed")
    yield from bad


def _unit(unit: Unit) -> Finding | None:
    look = f"journalctl -eu {unit.name}"
    if unit.active == "failed":
        return problem(
            "units",
            f"{unit.name} has failed ({unit.result or 'no reason is known'})",
            f"{look}; then systemctl reset-failed {unit.name} and systemctl start {unit.name}",
        )
    is_enabled = unit.enabled in ("enabled", "enabled-runtime")
    if is_enabled and unit.active not in _GOOD and unit.kind != "oneshot":
        if not unit.conditions_hold:
            text = f"{unit.name} is enabled, and was not started: a condition does not hold"
            return warning("units", text, f"systemctl status {unit.name}")
        text = f"{unit.name} is enabled and {unit.active or 'not active'}"
        return problem("units", text, f"systemctl start {unit.name}")
    if unit.sub == "auto-restart":
        return problem("units", f"{unit.name} ends again and again", look)
    if unit.restarts:
        text = f"{unit.name} was started again {plural(unit.restarts, 'time')} after it had failed"
        return warning("units", text, look)
    return None


def configuration(environment: Mapping[str, str], directory: Path = DIRECTORY) -> Iterator[Finding]:
    """Whether the files of every role that has some can be used."""
    wrong: list[Finding] = []
    checked = 0
    for role, name, label in configured(directory):
        found = _wrong_with(role, name, environment)
        checked += 1
        if found:
            more = f" (and {plural(len(found) - 1, 'more problem')})" if len(found) > 1 else ""
            command = f"gleitzeitd {role}{' ' + name if name else ''} --check-config"
            wrong.append(problem("configuration", f"{label}: {found[0]}{more}", command))
    yield from wrong
    if not wrong:
        yield ok("configuration", f"{plural(checked, 'file')} in {directory}, nothing wrong")


def configured(directory: Path) -> Iterator[tuple[str, str, str]]:
    """Role and name of everything that has a file of its own, and the file."""
    for role in Role:
        if role in (Role.CLIENT, Role.PROVIDER):
            continue
        file = directory / f"{role.file_name}.toml"
        if _exists(file):
            yield role.file_name, "", str(file)
    for role in (Role.EXECUTION_ENGINE, Role.PROVIDER):
        folder = directory / ("providers" if role is Role.PROVIDER else role.file_name)
        try:
            files = sorted(folder.glob("*.toml"))
        except OSError:
            continue  # not for us
        for file in files:
            yield role.file_name, file.stem, str(file)


def _wrong_with(role: str, name: str, environment: Mapping[str, str]) -> list[str]:
    from gleitzeitd.__main__ import parts_of
    from gleitzeitd.cli.host import environment_for

    try:
        parts_of([role, *([name] if name else [])], environment_for(role, name, environment)[0])
    except ConfigError as found:
        return str(found).splitlines()
    except SystemExit:
        return ["the daemon would not take it"]  # argparse has said why
    return []


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return False


def token(options: Options, files: Sequence[Path] = TOKENS) -> Iterator[Finding]:
    """Whether there is a token for us, and for nobody else who happens to be on this host."""
    try:
        ours = options.secret()
    except ConfigError as found:
        yield problem(
            "token", str(found), f"join the group: usermod -aG gleitzeit {_user()}, and log in again"
        )
        return
    exposed = False
    for file in files:
        mode = _mode(file)
        if mode & 0o007:
            exposed = True
            yield problem(
                "token", f"{file} is open to every user of this host ({mode:04o})", f"chmod o= {file}"
            )
        elif mode & 0o020:
            yield warning("token", f"{file} can be changed by its group ({mode:04o})", f"chmod g-w {file}")
    present = [str(file) for file in files if _mode(file)]
    if ours:
        if not exposed:
            yield ok("token", "this user has one" + (f"; it is in {present[0]}" if present else ""))
    elif present:
        join = f"join the group: usermod -aG gleitzeit {_user()}, and log in again"
        yield warning("token", f"{present[0]} is there, and not used by this user", join)
    else:
        yield ok("token", "none: without one a hub serves its own host only")


def _mode(file: Path) -> int:
    """Its permissions; 0 if it is not there, or we may not know."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0


def _user() -> str:
    return os.environ.get("USER") or str(os.getuid())


def database(options: Options) -> Iterator[Finding]:
    """Whether the database of this host is whole, and has room to grow."""
    from gleitzeitd.runtime.backup import quick_check, size_of

    try:
        file = configured_database(options)
    except ConfigError:
        return  # said elsewhere
    try:
        there = file.exists()
    except OSError:
        yield ok("database", f"{file.parent} is not for this user; root sees more")
        return
    if not there:
        yield ok("database", f"none on this host ({file})")
        return
    yield from _room(file)
    try:
        damage = quick_check(file)
    except StoreError as found:
        yield warning("database", f"not looked at: {found}", "gleitzeit doctor, as root")
        return
    if damage:
        yield problem("database", damage, "gleitzeit restore --help")
    else:
        yield ok("database", f"{file} is whole, {size(size_of(file))}")


def _room(file: Path) -> Iterator[Finding]:
    try:
        usage = shutil.disk_usage(file.parent)
    except OSError:
        return
    yield from disk(file, usage.free, usage.total)


def disk(file: Path, free: int, total: int) -> Iterator[Finding]:
    """Whether the file system of the database has room."""
    told = f"{size(free)} of {size(total)} are free where {file} is"
    remedy = f"make room on the file system of {file.parent}; backups and *.before-restore-* may go"
    if free < FULL_BYTES:
        yield problem("disk", told, remedy)
    elif free < LOW_BYTES and free < LOW_SHARE * total:
        yield warning("disk", told, remedy)
    else:
        yield ok("disk", told)
