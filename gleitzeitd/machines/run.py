"""One attempt, as the engine that holds it sees it, and what is said of it to others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import provider as v
from gleitzeitd.model.ledger import Attempt, Execution
from gleitzeitd.model.names import ComponentId

KEEP_SECONDS = 600.0
"""How long a provider is to keep an answer that may not have reached us: longer than hubs are away."""


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

    def started(self, engine_id: ComponentId) -> e.TaskStarted:
        """It is called, by this engine."""
        return e.TaskStarted(
            workflow_id=self.task.workflow_id,
            task_id=self.task.task_id,
            attempt=self.task.attempt,
            engine_id=engine_id,
            provider_id=self.provider or ComponentId(""),
            started_at=self.started_at,
        )

    def order(self) -> v.ExecuteMethod | v.CancelMethod:
        """What the provider is asked now: to do the work or, in the place of that, to end it."""
        if self.phase is Phase.ENDING:
            return self.cancellation(self.error.message if self.error is not None else "")
        task = self.task
        return v.ExecuteMethod(
            workflow_id=task.workflow_id,
            task_id=task.task_id,
            attempt=task.attempt,
            method=task.method,
            parameters=task.parameters,
            timeout=task.timeout,
            silence=task.silence,
            alone=task.alone,
            once=task.once,
            resources=task.resources,
            epoch=self.epoch,
            keep=KEEP_SECONDS,
        )

    def cancellation(self, reason: str) -> v.CancelMethod:
        """The provider is to end the work."""
        return v.CancelMethod(
            workflow_id=self.task.workflow_id,
            task_id=self.task.task_id,
            attempt=self.task.attempt,
            reason=reason,
        )

    def failed(self, error: ErrorInfo, at: str) -> e.TaskFailed:
        """It has ended, and no provider has said how."""
        return e.TaskFailed(
            workflow_id=self.task.workflow_id,
            task_id=self.task.task_id,
            attempt=self.task.attempt,
            error=error,
            finished_at=at,
        )


def name_of(attempt: Attempt) -> str:
    """In keys of asks and timers."""
    return f"{attempt.workflow_id}/{attempt.task_id}/{attempt.attempt}"
