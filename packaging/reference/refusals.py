"""What is refused, and what is bounded, in Markdown: numbers of errors, and settings that are limits."""

from __future__ import annotations

from collections.abc import Iterator

from gleitzeitd import errors
from gleitzeitd.config.reference import described
from gleitzeitd.machines.dependency_resolver import Settings as ResolverSettings
from gleitzeitd.machines.hub_settings import Settings as HubSettings
from gleitzeitd.machines.persistence import Settings as LedgerSettings
from gleitzeitd.machines.provider import Settings as CallSettings
from gleitzeitd.model.limits import WorkflowLimits
from reference.words import defined, unmarked

NO_LIMITS = {"host", "port", "allowed_origins", "client_certificates", "host_names", "heartbeat_interval"} | {
    "ping_interval",
    "ping_timeout",
    "trace_records",
}
"""Settings of a hub that bound nothing that others do."""
OF_OTHERS = {
    "dependency_resolver": (ResolverSettings, {"workflows"}),
    "persistence": (LedgerSettings, {"pending_limit", "audit_refusals", "audit_records"}),
    "calls": (CallSettings, {"backlog", "max_kept", "max_kept_bytes"}),
}
"""Sections of other roles, and what of them is a limit."""


def numbers() -> Iterator[str]:
    """Every error, by its number."""
    found: dict[int, type[errors.GleitzeitError]] = {}
    for cls in _below(errors.GleitzeitError):
        found.setdefault(cls.code, cls)
    for code in sorted(found, reverse=True):
        cls = found[code]
        again = "Another attempt can succeed." if cls.retryable else ""
        about = unmarked((cls.__doc__ or "").partition("\n\n")[0])
        yield from defined(f"`{code} {cls.name}`", [f"{about} {again}".strip()])


def limits() -> Iterator[str]:
    """Every setting that is a limit of what comes over the wire, with what happens there."""
    for section, name, about in settings():
        yield from defined(f"`{section}.{name}`", [unmarked(about)])


def settings() -> Iterator[tuple[str, str, str]]:
    """Section, name and meaning of these."""
    for section, cls, wanted in (
        ("hub", HubSettings, None),
        ("workflow_limits", WorkflowLimits, None),
        *((section, *found) for section, found in OF_OTHERS.items()),
    ):
        for one in described((section,), cls):
            if one.name not in NO_LIMITS if wanted is None else one.name in wanted:
                yield section, one.name, one.about


def _below(cls: type[errors.GleitzeitError]) -> Iterator[type[errors.GleitzeitError]]:
    yield cls
    for each in cls.__subclasses__():
        yield from _below(each)
