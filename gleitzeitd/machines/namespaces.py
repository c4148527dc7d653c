"""What a client that is confined to a namespace may ask for.

The hub stamps the namespace of its token on what it sends; whoever gets that refuses what is about the
workflows of others, whether they exist or not, so that nobody learns which do. Lists hold what is within.
"""

from __future__ import annotations

from dataclasses import replace

from gleitzeitd.errors import NotPermitted
from gleitzeitd.events import Event
from gleitzeitd.events.dependency_resolver import SubmitWorkflow, WorkflowRefused
from gleitzeitd.events.persistence import PersistenceError, QueryData
from gleitzeitd.model.access import NAMESPACE_END, in_namespace

LISTS = frozenset({"workflows"})
"""What ``query_data`` reads of all workflows, and leaves out those of others."""


def trespass(event: Event, namespace: str | None) -> NotPermitted | None:
    """Why an event from within a namespace is refused; None if it is not."""
    if namespace is None:
        return None
    workflow_id = getattr(event, "workflow_id", None)
    if workflow_id is not None:
        if in_namespace(workflow_id, namespace):
            return None
        return NotPermitted(
            f"{event.name}.workflow_id: expected an id that begins with {namespace + NAMESPACE_END!r}, "
            f"since the token is for this namespace, found {str(workflow_id)[:200]!r}: use another id"
        )
    if isinstance(event, QueryData) and event.kind_of_data not in LISTS:
        return NotPermitted(
            f"query_data.kind_of_data: {event.kind_of_data[:100]} without a workflow_id is about all of "
            f"them, and the token is for the namespace {namespace}: name a workflow"
        )
    return None


def within(query: QueryData, namespace: str | None) -> QueryData:
    """A query that finds nothing outside of a namespace."""
    if namespace is None or in_namespace(query.id_prefix, namespace):
        return query
    return replace(query, id_prefix=namespace + NAMESPACE_END)


def refusal(event: Event, problem: NotPermitted) -> Event:
    """How that is answered."""
    if isinstance(event, SubmitWorkflow):
        return WorkflowRefused(workflow_id=event.workflow_id, error=problem.info())
    return PersistenceError(error=problem.info())
