"""Every exception gleitzeitd raises, and the number each has on the wire.

    GleitzeitError                          -31001 SYSTEM_ERROR
      ConfigError                           -31002 CONFIGURATION_ERROR
      MalformedData                         -32602 INVALID_PARAMS
        MalformedEvent                      -32600 INVALID_REQUEST
      UnknownEvent                          -32601 METHOD_NOT_FOUND
      NotPermitted                          -25006 AUTHORIZATION_FAILED
        WireUnsupported                     -25007 WIRE_VERSION_UNSUPPORTED
      LimitExceeded                         -25010 RESOURCE_LIMIT_EXCEEDED    retryable
      NotAuthenticated                      -25005 AUTHENTICATION_FAILED
        TokenExpired                        -25008 TOKEN_EXPIRED
        TokenRevoked                        -25009 TOKEN_REVOKED
      HubUnreachable                        -25001 CONNECTION_FAILED          retryable
        TlsFailed                           -25011 TLS_FAILED
      AnswerTimeout                         -25002 CONNECTION_TIMEOUT         retryable
      WorkflowError
        WorkflowInvalid                     -28001 WORKFLOW_VALIDATION_FAILED
        WorkflowNotFound                    -28002 WORKFLOW_NOT_FOUND
        WorkflowTimeout                     -28004 WORKFLOW_TIMEOUT
        WorkflowConflict                    -28007 WORKFLOW_INVALID_STATE
      TaskError                             what can end an attempt
        ExecutionFailed                     -29002 TASK_EXECUTION_FAILED      retryable
        TaskTimeout                         -29003 TASK_TIMEOUT               retryable
        TaskCancelled                       -29004 TASK_CANCELLED
        DependencyFailed                    -29005 TASK_DEPENDENCY_FAILED
        ParameterInvalid                    -29006 TASK_PARAMETER_INVALID
        ResultInvalid                       -29007 TASK_RESULT_INVALID
        TaskNotFound                        -29009 TASK_NOT_FOUND
        SecretNotAvailable                  -29010 SECRET_NOT_AVAILABLE
        ResourcesExceeded                   -29011 TASK_RESOURCES_EXCEEDED
        ProviderNotAvailable                -30003 PROVIDER_NOT_AVAILABLE     retryable
        ProviderTimeout                     -30005 PROVIDER_TIMEOUT           retryable
        ProviderOverloaded                  -30006 PROVIDER_OVERLOADED        retryable
        MethodNotSupported                  -30008 METHOD_NOT_SUPPORTED
        ProtocolNotFound                    -30001 PROTOCOL_NOT_FOUND
        RateLimited                         -30009 RATE_LIMIT_EXCEEDED        retryable
      StoreError                            -26001 PERSISTENCE_CONNECTION_FAILED  retryable
        StoreCorrupt                        -26003 PERSISTENCE_DATA_CORRUPT
        StoreLocked                         -26004 PERSISTENCE_LOCKED

Numbers and names are stable across releases and are those that earlier versions used.
"Retryable" means that another attempt can succeed with nothing changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """An error as it travels in events and is kept in the store."""

    code: int
    """Negative, stable; the table above."""
    name: str
    message: str
    retryable: bool = False
    retry_after: float | None = None
    """Seconds that whoever failed asks to be left alone."""

    def __str__(self) -> str:
        return f"[{self.name}] {self.message}"


class GleitzeitError(Exception):
    """Base of all errors raised by gleitzeitd."""

    code: ClassVar[int] = -31001
    name: ClassVar[str] = "SYSTEM_ERROR"
    retryable: bool = False
    retry_after: float | None = None

    def info(self) -> ErrorInfo:
        """The wire form."""
        return ErrorInfo(
            code=self.code,
            name=self.name,
            message=str(self),
            retryable=self.retryable,
            retry_after=self.retry_after,
        )


class ConfigError(GleitzeitError):
    """A configuration file cannot be used; the message says file, line, key and why."""

    code, name = -31002, "CONFIGURATION_ERROR"


class MalformedData(GleitzeitError):
    """Plain data does not have the declared shape."""

    code, name = -32602, "INVALID_PARAMS"

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        """Dotted, with indexes: ``tasks[3].retry.max_attempts``."""
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class MalformedEvent(MalformedData):
    """The payload does not match its entry in the event catalogue."""

    code, name = -32600, "INVALID_REQUEST"


class UnknownEvent(GleitzeitError):
    """No event of this name is in the catalogue."""

    code, name = -32601, "METHOD_NOT_FOUND"


class NotPermitted(GleitzeitError):
    """The sender may not send this event."""

    code, name = -25006, "AUTHORIZATION_FAILED"


class LimitExceeded(GleitzeitError):
    """More than a limit allows; the message names the limit's setting, what it is, and what was found."""

    code, name, retryable = -25010, "RESOURCE_LIMIT_EXCEEDED", True

    def __init__(
        self, message: str = "", *, retryable: bool = True, retry_after: float | None = None
    ) -> None:
        """Not ``retryable`` where only asking for less helps."""
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after


class NotAuthenticated(GleitzeitError):
    """The hub does not accept the token."""

    code, name = -25005, "AUTHENTICATION_FAILED"


class TokenExpired(NotAuthenticated):
    """The token, or the key that it was signed with, was good until an earlier time."""

    code, name = -25008, "TOKEN_EXPIRED"


class TokenRevoked(NotAuthenticated):
    """Somebody has revoked the token."""

    code, name = -25009, "TOKEN_REVOKED"


