"""What a workflow may be at most, for whoever reads its file and for whoever accepts it.

A command and a resolver hold these alike: the file is refused where it is, and whoever sends the same past
the command line is refused by the resolver. At a limit the workflow is refused as WORKFLOW_VALIDATION_FAILED
(-28001), with the place, what was found, and what is possible; nothing of it runs.
"""

from __future__ import annotations

from gleitzeitd.bounds import bounded
from gleitzeitd.model.workflow import DEPTH_LIMIT, TASKS_LIMIT
from gleitzeitd.record import record

KIBIBYTE = 1024
MEBIBYTE = 1024 * 1024


@record
class WorkflowLimits:
    """Section ``[workflow_limits]``: what a workflow may be at most; read by the dependency resolver, and by
    the command line from its own file. A workflow that is beyond a limit is refused with the place that is
    too much, and nothing of it runs.
    """

    file_bytes: int = bounded(16 * MEBIBYTE, least=KIBIBYTE, most=256 * MEBIBYTE, unit="bytes")
    """The size of a workflow's file. A larger one is not read."""
    values: int = bounded(250_000, least=100, most=10_000_000)
    """Texts, numbers, lists and tables in a workflow, aliases followed. With more it is refused."""
    depth: int = bounded(DEPTH_LIMIT, least=8, most=DEPTH_LIMIT)
    """Levels of lists and tables. What is nested deeper is refused."""
    text_characters: int = bounded(8_000_000, least=1000, most=100_000_000, unit="characters")
    """The longest single text, as a script. With a longer one the workflow is refused."""
    aliases: int = bounded(10_000, least=0, most=1_000_000)
    """Uses of YAML's anchors in a file. With more it is refused."""
    tasks: int = bounded(20_000, least=1, most=TASKS_LIMIT)
    """Tasks in a workflow, those of a batch included. With more it is refused."""
    dependencies: int = bounded(10_000, least=1, most=TASKS_LIMIT)
    """Tasks that one task depends on directly. With more the workflow is refused."""
    references: int = bounded(10_000, least=1, most=1_000_000)
    """References (``${...}``) in the parameters of one task. With more the workflow is refused."""
    all_references: int = bounded(100_000, least=1, most=10_000_000)
    """References in all tasks of a workflow. With more it is refused."""
    reference_steps: int = bounded(64, least=4, most=1000)
    """Steps in the path of one reference, as ``${a.b.c}`` has two. With more the workflow is refused."""
    parameter_bytes: int = bounded(12_000_000, least=1000, most=12_000_000, unit="bytes")
    """What the parameters of one task take as JSON, with its references replaced. With more it fails."""
    inputs: int = bounded(1000, least=1, most=100_000)
    """Inputs that a workflow declares. With more it is refused."""


LIMITS = WorkflowLimits()
"""Where nobody has set others."""
