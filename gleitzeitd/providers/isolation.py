"""What the work of users can reach: how a provider's settings say it, and what each of its workers gets.

A worker gives up everything else at its start, once; ``confinement.py`` says how. It keeps a directory of
its own, in which its work begins, which is where ``HOME`` and ``TMPDIR`` point to, and which is emptied after
each piece of work; it may read what is not hidden, and write nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gleitzeitd.errors import ConfigError
from gleitzeitd.plain import Json
from gleitzeitd.providers import confinement

log = logging.getLogger(__name__)

NEVER_READABLE = (
    "/etc/gleitzeit",
    "/etc/credstore",
    "/etc/credstore.encrypted",
    "/run/credstore",
    "/run/credentials",
    "/var/lib/gleitzeit",
    "/var/lib/private/gleitzeit",
)
"""Tokens, keys, configuration, and the ledger."""
OF_THE_USER = (".config/gleitzeit", ".local/state/gleitzeit", ".ssh", ".gnupg", ".aws", ".netrc")
"""The same below the home directory of whoever runs the provider."""
PASSED_ON = ("PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "VIRTUAL_ENV", "SSL_CERT_FILE")
"""Variables that the work finds in its environment, with all that begin with LC_."""
TASKS = "gleitzeit-tasks"
"""Begins the name of what holds the directories of workers, in the provider's own."""


_SECRETS = ("GLEITZEIT_", "WATCHDOG_", "LISTEN_")
_SECRET = {
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "REDIS_URL",
    "DATABASE_URL",
}


class Isolation(StrEnum):
    """What becomes of work that the kernel cannot isolate."""

    REQUIRED = "required"
    BEST_EFFORT = "best-effort"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the work of one provider can reach, by its settings."""

    isolation: Isolation = Isolation.OFF
    network: bool = False
    writable: tuple[str, ...] = ()
    """Besides a directory of its own; relative ones are in the provider's, and are made."""
    hidden: tuple[str, ...] = ()
    """Besides those that always are."""
    environment: tuple[str, ...] = ()
    """Names of variables that are passed on, besides those that always are."""


def missing() -> list[str]:
    """What this host cannot keep from work, in words; empty if nothing."""
    return confinement.lacking(confinement.landlock_version(), filters=confinement.has_filters())