class WireUnsupported(NotPermitted):
    """A component and a hub have no version of the wire in common; the message says what each speaks."""

    code, name = -25007, "WIRE_VERSION_UNSUPPORTED"


class HubUnreachable(GleitzeitError):
    """No connection to a hub could be made, or it was lost."""

    code, name, retryable = -25001, "CONNECTION_FAILED", True


class TlsFailed(HubUnreachable):
    """There is no secure connection to a hub; the message says which certificate, or what else, is wrong."""

    code, name, retryable = -25011, "TLS_FAILED", False


class AnswerTimeout(GleitzeitError):
    """Nobody answered within the deadline."""

    code, name, retryable = -25002, "CONNECTION_TIMEOUT", True


class WorkflowError(GleitzeitError):
    """Base of what can be wrong with a workflow as a whole."""

    code, name = -28003, "WORKFLOW_EXECUTION_FAILED"


class WorkflowInvalid(WorkflowError):
    """The workflow was refused; nothing of it ran."""

    code, name = -28001, "WORKFLOW_VALIDATION_FAILED"

    def __init__(self, message: str = "", problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        """``model.problem.Problem``: all of them, in document order; none if the file could not be read."""


class WorkflowNotFound(WorkflowError):
    """No workflow of this id is known."""

    code, name = -28002, "WORKFLOW_NOT_FOUND"


class WorkflowTimeout(WorkflowError):
    """The workflow took longer than its ``timeout``, and what ran of it was ended."""

    code, name = -28004, "WORKFLOW_TIMEOUT"


class WorkflowConflict(WorkflowError):
    """The workflow exists already with another content, or is past the state that was asked for."""

    code, name = -28007, "WORKFLOW_INVALID_STATE"


class TaskError(GleitzeitError):
    """Base of what can end an attempt of a task without a result."""

    code, name = -29002, "TASK_EXECUTION_FAILED"

    def __init__(
        self, message: str = "", *, retryable: bool | None = None, retry_after: float | None = None
    ) -> None:
        """``retryable`` overrides the table for this one error, as a provider knows more about its cause."""
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable
        if retry_after is not None:
            self.retry_after = retry_after


class ExecutionFailed(TaskError):
    """The work itself failed: a script raised, a command returned non-zero."""

    code, name, retryable = -29002, "TASK_EXECUTION_FAILED", True


class TaskTimeout(TaskError):
    """The attempt took longer than its ``timeout``, or one of the task's ``timeouts`` was over."""

    code, name, retryable = -29003, "TASK_TIMEOUT", True


class TaskCancelled(TaskError):
    """Somebody cancelled the task or its workflow."""

    code, name = -29004, "TASK_CANCELLED"


class DependencyFailed(TaskError):
    """A task that this one depends on did not complete."""

    code, name = -29005, "TASK_DEPENDENCY_FAILED"


class ParameterInvalid(TaskError):
    """A parameter has the wrong type or value, or a reference in it has nothing to refer to."""

    code, name = -29006, "TASK_PARAMETER_INVALID"


class ResultInvalid(TaskError):
    """The result is no JSON, breaks the method's schema, or is too large."""

    code, name = -29007, "TASK_RESULT_INVALID"


class TaskNotFound(TaskError):
    """No task of this id is in the workflow."""

    code, name = -29009, "TASK_NOT_FOUND"


class SecretNotAvailable(TaskError):
    """A task names a secret that the provider's host does not have, or that tasks may not have there."""

    code, name = -29010, "SECRET_NOT_AVAILABLE"


class ResourcesExceeded(TaskError):
    """The work needed more of the machine than its ``resources`` or the provider's settings allow."""

    code, name = -29011, "TASK_RESOURCES_EXCEEDED"


class ProtocolNotFound(TaskError):
    """No such protocol is registered."""

    code, name = -30001, "PROTOCOL_NOT_FOUND"


class ProviderNotAvailable(TaskError):
    """No provider of the protocol is connected, or it went away during the call."""

    code, name, retryable = -30003, "PROVIDER_NOT_AVAILABLE", True


class ProviderTimeout(TaskError):
    """The provider did not answer within the deadline."""

    code, name, retryable = -30005, "PROVIDER_TIMEOUT", True


class ProviderOverloaded(TaskError):
    """The provider has no room for another call."""

    code, name, retryable = -30006, "PROVIDER_OVERLOADED", True


class MethodNotSupported(TaskError):
    """The protocol has no such method."""

    code, name = -30008, "METHOD_NOT_SUPPORTED"


class RateLimited(TaskError):
    """The service behind a provider asks for fewer requests."""

    code, name, retryable = -30009, "RATE_LIMIT_EXCEEDED", True


class StoreError(GleitzeitError):
    """The store cannot read or write now."""

    code, name, retryable = -26001, "PERSISTENCE_CONNECTION_FAILED", True


class StoreCorrupt(StoreError):
    """The database is damaged; the message says what to do."""

    code, name, retryable = -26003, "PERSISTENCE_DATA_CORRUPT", False


class StoreLocked(StoreError):
    """Another process has the database."""

    code, name, retryable = -26004, "PERSISTENCE_LOCKED", False


def _names(kind: type[GleitzeitError]) -> set[str]:
    return {kind.name}.union(*(_names(each) for each in kind.__subclasses__()))


NAMES = frozenset(_names(GleitzeitError))
"""Every name in the table."""
