"""What the service manager of this host knows of gleitzeit's units.

Everything is asked of ``systemctl``, which anybody may ask. Where systemd does not run there are no units.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATTERN = "gleitzeit*"
BOOTED = Path("/run/systemd/system")
"""It exists where systemd is the service manager: sd_booted(3)."""
SECONDS = 10.0
"""For an answer of systemctl."""
HUB_RUNS = Path("/run/systemd/units/invocation:gleitzeit-hub.service")
"""A link that systemd has while the unit is active, for everybody to see."""
_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,MainPID,"
    "Environment,Type,ConditionResult,ConditionTimestampMonotonic,StatusText"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit, as ``systemctl show`` has it."""

    name: str
    active: str
    """``active``, ``activating``, ``inactive``, ``failed``, ..."""
    sub: str = ""
    enabled: str = ""
    """``enabled``, ``disabled``, ``static``, ``masked``, ...; empty for an instance of a template."""
    result: str = ""
    """Why it has failed: ``exit-code``, ``watchdog``, ``start-limit-hit``, ..."""
    restarts: int = 0
    """Of their own accord, since it was started by hand."""
    process_id: int = 0
    kind: str = ""
    """Of a service: ``notify``, ``oneshot``, ..."""
    conditions_hold: bool = True
    """False if it was not started since one of its conditions did not hold."""
    environment: str = ""
    """As in the unit file."""
    status: str = ""
    """What its process has last said of itself."""


def is_booted() -> bool:
    """Whether systemd manages this host."""
    return BOOTED.is_dir()


def hub_runs() -> bool:
    """Whether this host's own hub does, as far as systemd knows."""
    return HUB_RUNS.is_symlink()


def unit_of(role: str, name: str = "") -> str:
    """The unit of a role (in its form for files) or of a named instance of it."""
    return f"gleitzeit-{role}@{name}.service" if name else f"gleitzeit-{role}.service"


def units() -> list[Unit]:
    """Those of gleitzeit that are loaded or enabled here; none without systemd."""
    if not is_booted():
        return []
    names = set(_first_words(["list-units", "--all", "--plain", "--no-legend", PATTERN]))
    names |= {name for name in _first_words(["list-unit-files", "--no-legend", PATTERN]) if "@." not in name}
    return shown(sorted(names))


def shown(names: Sequence[str]) -> list[Unit]:
    """These units, as far as they are known here."""
    if not names or not is_booted():
        return []
    text = _systemctl(["show", f"--property={_PROPERTIES}", "--", *names])
    return [unit for block in text.split("\n\n") if (unit := unit_from(block)) is not None]


def unit_from(block: str) -> Unit | None:
    """One unit's lines ``Key=value``; None if there is no such unit."""
    values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if values.get("LoadState") != "loaded" and values.get("LoadState") != "masked":
        return None
    return Unit(
        name=values.get("Id", ""),
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        enabled=values.get("UnitFileState", ""),
        result=values.get("Result", ""),
        restarts=_number(values.get("NRestarts", "")),
        process_id=_number(values.get("MainPID", "")),
        kind=values.get("Type", ""),
        # Of a unit that nobody has started yet, systemd says "no".
        conditions_hold=values.get("ConditionResult", "yes") != "no"
        or values.get("ConditionTimestampMonotonic", "0") == "0",
        environment=values.get("Environment", ""),
        status=values.get("StatusText", ""),
    )


def environment_of(unit: Unit) -> dict[str, str]:
    """What the unit's process has as variables; as the unit file says, if we may not look into that."""
    if unit.process_id:
        try:
            raw = Path(f"/proc/{unit.process_id}/environ").read_bytes()
        except OSError:
            pass  # it is another user's
        else:
            return variables(raw.decode(errors="replace").split("\0"))
    try:
        return variables(shlex.split(unit.environment))
    except ValueError:
        return {}


def variables(assignments: Sequence[str]) -> dict[str, str]:
    """``NAME=value`` to a table."""
    return dict(each.split("=", 1) for each in assignments if re.match(r"\w+=", each))


def environment_for(role: str, name: str, own: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """What a daemon of this host finds in its environment, and in words where that is from.

    Without a unit of that name it is what one would find that is started here.
    """
    wanted = unit_of(role, name)
    found = next(iter(shown([wanted])), None)
    if found is None:
        return dict(own), "of this shell"
    return {"STATE_DIRECTORY": f"/var/lib/gleitzeit/{role}", **environment_of(found)}, f"of {found.name}"


def _first_words(arguments: list[str]) -> list[str]:
    return [line.split()[0] for line in _systemctl(arguments).splitlines() if line.strip()]


def _systemctl(arguments: list[str]) -> str:
    """Its output; empty if it does not work here."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the names are those of units
            ["systemctl", "--no-pager", *arguments],  # noqa: S607 - where PATH has it
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
