"""``shell/v1``: runs commands, each in a session of its own, and leaves no process of them behind.

A timeout or a cancel sends SIGTERM to everything that the command has started, and ``kill_after_seconds``
later SIGKILL to what is left. Whatever a command leaves running in the background is killed as well when it
ends: work that is to go on belongs into a task or into a unit of systemd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import ExecutionFailed, ParameterInvalid
from gleitzeitd.model.protocol import Example
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall
from gleitzeitd.providers.kit import method
from gleitzeitd.providers.pool import Outcome
from gleitzeitd.providers.processes import Environment, ProcessProvider, ProcessSettings, Seconds

SHELL = "/bin/sh"
STDERR_SHOWN = 2000
"""Characters of stderr, from its end, that the error of a failed command carries."""

_RESULT = {
    "type": "object",
    "required": ["exit_code", "stdout", "stderr", "execution_time"],
    "properties": {
        "exit_code": {"type": "integer", "description": "Negative: the number of the signal that ended it."},
        "stdout": {"type": "string", "description": "The end of it, if it is long."},
        "stderr": {"type": "string"},
        "execution_time": {"type": "number", "description": "Seconds."},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellSettings(ProcessSettings):
    """How commands are run, and within which limits."""

    kill_after_seconds: float = bounded(5.0, least=0, most=600, unit="seconds")
    """Between SIGTERM and SIGKILL."""


class ShellProvider(ProcessProvider):
    """Runs commands and shell scripts."""

    protocol_name = "shell/v1"
    Settings: ClassVar[type] = ShellSettings

    @method(
        aliases=("run",),
        returns=_RESULT,
        examples=(
            Example(description="a command", parameters={"argv": ["printf", "%s\n", "hello"]}),
            Example(description="a script", parameters={"script": "wc -l", "stdin": "one\ntwo\n"}),
        ),
    )
    async def execute(
        self,
        call: MethodCall,
        argv: Annotated[list[str] | None, "The command and its arguments; no shell reads them."] = None,
        script: Annotated[str | None, "Run by /bin/sh -e."] = None,
        env: Environment = None,
        cwd: Annotated[str | None, "Where it runs."] = None,
        stdin: Annotated[str | None, "What it reads; nothing, if not given."] = None,
        check: Annotated[bool, "Whether another exit code than 0 fails the task."] = True,
        timeout: Seconds = None,  # noqa: ASYNC109 - a parameter of the protocol
    ) -> dict[str, Json]:
        """Run a command or a script."""
        if bool(argv) == bool(script):
            raise ParameterInvalid(f"{call.method}: expected either argv or script")
        command = argv or [SHELL, "-e", "-c", script or ""]
        work = {"kind": "command", "argv": command, "stdin": stdin or ""}
        outcome = await self._run(call, work, timeout=timeout, environment=env, directory=cwd or "")
        if check and outcome.exit_code != 0:
            raise ExecutionFailed(_failure(outcome))
        return {
            "exit_code": outcome.exit_code,
            "stdout": outcome.stdout,
            "stderr": outcome.stderr,
            "execution_time": round(outcome.seconds, 6),
        }


def _failure(outcome: Outcome) -> str:
    said = outcome.stderr.strip()[-STDERR_SHOWN:]
    return f"{outcome.ending()}: {said}" if said else outcome.ending()
