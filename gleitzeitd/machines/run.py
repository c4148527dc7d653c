"""One attempt, as the engine that holds it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.ledger import Attempt, Execution
from gleitzeitd.model.names import ComponentId


class Phase(Enum):
    """Where an attempt is; the engine says what that means."""

    WAITING = auto()
    STARTING = auto()
    CALLING = auto()
    ENDING = auto()
    REPORTING = auto()


@dataclass(slots=True)
class Run:
    """An attempt that an engine holds."""

    task: Execution
    correlation_id: str
    cause: str
    """The ``message_id`` of the order to run it."""
    phase: Phase = Phase.WAITING
    provider: ComponentId | None = None
    epoch: int = 0
    """Of the provider's process."""
    started_at: str = ""
    """When it was called."""
    error: ErrorInfo | None = None
    """Why it is being ended, where the provider does not know."""

    @property
    def attempt(self) -> Attempt:
        """Its name."""
        return Attempt(self.task.workflow_id, self.task.task_id, self.task.attempt)


def name_of(attempt: Attempt) -> str:
    """In keys of asks and timers."""
    return f"{attempt.workflow_id}/{attempt.task_id}/{attempt.attempt}"
