"""What ``gleitzeit doctor`` looks at on this host: units, configuration, database."""

from __future__ import annotations

import shutil
import sys
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

LOW_SHARE, LOW_BYTES = 0.10, 2**30
"""Free space at which the disk of the database is worth a warning: less than both."""
FULL_BYTES = 128 * 2**20
"""The same at which it is a problem."""
_GOOD = ("active", "activating", "reloading")
_RUNNING = ("active", "reloading")
_TROUBLE = ("not connected to ", "nothing can be kept", "cannot go on: ")
"""How a daemon's status begins, if it cannot do its work."""


def units(found: Sequence[Unit], *, booted: bool) -> Iterator[Finding]:
    """Whether what should run does."""
    if not booted:
        yield ok("units", "systemd does not manage this host")
        return
    if not found:
        yield ok("units", "there are none of gleitzeit on this host")
        return
    bad = [finding for unit in found if (finding := _unit(unit)) is not None]
    running = sum(unit.active in _RUNNING and unit.name.endswith(".service") for unit in found)
    if not any(each.level == "problem" for each in bad):
        yield ok("units", f"{plural(running, 'service')} active, none failed")
    yield from bad


def _unit(unit: Unit) -> Finding | None:
    look = f"journalctl -eu {unit.name}"
    trouble = unit.status.partition("; ")[0].partition(". ")[0] if unit.status.startswith(_TROUBLE) else ""
    if unit.active == "failed":
        return problem(
            "units",
            f"{unit.name} has failed ({unit.result or 'no reason is known'}){trouble and ': '}{trouble}",
            f"{look}; then systemctl reset-failed {unit.name} and systemctl start {unit.name}",
        )
    if trouble and unit.active in _RUNNING:
        return problem("units", f"{unit.name} is {trouble}", _help(unit))
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


def _help(unit: Unit) -> str:
    if "token" in unit.status:
        return f"gleitzeitd keygen --help says how hosts get theirs; then systemctl restart {unit.name}"
    return f"journalctl -eu {unit.name}"


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
    from gleitzeitd.cli.host import environment_for
    from gleitzeitd.plan import parts_of

    found_there = environment_for(role, name, environment)[0]
    before = list(sys.path)
    # Where the unit of a provider of one's own finds its class, as in a virtual environment.
    sys.path += [each for each in found_there.get("PYTHONPATH", "").split(":") if each]
    try:
        parts_of([role, *([name] if name else [])], found_there)
    except ConfigError as found:
        return str(found).splitlines()
    except SystemExit:
        return ["the daemon would not take it"]  # argparse has said why
    finally:
        sys.path[:] = before
    return []


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return False


def isolation(directory: Path = DIRECTORY) -> Iterator[Finding]:
    """Whether this kernel can keep tasks from what is not theirs, where they are what users have written."""
    from gleitzeitd.providers.isolation import missing

    theirs = [name for name in ("python", "shell") if _exists(directory / "providers" / f"{name}.toml")]
    if not theirs:
        return
    lacking = missing()
    if lacking:
        text = f"tasks of {' and '.join(theirs)} are isolated in part: {'; '.join(lacking)}"
        yield warning("isolation", text, "a newer kernel; or let only those submit tasks whom you trust")
    else:
        yield ok("isolation", f"this kernel can keep tasks of {' and '.join(theirs)} from what is not theirs")


def tls(environment: Mapping[str, str], now: float, directory: Path = DIRECTORY) -> Iterator[Finding]:
    """Whether the certificates that the settings of this host name are good, and will be for a while."""
    from gleitzeitd.plan import parts_of
    from gleitzeitd.runtime.tls import find_files, weaknesses

    looked_at: set[Path] = set()
    wrong: dict[str, Finding] = {}
    shared = directory / "gleitzeit.toml"
    for role, name, label in configured(directory):
        given = [*(["--config", str(shared)] if _exists(shared) else []), "--config", label]
        try:
            parts = parts_of([role, *([name] if name else []), *given], environment)
        except (ConfigError, SystemExit):
            continue  # said of the configuration
        files = find_files(parts[0].loaded.settings["security"], {})
        named = {each for each in (files.certificate, files.key, files.ca) if each is not None}
        if not named or named <= looked_at:
            continue
        looked_at |= named
        try:
            for text in weaknesses(files, now):
                said, _, remedy = text.rpartition(": ")
                level = problem if "has expired" in text else warning
                wrong[said] = level("certificates", said, remedy)
        except ConfigError as found:
            wrong[str(found)] = problem("certificates", str(found), "gleitzeit cert show, as root")
        except OSError:
            continue  # a key that is not for us
    yield from wrong.values()
    if looked_at and not wrong:
        yield ok("certificates", f"{plural(len(looked_at), 'file')}, nothing wrong")


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
    if foreign := [each for each in beside(file) if each.stat().st_uid != file.parent.stat().st_uid]:
        names = " ".join(map(str, foreign))
        text = f"{foreign[0]} belongs to another user than {file.parent}: persistence may not use it"
        yield problem("database", text, f"chown --reference={file.parent} {names}")
    try:
        damage = quick_check(file)
    except StoreError as found:
        yield warning("database", f"not looked at: {found}", "gleitzeit doctor, as root")
        return
    if damage:
        yield problem("database", damage, "gleitzeit restore --help")
    else:
        yield ok("database", f"{file} is whole, {size(size_of(file))}")


def beside(file: Path) -> list[Path]:
    """The database and what SQLite and its daemon have beside it, as far as it is there."""
    return [
        each
        for suffix in ("", "-wal", "-shm", ".lock")
        if _exists(each := file.with_name(file.name + suffix))
    ]


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
