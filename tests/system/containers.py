"""Hosts that are containers: real systemd as their init, on one read-only image with a writable layer each.

A :class:`Stage` has namespaces of its own for mounts and network, which one sleeping process holds. All
mounts, bridges and rules of a test are made there, so they are gone with its last process, however the test
ends: every process that is started here dies with the one that started it. On the machine around it nothing
is mounted, nothing listens, and only empty cgroups may stay behind until the next run.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.needs import CGROUPS, cgroup2, search_path
from tests.system.progress import wait_until

ENVIRONMENT = {"PATH": search_path(), "LANG": "C.UTF-8", "TERM": "dumb", "HOME": "/root"}
COMMAND_SECONDS = 60
BOOT_SECONDS = 60
POWEROFF_SECONDS = 20
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
"""What a host's kernel gives to everybody, and systemd-nspawn keeps from containers."""
GROUP_PREFIX = "gleitzeit-system-"


class CommandFailed(AssertionError):
    """A command inside a container, or of the stage, has ended with another code than 0."""


def run(
    command: Sequence[str], *, check: bool = True, timeout: float = COMMAND_SECONDS, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with a clean environment.

    Raises:
        CommandFailed: it has failed, or was killed because it took too long; with what it has written.
    """
    with subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout)
            ended = f"exit {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            ended, check = f"not ended after {timeout:g} s", True
    if check and process.returncode != 0:
        written = "\n".join(part.strip()[-4000:] for part in (out, err) if part.strip())
        raise CommandFailed(f"{ended}: {shlex.join(command)}\n{written}")
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class Stage:
    """Namespaces, a folder in memory, and cgroups, for all containers of one test."""

    def __enter__(self) -> Self:
        self._where = Path(tempfile.mkdtemp(prefix="gleitzeit-system-"))
        # The signal is that of the death of the starting *thread*: that has to be the main one.
        self._keeper = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--propagation", "private"]
            + ["sleep", "infinity"],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
        )
        ours = str(Path("/proc/self/ns/net").readlink())
        wait_until("namespaces are made", lambda: self._namespace() not in ("", ours), 10)
        self.run("mount", "-t", "tmpfs", "-o", "size=4g,mode=0755", "gleitzeit-system", str(self._where))
        # For names of network namespaces, and for what systemd-nspawn keeps.
        self.run("mount", "-t", "tmpfs", "-o", "mode=0755", "gleitzeit-system", "/run")
        self.run("ip", "link", "set", "lo", "up")
        _remove_empty_groups()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keeper.kill()
        self._keeper.wait()
        self._where.rmdir()
        _remove_empty_groups()

    @property
    def name(self) -> str:
        """Unique among stages on this machine."""
        return str(self._keeper.pid)

    @property
    def folder(self) -> Path:
        """In memory; the path is that inside the stage."""
        return self._where

    def outside(self, path: Path) -> Path:
        """How a path of the stage is reached by this process."""
        return Path(f"/proc/{self._keeper.pid}/root") / path.relative_to("/")

    def command(self, *words: str) -> list[str]:
        """The words, to be run in the stage's namespaces."""
        return ["nsenter", "--target", str(self._keeper.pid), "--mount", "--net", "--", *words]

    def run(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the words there."""
        return run(self.command(*words), check=check, stdin=stdin)

    def _namespace(self) -> str:
        try:
            return str(Path(f"/proc/{self._keeper.pid}/ns/net").readlink())
        except OSError:
            return ""


class Container:
    """One host: from its first file to its poweroff. ``start`` only in the main thread, the rest anywhere."""

    def __init__(self, stage: Stage, image: Path, name: str, hosts: str, network: str) -> None:
        """Make its files.

        Args:
            hosts: its /etc/hosts.
            network: the path of its network namespace, as it is inside the stage.
        """
        self.name = name
        self._stage = stage
        self._network = network
        self._root = stage.folder / name / "root"
        layers = [self._root.parent / part for part in ("root", "upper", "work")]
        stage.run("mkdir", "-p", *map(str, layers))
        options = f"lowerdir={image},upperdir={layers[1]},workdir={layers[2]}"
        stage.run("mount", "-t", "overlay", "-o", options, "overlay", str(self._root))
        files = stage.outside(self._root)
        (files / "etc/machine-id").write_text(secrets.token_hex(16) + "\n")
        (files / "etc/hostname").write_text(name + "\n")
        (files / "etc/hosts").write_text(hosts)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    @property
    def console(self) -> str:
        """What systemd has written while it booted and since."""
        return self._stage.outside(self._console).read_text(errors="replace")

    @property
    def _console(self) -> Path:
        return self._root.parent / "console"

    @property
    def files(self) -> Path:
        """The root of its file system, for this process."""
        return self._stage.outside(self._root)

    def start(self) -> None:
        """Let it boot, and return at once."""
        groups = _make_groups(f"{GROUP_PREFIX}{self._stage.name}-{self.name}")
        join = " && ".join(f"echo $$ >'{group}/cgroup.procs'" for group in groups)
        nspawn = ["setpriv", "--pdeathsig", "KILL", "systemd-nspawn", "--boot", "--quiet", "--settings=no"]
        nspawn += [f"--directory={self._root}", f"--machine={self.name}", "--console=pipe"]
        nspawn += ["--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        # Without these two, IPAddressDeny= and the like would be ignored, silently.
        nspawn += [f"--system-call-filter=bpf {LANDLOCK}", "--capability=CAP_BPF,CAP_PERFMON"]
        nspawn += [f"--network-namespace-path={self._network}"]
        with self._stage.outside(self._console).open("wb") as console:
            self._nspawn = subprocess.Popen(
                self._stage.command("sh", "-c", f'{join} && exec "$@"', "sh", *nspawn),
                env={**ENVIRONMENT, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C is for the test; this one is told by it
            )

    def wait_for_boot(self) -> None:
        """Until systemd has started everything, or has failed to start something."""
        self._leader = wait_until(f"{self.name} has an init", self._init, BOOT_SECONDS, lambda: self.console)
        states = {"running", "degraded"}
        wait_until(
            f"{self.name} has booted", lambda: self._state() in states, BOOT_SECONDS, lambda: self.console
        )

    def run(
        self, *words: str, check: bool = True, timeout: float = COMMAND_SECONDS, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run the words inside, as root."""
        return run(self.command(*words), check=check, timeout=timeout, stdin=stdin)

    def command(self, *words: str) -> list[str]:
        """The words, to be run inside as root."""
        entered = ["nsenter", "--target", str(self._leader), "--all", "--", "env", "-i"]
        return [*entered, *(f"{key}={value}" for key, value in ENVIRONMENT.items()), *words]

    def stop(self) -> None:
        """Power it off; if it does not listen, kill it. Harmless if it does not run."""
        nspawn = self._nspawn
        if nspawn is None:
            return
        if self._leader:
            with contextlib.suppress(CommandFailed):
                self.run("systemctl", "poweroff", "--no-block", timeout=5)
        else:
            nspawn.terminate()
        try:
            nspawn.wait(POWEROFF_SECONDS)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()
        self._nspawn = None

    def _init(self) -> int:
        """The container's init, as this machine numbers processes; 0 as long as there is none."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            raise AssertionError(f"{self.name} has not booted:\n{self.console}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return 0

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()


def _hierarchies() -> list[Path]:
    """The unified one, and those beside it where the machine has both kinds."""
    unified = cgroup2()
    assert unified is not None
    if unified == CGROUPS:
        return [unified]
    return [
        folder
        for folder in CGROUPS.iterdir()
        if (folder / "cgroup.procs").exists() and not folder.is_symlink()
    ]


def _make_groups(name: str) -> list[Path]:
    """A cgroup in each hierarchy: with --keep-unit, systemd-nspawn takes the one that it is started in."""
    groups = []
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        # In this one, a group without processors and memory nodes takes no process.
        for kind in ("cpuset.cpus", "cpuset.mems"):
            if (group / kind).exists() and hierarchy != cgroup2() and not (group / kind).read_text().strip():
                (group / kind).write_text((hierarchy / kind).read_text())
        groups.append(group)
    return groups


def _remove_empty_groups() -> None:
    """Those that this run or an earlier one has left; in use they cannot be removed."""
    ours = re.compile(rf"{GROUP_PREFIX}\d+-")
    for hierarchy in _hierarchies():
        for top in hierarchy.iterdir():
            if not ours.match(top.name):
                continue
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
