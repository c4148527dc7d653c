"""A workflow: tasks, what they need from each other, and what is put in from outside.

These are the values that travel and are kept. They are made by :func:`gleitzeitd.model.document.read`,
which is where every rule about them is checked: ids are unique, every dependency exists, the graph has
no cycle, and each reference in the parameters names a task by its id and is among the dependencies.
"""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum, StrEnum

from gleitzeitd.model.names import TaskId
from gleitzeitd.model.resources import Resources
from gleitzeitd.model.retry import ONCE, RetryPolicy
from gleitzeitd.plain import Json
from gleitzeitd.record import record

TASKS_LIMIT = 100_000
"""Tasks in one workflow."""
TASK_TIMEOUT_RANGE = (1.0, 3600.0)
"""Seconds."""
WORKFLOW_TIMEOUT_RANGE = (1.0, 86_400.0)
"""Seconds."""
TIMEOUTS_RANGE = (1.0, 86_400.0)
"""Seconds, of each of a task's ``timeouts``."""
DEPTH_LIMIT = 64
"""Levels of lists and tables below a task's parameters, metadata, or an input."""
UNNAMED = "Unnamed Workflow"
INPUTS = "inputs"
"""What ``${inputs.x}`` refers to; no task can be called so."""


class Priority(IntEnum):
    """Which ready task goes first; the greater one does."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


class OnLost(StrEnum):
    """What becomes of a task whose engine or provider was lost while it ran."""

    RERUN = "rerun"
    FAIL = "fail"
    ASK = "ask"
    """An operator says whether it was done."""


@record
class Timeouts:
    """How long a task may be without getting on; seconds, None for no limit.

    What one attempt may take in all is the task's ``timeout``.
    """

    queued: float | None = None
    """Ready, and no engine has it. Then it has failed."""
    start: float | None = None
    """An engine has it, and no provider has begun. Then another engine gets it."""
    silence: float | None = None
    """Running, with neither output nor progress. Then the attempt has failed."""


NO_TIMEOUTS = Timeouts()


@record
class Task:
    """One step: a call of a method with parameters."""

    id: TaskId
    name: str
    """For people; the id, if the document gives none."""
    method: str
    """In full: ``python/execute``."""
    protocol: str
    """With its version: ``python/v1``."""
    parameters: dict[str, Json] = field(default_factory=dict)
    """With references as ``${id.path}``: never a task's name, always its id."""
    dependencies: tuple[TaskId, ...] = ()
    """Direct ones, without repeats: those declared, in their order, then those that references imply."""
    refers: tuple[TaskId, ...] = ()
    """Those of the dependencies whose results the parameters refer to."""
    priority: int = Priority.NORMAL.value
    """A value of :class:`Priority`."""
    timeout: float | None = None
    """Seconds that one attempt may take; None is for whoever runs it to decide."""
    retry: RetryPolicy = ONCE
    on_lost: OnLost = OnLost.RERUN
    timeouts: Timeouts = NO_TIMEOUTS
    resources: Resources | None = None
    """Sizes are bytes."""
    metadata: dict[str, Json] = field(default_factory=dict)


@record
class Input:
    """A value that is given when the workflow is submitted."""

    schema: dict[str, Json] = field(default_factory=dict)
    """JSON Schema (draft 2020-12); an empty one admits anything."""
    required: bool = True
    """False for one that has a default, and for one that may be absent: then it is null."""
    default: Json = None
    has_default: bool = False


@record
class Workflow:
    """A graph of tasks, without cycles."""

    name: str = UNNAMED
    description: str = ""
    version: str = ""
    tasks: tuple[Task, ...] = ()
    """In the order of the document; at least one."""
    inputs: dict[str, Input] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds from the submission to the end; None for no limit."""
    metadata: dict[str, Json] = field(default_factory=dict)
