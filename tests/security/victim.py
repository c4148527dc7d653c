"""A provider of Python and shell in a process, and as a user, of its own; with secrets, and with a ledger beside it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gleitzeitd.errors import ExecutionFailed, ResourcesExceeded, TaskTimeout

ROOT = Path(__file__).resolve().parent.parent.parent
PROVIDER = """
import asyncio, json, os, sys
from gleitzeitd.errors import TaskError
from gleitzeitd.model.resources import Resources
from gleitzeitd.plain import from_plain
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.python import PythonProvider, PythonSettings
from gleitzeitd.providers.shell import ShellProvider, ShellSettings

async def main():
    kind = {"python": (PythonProvider, PythonSettings), "shell": (ShellProvider, ShellSettings)}
    providers = {}
    for name, (provider, settings) in kind.items():
        providers[name] = provider(from_plain(settings, {"capacity": 2, **json.loads(sys.argv[1])}))
        await providers[name].start()
    print(json.dumps(os.getpid()), flush=True)
    lines = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        asked = json.loads(line)
        call = MethodCall(
            method=asked["method"], parameters=asked["parameters"], timeout=asked["timeout"],
            resources=from_plain(Resources, asked["resources"]),
        )
        try:
            answer = {"result": await providers[asked["method"].partition("/")[0]].call(call)}
        except TaskError as error:
            answer = {"error": [error.code, str(error), error.retryable]}
        print(json.dumps(answer), flush=True)
    for provider in providers.values():
        await provider.stop()

asyncio.run(main())
"""
PYTHONPATH = ":".join([str(ROOT), *(path for path in sys.path if path.endswith("-packages"))])
NOBODY = 65534


@functools.cache
def python_of(user: int | None) -> str:
    """A Python that this user can run, and that finds the package."""
    for program in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            command = [program, "-c", "import gleitzeitd.providers.shell"]
            rights: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
            if (
                subprocess.run(
                    command, env={"PYTHONPATH": PYTHONPATH}, cwd="/", check=False, **rights
                ).returncode
                == 0
            ):
                return program
    pytest.skip(f"no Python here that user {user} can run")


class Victim:
    """A provider's process, its secrets, and what lies around it."""

    def __init__(self, place: Path, user: int | None, **settings: Any) -> None:
        self.place, self.user = place, user
        self.state = place / "state"
        self.credentials = place / "credentials"
        for folder in (self.state, self.credentials):
            folder.mkdir(mode=0o700)
        (self.credentials / "token").write_text("s3cret")
        (place / "gleitzeit.db").write_text("ledger s3cret")
        (self.state / "identity").write_text("mine")
        (place / "public").write_text("public")
        script = place / "provider.py"
        script.write_text(PROVIDER)
        place.chmod(0o755)
        if user is not None:
            for path in (self.state, self.credentials, *self.credentials.iterdir(), *self.state.iterdir()):
                os.chown(path, user, user)
            os.chown(place / "gleitzeit.db", user, user)
        settings = {"hidden": [str(place / "gleitzeit.db")], **settings}
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": PYTHONPATH,
            "GLEITZEIT_TOKEN": "s3cret",
            "CREDENTIALS_DIRECTORY": str(self.credentials),
            "STATE_DIRECTORY": str(self.state),
        }
        self.process = subprocess.Popen(
            [python_of(user), str(script), json.dumps(settings)],
            env=environment,
            cwd=self.state,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())
        assert json.loads(line) == self.process.pid

    def call(self, method: str, parameters: dict[str, Any], timeout: float = 20.0, **resources: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"method": method, "parameters": parameters, "timeout": timeout, "resources": resources}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" not in answer:
            return answer["result"]
        code, message, retryable = answer["error"]
        known = {each.code: each for each in (ExecutionFailed, ResourcesExceeded, TaskTimeout)}
        raise known[code](message, retryable=retryable)

    def python(self, code: str, context: dict[str, Any] | None = None, **more: Any) -> Any:
        parameters = {"code": textwrap.dedent(code), "context": context or {}}
        return self.call("python/execute", parameters, **more)["result"]

    def attempt(self, expression: str) -> str:
        """The name of the error that the expression ends with, or what it is."""
        code = f"""
import array, ctypes, errno, mmap, os, pathlib, resource, select, signal, socket, subprocess, sys
PROVIDER = {self.process.pid}
try:
    result = repr({expression})
except OSError as error:
    result = errno.errorcode.get(error.errno, type(error).__name__)
"""
        return str(self.python(code))

    def shell(self, script: str, **more: Any) -> Any:
        return self.call("shell/execute", {"script": script, "check": False}, **more)

    def children(self) -> list[psutil.Process]:
        return [p for p in psutil.Process(self.process.pid).children(recursive=True) if p.is_running()]

    def strays(self) -> list[str]:
        """Processes below the provider that are no workers."""
        return [p.name() for p in self.children() if p.name() not in ("worker", "next-job")]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def victims(**settings: Any) -> Iterator[Victim]:
    place = Path(tempfile.mkdtemp(prefix="victim-", dir="/var/tmp"))
    victim = Victim(place, NOBODY if os.getuid() == 0 else None, **settings)
    try:
        yield victim
    finally:
        victim.end()
        assert list((place / "state").iterdir()) == [place / "state" / "identity"]
        shutil.rmtree(place)
