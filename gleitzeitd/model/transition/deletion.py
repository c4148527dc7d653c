"""The rule for deleting a workflow that has ended, and what a deletion means to everybody else.

Nothing unfinished is ever deleted, whoever asks: it is cancelled first. A deletion is one change as any
other: in its transaction the workflow is gone for all who read, with its tasks, results and feed entries.
What they occupied is given back later, a bounded number of rows at a time (``Store.sweep``).

*The feed's numbers.* They are never given again, and never go back. A shard remembers the greatest number
that a deleted workflow had, its *horizon*: over it the numbers are dense; up to it entries may be missing
(those of unfinished and kept workflows are there). Who is at the horizon or past it has missed nothing. A
follower that is behind it cannot know what it has missed, and reads a snapshot. A watcher of the deleted
workflow finds no such workflow, and is told so.

*Repeats.* A report about a deleted workflow is ``stale``, as of any attempt that is over. A repeat of its
submission, which was under way for long, must not run it once more: for a while the ledger remembers the
chain of events (the correlation id) in which it was submitted, and answers ``duplicate``. Any other
submission of the same id is a new workflow. Deleting what is not there is a ``duplicate``, too.
"""

from __future__ import annotations

from gleitzeitd.model.change import DeleteWorkflow, Outcome, Status
from gleitzeitd.model.ledger import OPEN, Rows
from gleitzeitd.model.transition.rules import apply


@apply.register
def _delete_workflow(change: DeleteWorkflow, rows: Rows, at: str) -> Outcome:
    workflow = rows.workflow(change.workflow_id)
    if workflow is None:
        return Outcome(status=Status.DUPLICATE, message=f"no workflow {change.workflow_id}")
    if workflow.state in OPEN:
        found = f"{change.workflow_id} is {workflow.state.value}: cancel it first, and wait for its end"
        return Outcome(status=Status.STALE, message=found)
    shard = rows.shard(workflow.shard)
    if workflow.last_number > shard.horizon:
        shard.horizon = workflow.last_number
        rows.put_shard(shard)
    rows.delete_workflow(workflow, at)
    return Outcome()
