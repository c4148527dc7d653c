"""What a client that is confined to a namespace may ask for.

The hub stamps the namespace of its token on what it sends; whoever gets that refuses what is about the
workflows of others, whether they exist or not, so that nobody learns which do. Lists hold what is within.
"""

from __future__ import annotations

from dataclasses import replace

from gleitzeitd.errors import NotPermitted
from gleitzeitd.events import Event
from gleitzeitd.events.dependency_resolver import SubmitWorkflow, WorkflowRefused
from gleitzeitd.events.hub import ComponentInfo, QueryTrace
from gleitzeitd.events.persistence import PersistenceError, QueryData
from gleitzeitd.model.access import NAMESPACE_END, in_namespace
from gleitzeitd.plain import Json

LISTS = frozenset({"workflows"})
"""What ``query_data`` reads of all workflows, and leaves out those of others."""


def trespass(event: Event, namespace: str | None) -> NotPermitted | None:
    """Why an event from within a namespace is refused; None if it is not."""
    if namespace is None:
        return None
    workflow_id = getattr(event, "workflow_id", None)
    if workflow_id is not None:
        return None if in_namespace(workflow_id, namespace) else _outside(workflow_id, namespace)
    if isinstance(event, QueryData) and event.kind_of_data not in LISTS:
        return NotPermitted(
            f"query_data.kind_of_data: {event.kind_of_data[:100]} without a workflow_id is about all of "
            f"them, and the token is for the namespace {namespace}: name a workflow"
        )
    return None


def _outside(workflow_id: str, namespace: str) -> NotPermitted:
    return NotPermitted(
        f"workflow_id: expected an id that begins with {namespace + NAMESPACE_END!r}, since the token is for "
        f"this namespace, found {str(workflow_id)[:200]!r}: use another id"
    )


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


# --- what the hub itself answers


OF_ALL = frozenset({"*", "components", "queues"})
"""Topics that are no workflow's: of ``*``, a client in a namespace gets what is within."""


def check_topic(topic: Json, namespace: str) -> None:
    """Refuse what says itself that it is about a workflow of others; its receiver looks at what it is about.

    Raises:
        NotPermitted: it does.
    """
    if topic is not None and not (type(topic) is str and in_namespace(topic, namespace)):
        raise _outside(topic, namespace)


def check_watching(topics: list[str], namespace: str | None) -> None:
    """Refuse to have workflows of others watched.

    Raises:
        NotPermitted: one of the topics is one.
    """
    for topic in topics if namespace is not None else ():
        if topic not in OF_ALL and not in_namespace(topic, namespace):
            raise NotPermitted(
                f"subscribe.topics: expected workflows of the namespace {namespace}, for which the token is, "
                f"found {topic[:200]!r}: leave it out, or watch '*', which is all that you may see"
            )


def check_trace(query: QueryTrace, namespace: str | None) -> None:
    """Refuse to show what others do.

    Raises:
        NotPermitted: the query is not about one chain of events. Who knows its id takes part in it.
    """
    if namespace is not None and query.correlation is None:
        raise NotPermitted(
            f"query_trace.correlation: missing, and the token is for the namespace {namespace}: name the "
            "correlation id of one of its workflows"
        )


def without_names(info: ComponentInfo) -> ComponentInfo:
    """A component as those see it who are in a namespace: of what it says of itself, figures only."""
    figures = {key: value for key, value in info.metrics.items() if type(value) in (int, float, bool)}
    return replace(info, metrics=figures)
