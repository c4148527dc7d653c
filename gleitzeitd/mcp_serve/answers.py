"""What a host is told: plain data for programs, and the same as text for a model.

    ended        {"workflow_id", "status", "results": {task: result}}, of a method "result"
    still going  {"workflow_id", "status", "tasks": {status: count}}, and text that says how to ask
    an error     {"error": {"code", "name", "message"}}, and "problems": [{"path", "message"}] if known

Of a workflow's tasks, those are told that no other one depends on; any other is told if it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gleitzeitd.errors import ErrorInfo, GleitzeitError, TaskNotFound
from gleitzeitd.mcp_serve.tools import CALL, SUBMITTED_BY
from gleitzeitd.model.ledger import TaskState
from gleitzeitd.model.problem import Problem, dotted
from gleitzeitd.model.report import Blocking, TaskResult, WorkflowReport, WorkflowResult, plain_error
from gleitzeitd.plain import Json, did_you_mean

RESULT, STATUS, CANCEL = "gleitzeit_result", "gleitzeit_status", "gleitzeit_cancel"
"""The names of our own tools."""
BYTES_LIMIT = 1_000_000
"""Of results as JSON in one answer; more than that no model reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call is answered with."""

    content: dict[str, Json]
    text: str
    failed: bool = False


def origin(report: WorkflowReport) -> Json:
    """What a workflow came from, if it came from a host; None otherwise."""
    document = report.document
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if not isinstance(metadata, dict) or metadata.get("submitted_by") != SUBMITTED_BY:
        return None
    return metadata.get("mcp")


def ended(report: WorkflowReport, result: WorkflowResult, task: str = "") -> Answer:
    """What became of a workflow; of one ``task`` of it, if it is named.

    Raises:
        TaskNotFound: it has no such task.
    """
    if task and task not in result.tasks:
        raise TaskNotFound(f"{result.workflow_id} has no task {task!r}{did_you_mean(task, result.tasks)}")
    content: dict[str, Json] = {"workflow_id": result.workflow_id, "status": result.status}
    came = origin(report)
    if isinstance(came, dict) and "method" in came:
        content["result"] = result.tasks[CALL].result if CALL in result.tasks else None  # type: ignore[index]
    else:
        shown = [task] if task else _last(report)
        content["results"] = {
            each: one.result
            for each, one in result.tasks.items()
            if each in shown and one.status == TaskState.DONE.value
        }
    _bounded(content)
    if result.completed:
        return Answer(content=content, text=_text(content))
    errors = {key: plain_error(one.error) for key, one in result.tasks.items() if one.error is not None}
    error = _error(result)
    content |= {"error": plain_error(error), "errors": errors}
    if result.reason:
        content["reason"] = result.reason
    return Answer(content=content, text=f"{_numbered(error)}\n{_text(content)}", failed=True)


def _last(report: WorkflowReport) -> set[str]:
    """The tasks that no other one depends on."""
    # The ledger keeps a workflow as it was read: with all dependencies, also those that references imply.
    tasks: list[Json] = report.document.get("tasks") or []
    needed = {each for task in tasks for each in task.get("dependencies") or ()}
    return {task["id"] for task in tasks} - needed


def _error(result: WorkflowResult) -> ErrorInfo:
    failed = [task for task in result.tasks.values() if _has_failed(task)]
    if len(failed) == 1 and failed[0].error is not None:
        return failed[0].error
    if result.error is not None:
        return result.error
    kind = "was cancelled" if result.status == "cancelled" else f"has ended as {result.status}"
    return GleitzeitError(f"the workflow {kind}").info()


def _has_failed(task: TaskResult) -> bool:
    return task.status == TaskState.FAILED.value and task.error is not None


def _bounded(content: dict[str, Json]) -> None:
    """Results that are too long for an answer give way to a word about where they are."""
    key = "results" if "results" in content else "result"
    size = len(_text(content[key]).encode())
    if size > BYTES_LIMIT:
        where = f"{size} bytes are too many for an answer"
        content[key] = dict.fromkeys(content[key]) if key == "results" else None
        content["left_out"] = f"{where}; gleitzeit result {content['workflow_id']} --json prints them"


def going(report: WorkflowReport, counts: Mapping[str, int], seconds: float | None = None) -> Answer:
    """A workflow that has not ended; ``seconds``: it was waited for so long."""
    workflow_id = report.workflow_id
    content: dict[str, Json] = {
        "workflow_id": workflow_id,
        "status": report.status,
        "tasks": dict(counts),
        "blocked": [_why(each) for each in report.blocked],
    }
    since = f" after {seconds:g} s" if seconds is not None else ""
    lines = [f"{workflow_id} is {report.status}{since}; tasks: {_counted(counts)}."]
    lines += [f"Waiting: {each}." for each in content["blocked"]]
    return Answer(content=content, text="\n".join([*lines, how_to_ask(workflow_id)]))


def unseen(workflow_id: str, problem: GleitzeitError) -> Answer:
    """A workflow that is durable, of which nobody can say now how it stands."""
    content: dict[str, Json] = {"workflow_id": workflow_id, "status": "running"}
    text = f"{workflow_id} was accepted and goes on; how it stands cannot be asked now ({problem})."
    return Answer(content=content, text=f"{text}\n{how_to_ask(workflow_id)}")


def how_to_ask(workflow_id: str) -> str:
    """With which tools, and with what."""
    handle = json.dumps({"workflow_id": workflow_id})
    return (
        f"It goes on whether or not anybody asks. {RESULT} {handle} waits for its result, {STATUS} tells how "
        f"it stands, {CANCEL} ends it."
    )


def standing(report: WorkflowReport, counts: Mapping[str, int]) -> Answer:
    """How a workflow stands, whether it has ended or not."""
    if not report.has_ended:
        return going(report, counts)
    content: dict[str, Json] = {
        "workflow_id": report.workflow_id,
        "status": report.status,
        "tasks": dict(counts),
        "blocked": [],
    }
    text = f"{report.workflow_id} is {report.status}; tasks: {_counted(counts)}."
    return Answer(content=content, text=text)


def cancelling(report: WorkflowReport) -> Answer:
    """A workflow of which nothing more will run."""
    content: dict[str, Json] = {"workflow_id": report.workflow_id, "status": report.status}
    text = f"{report.workflow_id} is {report.status}: nothing more of it starts, and what runs is ended."
    return Answer(content=content, text=text)


def refused(error: GleitzeitError, problems: Sequence[Problem] = (), workflow_id: str = "") -> Answer:
    """An error, with its number."""
    content: dict[str, Json] = {"error": plain_error(error.info())}
    if workflow_id:
        content["workflow_id"] = workflow_id
    if problems:
        content["problems"] = [{"path": dotted(each.path), "message": each.message} for each in problems]
    return Answer(content=content, text=_numbered(error.info()), failed=True)


def _numbered(error: ErrorInfo) -> str:
    return f"[{error.name} {error.code}] {error.message}"


def _why(blocking: Blocking) -> str:
    until = f" ({blocking.unblocked_by})" if blocking.unblocked_by else ""
    return f"{blocking.reason}{until}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none yet"


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
