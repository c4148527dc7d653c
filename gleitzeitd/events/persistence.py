"""Events to and from the ledger."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events.base import SAVED, Delivery, Event, Kind, To, event, route
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.audit import Actor
from gleitzeitd.model.ledger import Execution, LeaseWish
from gleitzeitd.model.names import ComponentId, Role, Shard, WorkflowId
from gleitzeitd.plain import Json
from gleitzeitd.record import record

_READERS = (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER, Role.CLIENT)


@event(
    "save_workflow",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.DEPENDENCY_RESOLVER, To.ONE, Role.PERSISTENCE)],
    answers=SAVED,
)
class SaveWorkflow(Event):
    """Accept this workflow; answered by ``data_saved``: ``ok``, or ``duplicate`` (the same id and digest)."""

    workflow_id: WorkflowId
    digest: str
    """SHA-256 of the document and the inputs, in hex."""
    workflow: Json
    """``model.workflow.Workflow`` as plain data: checked, in the one spelling we give out."""
    inputs: dict[str, Json] = field(default_factory=dict)
    """Complete, with defaults applied."""
    epoch: int = 0
    """Under which the resolver owns the shard."""
    by: Actor | None = None
    """Who has submitted it, as the hub has said to the resolver."""


@event(
    "data_saved",
    kind=Kind.REPLY,
    routes=[
        route(
            Role.PERSISTENCE,
            To.COMPONENT,
            (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER, Role.EXECUTION_ENGINE, Role.CLIENT),
        ),
        route((Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER), To.COMPONENT, Role.CLIENT, says_role=True),
    ],
)
class DataSaved(Event):
    """What became of a change, sent after the commit."""

    status: str
    """``ok``; ``duplicate``: it was so already; ``stale``: the state or attempt is another by now, or the
    sender no longer owns the shard; ``conflict``: the same id with another content; ``missing``."""
    executions: list[Execution] = field(default_factory=list)
    """For ``task_available``: the leases granted, with all that an engine needs."""
    refused: list[LeaseWish] = field(default_factory=list)
    """For ``task_available``: the leases not granted; the tasks are not ready, or not at this attempt."""
    message: str = ""


@event(
    "delete_workflow",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.ONE, Role.PERSISTENCE, by=UserRole.OPERATOR)],
    answers=SAVED,
)
class DeleteWorkflow(Event):
    """Keep nothing of a finished workflow any more: no task, no result, no history.

    Answered by ``data_saved``: ``ok``, or ``duplicate`` (there is no such workflow); or by
    ``persistence_error`` with ``WORKFLOW_INVALID_STATE`` (-28007), if it has not finished: cancel it first.
    """

    workflow_id: WorkflowId

    def shard(self) -> Shard | None:
        """It goes to persistence, whatever the shard."""
        return None


@event(
    "persistence_error",
    kind=Kind.REPLY,
    routes=[
        route(Role.PERSISTENCE, To.COMPONENT, (*_READERS, Role.EXECUTION_ENGINE)),
        route((Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER), To.COMPONENT, Role.CLIENT, says_role=True),
    ],
)
class PersistenceError(Event):
    """The ledger could not do it; if the error is retryable, asking again can help. Or the asker may not ask
    for it, since the workflow is not of its namespace.
    """

    error: ErrorInfo


@event(
    "query_data",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(_READERS, To.ONE, Role.PERSISTENCE, by=UserRole.VIEWER)],
    answers=("data_retrieved", "persistence_error"),
)
class QueryData(Event):
    """Read the ledger; answered by ``data_retrieved``, a page at a time."""

    kind_of_data: str
    """``workflow`` (one workflow with its tasks), ``workflows``, ``tasks``, ``results``, ``output``,
    ``history`` (a workflow's feed), and for a role ``feed`` and ``snapshot`` of a shard."""
    workflow_id: WorkflowId | None = None
    task_ids: list[str] = field(default_factory=list)
    shard_number: Shard | None = None
    audience: Role | None = None
    """For ``feed`` and ``snapshot``: the follower's role."""
    after: Json = None
    """Where to go on: the ``next`` of the page before."""
    limit: int = 500
    status: str | None = None
    name_contains: str | None = None
    id_prefix: str = ""
    """For ``workflows``: those whose ids begin with it. The ledger sets it to the asker's namespace."""

    def shard(self) -> Shard | None:
        """It goes to persistence, whatever the shard."""
        return None


@event("data_retrieved", kind=Kind.REPLY, routes=[route(Role.PERSISTENCE, To.COMPONENT, _READERS)])
class DataRetrieved(Event):
    """One page."""

    items: list[Json]
    next: Json = None
    """None: this was the last page."""
    number: int = 0
    """For ``feed`` and ``snapshot``: the shard's last number when the page was read."""
    horizon: int = 0
    """For ``feed``: up to this number entries may be missing, those of deleted workflows. A follower that has
    not come so far reads a snapshot instead."""
    known: bool = True
    """For ``history``: whether there is such a workflow. Finished ones are deleted after a while."""


@record
class ShardClaim:
    """What the ledger says of one shard."""

    shard: Shard
    epoch: int
    number: int
    """The last feed number for the claimant's role: whoever is behind it and hears nothing has lost
    something."""


@event(
    "claim_shard",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route((Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER), To.ONE, Role.PERSISTENCE, says_role=True)],
    answers=("shard_claimed", "persistence_error"),
)
class ClaimShard(Event):
    """Give me shards of my role, and keep those that I have; repeated every second."""

    role: Role
    incarnation: str
    """``COMPONENT_ID.EPOCH``, which names this process: a restarted component is another owner."""
    release: bool = False
    """The claimant is ending: give its shards to others."""


@event(
    "shard_claimed",
    kind=Kind.REPLY,
    routes=[route(Role.PERSISTENCE, To.COMPONENT, (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER))],
)
class ShardClaimed(Event):
    """Answers ``claim_shard``: all that the asker owns now; what is not here belongs to somebody else."""

    owned: list[ShardClaim]
    owner_seconds: float
    """The asker owns them for so long from when it asked; then they may go to another."""
    claimants: list[ComponentId] = field(default_factory=list)


@event(
    "query_owners",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.EXECUTION_ENGINE, To.ONE, Role.PERSISTENCE)],
    answers=("shard_owners", "persistence_error"),
)
class QueryOwners(Event):
    """Which queue manager may give tasks of which shard? Asked when one gives some that was not known to."""


@event("shard_owners", kind=Kind.REPLY, routes=[route(Role.PERSISTENCE, To.COMPONENT, Role.EXECUTION_ENGINE)])
class ShardOwners(Event):
    """Answers ``query_owners``."""

    owners: dict[str, ComponentId]
    """Shard (in decimal) to the queue manager that owns it now; a shard that nobody owns is missing."""
