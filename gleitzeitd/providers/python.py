"""``python/v1``: runs Python, never in the daemon's process.

A script starts in a fresh ``__main__``, in a process forked off a warm interpreter. It finds the dict
``context``, the context's keys as variables where they are identifiers and hide nothing, and
``progress(ratio, message)``. What it leaves in ``result`` (or, if it has set no ``result``, in ``output``)
is the result, and must be JSON. What it prints is the task's output. The result travels apart from that, so
no print can damage it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from gleitzeitd.bounds import Bounds, bounded, sized
from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, ResultInvalid
from gleitzeitd.model.protocol import Example
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall
from gleitzeitd.providers.isolation import Isolation
from gleitzeitd.providers.kit import method
from gleitzeitd.providers.pool import Outcome, WorkerPool
from gleitzeitd.providers.processes import Environment, ProcessProvider, ProcessSettings, Seconds

_FLUSH_FAILED = 120
"""Python's exit code if the script has closed its own stdout."""
_HELP = "; network, writable and hidden in the provider's settings say what tasks can reach"
_INFO = """
import platform, sys
result = {
    "version": platform.python_version(),
    "implementation": platform.python_implementation(),
    "executable": sys.executable,
}
"""
_RESULT = {
    "type": "object",
    "required": ["result", "output", "success", "error", "execution_time"],
    "properties": {
        "result": {"description": "What the script has set; null if nothing."},
        "output": {"type": "string", "description": "The end of what it printed."},
        "success": {"const": True},
        "error": {"type": "null"},
        "execution_time": {"type": "number", "description": "Seconds."},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSettings(ProcessSettings):
    """How Python scripts are run, and within which limits."""

    kill_after_seconds: float = bounded(0.0, least=0, most=600, unit="seconds")
    """Between asking a script to end (SIGTERM) and killing it. 0 kills at once."""
    interpreter: str = sized("", most=4096)
    """Python, 3.10 or newer, that runs the scripts. Empty: the one that runs the provider."""
    preload: list[str] = sized([], most=100)  # noqa: RUF009 - a field with a factory
    """Modules that worker processes import in advance, so that scripts get them for nothing."""
    module_path: list[str] = sized([], most=100)  # noqa: RUF009 - a field with a factory
    """Directories in which scripts find modules, before all others."""


class PythonProvider(ProcessProvider):
    """Runs Python scripts, each in a process of its own."""

    protocol_name = "python/v1"
    Settings: ClassVar[type] = PythonSettings

    def _new_pool(self) -> WorkerPool:
        settings = self.settings
        return WorkerPool(
            interpreter=settings.interpreter,
            preload=settings.preload,
            module_path=settings.module_path,
            warm=min(settings.warm, self.capacity),
            keep=self.capacity,
            reach=settings.reach(),
        )

    @method(
        returns=_RESULT,
        examples=(
            Example(
                description="code with values", parameters={"code": "result = x + 1", "context": {"x": 41}}
            ),
            Example(description="a script", parameters={"file": "report.py", "args": ["--day", "monday"]}),
        ),
    )
    async def execute(
        self,
        call: MethodCall,
        file: Annotated[str | None, "Path of the script, on the provider's machine."] = None,
        file_path: Annotated[str | None, "The same as file."] = None,
        code: Annotated[str | None, "The script itself."] = None,
        context: Annotated[dict[str, Any] | None, "What the script gets."] = None,
        args: Annotated[list[str] | None, "sys.argv, after the script's name."] = None,
        env: Environment = None,
        timeout: Seconds = None,  # noqa: ASYNC109 - a parameter of the protocol
    ) -> dict[str, Json]:
        """Run a script; its variable result is the result."""
        path = file or file_path
        if bool(path) == bool(code):
            raise ParameterInvalid("python/execute: expected either file or code")
        work = {
            "kind": "python",
            "file": self._place(path) if path and not self.settings.working_directory else path or "",
            "code": code or "",
            "context": context or {},
            "args": args or [],
        }
        outcome = await self._run(call, work, timeout=timeout, environment=env)
        return {
            "result": self._result(outcome),
            "output": outcome.stdout,
            "success": True,
            "error": None,
            "execution_time": round(outcome.seconds, 6),
        }

    def validate(self, code: Annotated[str, Bounds(longest=1_000_000)]) -> dict[str, Json]:
        """Whether code can be compiled; nothing of it runs."""
        try:
            ast.parse(code)
        except SyntaxError as error:
            return {"valid": False, "error": f"{error.msg} (line {error.lineno})"}
        except (ValueError, RecursionError, MemoryError) as error:
            return {"valid": False, "error": str(error) or "nested too deeply"}
        return {"valid": True, "error": None}

    async def info(self, call: MethodCall) -> dict[str, Json]:
        """Which Python runs the scripts."""
        work = {"kind": "python", "file": "", "code": _INFO, "context": {}, "args": []}
        outcome = await self._run(call, work, timeout=None, environment=None)
        return {**self._result(outcome), "preload": self.settings.preload, "capacity": self.capacity}

    def _result(self, outcome: Outcome) -> Json:
        answer = outcome.answer
        if answer is None:
            raise ExecutionFailed(f"the script ended with {outcome.ending()} before it gave a result")
        if "error" in answer:
            if answer.get("kind") == "result":
                raise ResultInvalid(answer["error"])
            refused = answer.get("refused") and self.settings.isolation is not Isolation.OFF
            message = f"{answer['error']}{_HELP if refused else ''}"
            raise ExecutionFailed(message, retryable=answer.get("kind") != "syntax")
        if outcome.exit_code not in (0, _FLUSH_FAILED):
            raise ExecutionFailed(f"the script ended with {outcome.ending()} after it gave its result")
        return answer["result"]