class Quarters:
    """Where the workers of one pool live, and what each is given."""

    def __init__(self, reach: Reach, environment: Mapping[str, str] | None = None) -> None:
        self._reach = reach
        self._environment = os.environ if environment is None else environment
        self._base: Path | None = None
        self._number = 0
        self._said = False

    @property
    def isolated(self) -> bool:
        """Whether work is to be isolated, as far as the kernel can."""
        return self._reach.isolation is not Isolation.OFF

    def open(self) -> None:
        """Make what workers need; repeating it changes nothing.

        Raises:
            ConfigError: a directory cannot be made, or this kernel lacks what is required.
        """
        if not self.isolated or self._base is not None:
            return
        lacking = [one for one in missing() if not one.startswith(confinement.PROCESSES)]
        if lacking and self._reach.isolation is Isolation.REQUIRED:
            raise ConfigError(
                f"isolation: required, and this host cannot do it: {'; '.join(lacking)}. "
                'isolation = "best-effort" does what can be done'
            )
        confinement.hide_memory()
        try:
            self._base = self._new_base()
            for path in self._writable():
                if not path.exists() and path.is_relative_to(self._home()):
                    path.mkdir(mode=0o700, parents=True)
        except OSError as problem:
            raise ConfigError(f"directories of tasks: {problem}") from problem

    def close(self) -> None:
        """Remove all that workers have left."""
        if self._base is not None:
            _remove(self._base)
            self._base = None

    def plan(self) -> dict[str, Json]:
        """What one more worker is told. Its ``own`` directory is new; ``leave`` removes it."""
        if self._base is None:
            return {}
        self._number += 1
        own = self._base / str(self._number)
        own.mkdir(mode=0o700)
        hidden = [*NEVER_READABLE, *self._of_the_user(), *self._reach.hidden, str(self._base)]
        hidden += filter(None, (self._state(), self._environment.get("CREDENTIALS_DIRECTORY")))
        hidden += self._files()
        writable = [str(own), *map(str, self._writable())]
        return {
            "own": str(own),
            "readable": readable(hidden),
            "writable": writable,  # reading is part of it
            "network": self._reach.network,
            "provider": os.getpid(),
            "required": self._reach.isolation is Isolation.REQUIRED,
        }

    def leave(self, plan: Mapping[str, Json]) -> None:
        """The worker of this plan has ended, with all its work."""
        if plan:
            _remove(Path(plan["own"]))

    def environment(self, plan: Mapping[str, Json]) -> dict[str, str]:
        """The environment of the worker of this plan: what may be passed on; without isolation, all but
        secrets.
        """
        if not plan:
            return clean_environment(self._environment)
        names = {*PASSED_ON, *self._reach.environment}
        found = {k: v for k, v in self._environment.items() if k in names or k.startswith("LC_")}
        return {**found, "HOME": plan["own"], "TMPDIR": plan["own"]}

    def say(self, lacking: list[str]) -> None:
        """Once: what could not be done for the isolation of a worker."""
        if lacking and not self._said:
            self._said = True
            log.warning("isolation of tasks is incomplete", extra={"lacking": "; ".join(lacking)})

    def _home(self) -> Path:
        return Path(self._state() or Path.cwd()).resolve()

    def _state(self) -> str:
        return self._environment.get("STATE_DIRECTORY", "").partition(":")[0]

    def _writable(self) -> list[Path]:
        return [self._home() / path for path in self._reach.writable]

    def _files(self) -> list[str]:
        """Of secrets, tokens and keys, that settings or variables of ours name."""
        return sorted(_KEPT) + [
            file
            for name, file in self._environment.items()
            if name.startswith("GLEITZEIT_") and name.endswith("_FILE") and file
        ]

    def _new_base(self) -> Path:
        place = self._home() if self._state() else Path(tempfile.gettempdir()).resolve()
        for left in place.glob(f"{TASKS}-*-*"):
            if _has_ended(left.name.split("-")[-2]):  # killed, it has not tidied up
                _remove(left)
        return Path(tempfile.mkdtemp(prefix=f"{TASKS}-{os.getpid()}-", dir=place))

    def _of_the_user(self) -> list[str]:
        home = self._environment.get("HOME", "")
        if not home.startswith("/") or home == "/":
            return []
        state = self._environment.get("XDG_STATE_HOME", "")
        found = [f"{home}/{each}" for each in OF_THE_USER]
        return [*found, f"{state}/gleitzeit"] if state.startswith("/") else found


_KEPT: set[str] = set()


def keep_from_tasks(files: Iterable[str]) -> None:
    """Hide files from all workers that are made from now on. Empty names are none."""
    _KEPT.update(file for file in files if file)


def readable(hidden: Iterable[str]) -> list[str]:
    """Paths that, with all below them, are everything but what is hidden. What comes later to a directory
    that has something hidden in it is not among them.
    """
    closed = {os.path.realpath(path) for path in hidden}
    above = {str(parent) for path in closed for parent in Path(path).parents}
    found: list[str] = []
    waiting = ["/"]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            if entry.path in closed or entry.is_symlink():
                continue  # what a link leads to has a path of its own
            (waiting if entry.path in above else found).append(entry.path)
    return found


def _has_ended(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OSError):
        pass  # it is somebody's
    return False


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        confinement.empty(str(folder))
        folder.rmdir()


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What work may see of the daemon's environment: no secret, and nothing to speak for the daemon with."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_SECRETS) and name not in _SECRET
    }
