"""A host as a test sees it: what an operator would type there, in one line each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

from tests.system.containers import CommandFailed, Container
from tests.system.progress import wait_until

Found = TypeVar("Found")

APT_SECONDS = 120
WORKFLOW_SECONDS = 60
EXAMPLES = "/usr/share/doc/gleitzeit/examples"


class Host:
    """One container, and its address."""

    def __init__(self, container: Container, address: str) -> None:
        self.container = container
        self.name = container.name
        self.address = address
        self.run = container.run

    def said(self, *words: str, check: bool = True) -> str:
        """What a command writes to standard output."""
        return self.run(*words, check=check).stdout.strip()

    def shell(self, script: str, *, check: bool = True, timeout: float = 60) -> CompletedProcess[str]:
        """Run the script with ``sh -e``."""
        return self.run("sh", "-ec", script, check=check, timeout=timeout)

    def put(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file, with the directories above it."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    # --- packages ---------------------------------------------------------------------------------

    def apt(self, *words: str) -> str:
        """Run apt-get without questions; what it writes."""
        quiet = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y")
        return self.run(*quiet, *words, timeout=APT_SECONDS).stdout

    def copy_packages(self, folder: Path, *names: str) -> list[str]:
        """Copy these packages (all, if none is named) into the host; their paths there."""
        there = self.container.files / "root" / folder.name
        there.mkdir(exist_ok=True)
        paths = []
        for file in sorted(folder.glob("*.deb")):
            if not names or file.name.partition("_")[0] in names:
                (there / file.name).write_bytes(file.read_bytes())
                paths.append(f"/root/{folder.name}/{file.name}")
        missing = {*names} - {Path(path).name.partition("_")[0] for path in paths}
        assert not missing, f"no such packages were built: {missing}"
        return paths

    # --- units ------------------------------------------------------------------------------------

    def systemctl(self, *words: str, check: bool = True) -> str:
        """What it writes, of both streams; if it has to succeed and does not, with the end of the journal."""
        done = self.run("systemctl", "--no-pager", *words, check=False)
        said = (done.stdout + done.stderr).strip()
        if check and done.returncode != 0:
            raise CommandFailed(f"{self.name}: systemctl {' '.join(words)}\n{said}\n{self._journal_end()}")
        return said

    def property(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.said("systemctl", "show", "--value", "--property", name, unit)

    def is_active(self, unit: str) -> bool:
        """Whether it runs, and has said that it is ready."""
        return self.property(unit, "ActiveState") == "active"

    def daemons(self) -> list[str]:
        """Our services that run now."""
        words = ("--type=service", "--state=running", "--plain", "--no-legend", "--no-pager", "gleitzeit*")
        lines = self.said("systemctl", "list-units", *words).splitlines()
        return [line.split()[0] for line in lines]

    def failed(self) -> list[str]:
        """Units that have failed, ours or not."""
        lines = self.said("systemctl", "--failed", "--plain", "--no-legend").splitlines()
        return [line.split()[0] for line in lines]

    def wait_active(self, unit: str, within: float = 15) -> None:
        """Until it runs."""
        self.wait_until(f"{unit} is active", lambda: self.is_active(unit), within, unit)

    def wait_until(self, what: str, look: Callable[[], Found], within: float = 15, unit: str = "") -> Found:
        """As the function; if it comes to nothing, with the end of the journal."""
        only = ("--unit", unit) if unit else ()
        return wait_until(f"{self.name}: {what}", look, within, lambda: self._journal_end(*only))

    def _journal_end(self, *matches: str) -> str:
        return self.said("journalctl", "--no-pager", "--lines=60", "--output=short-precise", *matches)

    # --- journal ----------------------------------------------------------------------------------

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Records in order, each with all its fields."""
        written = self.said("journalctl", "--no-pager", "--output=json", *matches)
        return [json.loads(line) for line in written.splitlines()]

    # --- gleitzeit --------------------------------------------------------------------------------

    def gleitzeit(self, *words: str, timeout: float = WORKFLOW_SECONDS) -> str:
        """What the command writes; it has to succeed."""
        return self.run("gleitzeit", *words, timeout=timeout).stdout.strip()

    def asked(self, *words: str) -> Any:
        """What the command answers as JSON."""
        return json.loads(self.gleitzeit(*words, "--json"))

    def submit(self, workflow_id: str, text: str) -> str:
        """Hand a workflow over; its id. From then on it must end, whatever happens."""
        file = f"/root/{workflow_id}.yaml"
        self.put(file, text)
        self.gleitzeit("submit", file, "--id", workflow_id)
        return workflow_id

    def state(self, workflow_id: str) -> str:
        """Of a workflow, as `gleitzeit status` says it."""
        return str(self.asked("status", workflow_id)["status"])

    def wait_completed(self, workflow_id: str, within: float = WORKFLOW_SECONDS) -> None:
        """Until it is completed; if it ends otherwise, or too late, that is said with the reason."""
        done = self.run("gleitzeit", "watch", workflow_id, check=False, timeout=within)
        if done.returncode != 0:
            why = self.run("gleitzeit", "why", workflow_id, check=False)
            raise CommandFailed(f"{workflow_id}: {done.stdout}{done.stderr}\n{why.stdout}{why.stderr}")

    def components(self) -> list[Mapping[str, Any]]:
        """Who is connected; nobody while there is no hub."""
        done = self.run("gleitzeit", "components", "--json", check=False)
        if done.returncode != 0:
            return []
        answer = json.loads(done.stdout)
        listed: Sequence[Mapping[str, Any]] = answer if isinstance(answer, list) else answer["components"]
        return list(listed)
