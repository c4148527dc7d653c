"""What a status of gRPC is here. Whoever called a server learns by our numbers whether another attempt helps.

    status                 error               another attempt
    CANCELLED              ExecutionFailed     yes: the server gave up
    UNKNOWN                ExecutionFailed     yes: as a script that raised
    INVALID_ARGUMENT       ParameterInvalid    no
    DEADLINE_EXCEEDED      TaskTimeout         yes; ExecutionFailed, if it was a deadline of the server's own
    NOT_FOUND              ExecutionFailed     no
    ALREADY_EXISTS         ExecutionFailed     no
    PERMISSION_DENIED      ExecutionFailed     no
    RESOURCE_EXHAUSTED     RateLimited         yes, after grpc-retry-pushback-ms or retry-after, if it says
                                               so; ResultInvalid and no, if a message was too large
    FAILED_PRECONDITION    ExecutionFailed     no
    ABORTED                ExecutionFailed     yes
    OUT_OF_RANGE           ParameterInvalid    no
    UNIMPLEMENTED          MethodNotSupported  no
    INTERNAL               ExecutionFailed     yes
    UNAVAILABLE            ExecutionFailed     yes: no connection, or it was lost
    DATA_LOSS              ExecutionFailed     no
    UNAUTHENTICATED        ExecutionFailed     no

ProviderNotAvailable and ProviderOverloaded speak of this provider, not of servers behind it: attempts that
end so are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from gleitzeitd.errors import (
    ExecutionFailed,
    MethodNotSupported,
    ParameterInvalid,
    RateLimited,
    ResultInvalid,
    TaskError,
    TaskTimeout,
)

DETAILS_SHOWN = 1000
"""Characters of what a server says that an error carries."""
PUSHBACK_LIMIT = 86400.0
"""Seconds; a server that asks for more gets this."""
_OURS: dict[str, type[TaskError]] = {
    "INVALID_ARGUMENT": ParameterInvalid,
    "OUT_OF_RANGE": ParameterInvalid,
    "RESOURCE_EXHAUSTED": RateLimited,
    "UNIMPLEMENTED": MethodNotSupported,
}
_PASSES = frozenset({"CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNAVAILABLE"})
"""Of those that are ExecutionFailed: what can pass by itself."""
_TOO_LARGE = ("received message larger than max", "sent message larger than max")


def error_for(
    status: str, where: str, details: str, trailers: Mapping[str, str], *, overdue: bool = False
) -> TaskError:
    """The error that stands for ``status``, in upper case; ``overdue``: the call's own deadline is over."""
    said = details.strip()[:DETAILS_SHOWN]
    message = f"{where}: {status}{f': {said}' if said else ''}"
    if status == "DEADLINE_EXCEEDED" and overdue:
        return TaskTimeout(message)
    if status == "RESOURCE_EXHAUSTED" and any(text in said.lower() for text in _TOO_LARGE):
        return ResultInvalid(message)
    if kind := _OURS.get(status):
        return kind(message, retry_after=_pushback(trailers) if kind is RateLimited else None)
    return ExecutionFailed(message, retryable=status in _PASSES, retry_after=_pushback(trailers))


def _pushback(trailers: Mapping[str, str]) -> float | None:
    """Seconds for which the server wants to be left alone."""
    for key, unit in (("grpc-retry-pushback-ms", 0.001), ("retry-after", 1.0)):
        value = trailers.get(key, "")
        if value.isascii() and value.isdecimal():
            return min(float(value[:12]) * unit, PUSHBACK_LIMIT)
    return None
