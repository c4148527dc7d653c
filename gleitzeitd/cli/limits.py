"""The limits of workflows for whoever reads files on the command line: those of this host."""

from __future__ import annotations

import tomllib

from gleitzeitd.cli.options import Options
from gleitzeitd.config.loading import load
from gleitzeitd.errors import ConfigError
from gleitzeitd.model.limits import WorkflowLimits

SECTION = "workflow_limits"
_VARIABLES = f"GLEITZEIT_{SECTION.upper()}_"


def workflow_limits(options: Options) -> WorkflowLimits:
    """Section ``[workflow_limits]`` of the first of the command line's configuration files that has one.

    Variables of the environment (``GLEITZEIT_WORKFLOW_LIMITS_TASKS``) win. A resolver has its own.

    Raises:
        ConfigError: it cannot be understood; with a line for each problem.
    """
    environment = {name: value for name, value in options.environment.items() if name.startswith(_VARIABLES)}
    for file in options.config_files:
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError:
            continue  # most users cannot read the daemons' configuration, and need not
        except ValueError as problem:
            raise ConfigError(f"{file}: not valid TOML: {problem}") from problem
        if SECTION in document:
            found = load(
                {SECTION: WorkflowLimits}, files=[file], environment=environment, foreign=document.keys()
            )
            return found.section(SECTION, WorkflowLimits)
    if not environment:
        return WorkflowLimits()
    found = load({SECTION: WorkflowLimits}, files=[], environment=environment)
    return found.section(SECTION, WorkflowLimits)
