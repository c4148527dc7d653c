"""What may be called: nothing, unless it was named."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gleitzeitd.errors import ConfigError

_WORKFLOW = "workflow:"
_METHOD = re.compile(r"\*|[^\s/:]+/\S+")


@dataclass(frozen=True, slots=True)
class AllowList:
    """Patterns as shells have them: ``*`` is any text, ``?`` one character."""

    methods: tuple[str, ...] = ()
    """Of methods' full names: ``echo/*``. Without any, no method is allowed."""
    workflows: tuple[str, ...] = ()
    """Of workflows' names. Without any, all that were given on the command line are allowed."""

    @classmethod
    def of(cls, patterns: Sequence[str]) -> AllowList:
        """From ``METHOD`` and ``workflow:NAME``.

        Raises:
            ConfigError: a pattern is neither.
        """
        methods, workflows = [], []
        for pattern in patterns:
            if pattern.startswith(_WORKFLOW) and pattern != _WORKFLOW:
                workflows.append(pattern.removeprefix(_WORKFLOW))
            elif _METHOD.fullmatch(pattern):
                methods.append(pattern)
            else:
                raise ConfigError(
                    f"--allow {pattern}: expected a method, as echo/echo or 'echo/*', or workflow:NAME"
                )
        return cls(tuple(methods), tuple(workflows))

    def allows_method(self, name: str) -> bool:
        """Whether the method of this full name may be called."""
        return any(fnmatchcase(name, pattern) for pattern in self.methods)

    def allows_workflow(self, name: str) -> bool:
        """Whether the workflow of this name, if it was given, may be called."""
        return not self.workflows or any(fnmatchcase(name, pattern) for pattern in self.workflows)

    def idle(self, methods: Collection[str], workflows: Collection[str]) -> list[str]:
        """The patterns that nothing of all this matches, as they were written."""
        stray = [one for one in self.methods if not any(fnmatchcase(name, one) for name in methods)]
        strange = [one for one in self.workflows if not any(fnmatchcase(name, one) for name in workflows)]
        return [*stray, *(_WORKFLOW + one for one in strange)]
