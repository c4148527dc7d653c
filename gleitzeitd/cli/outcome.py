"""What became of a workflow, as text: the results, the errors, and one line that sums it up."""

from __future__ import annotations

from collections.abc import Sequence

from gleitzeitd.cli.show import (
    between,
    cell_width,
    clipped,
    count_text,
    duration,
    printable,
    result_lines,
    status_text,
    style,
    terminal_width,
)
from gleitzeitd.model.ledger import TaskState
from gleitzeitd.model.report import TaskResult, WorkflowResult
from gleitzeitd.plain import Json

LISTED = 20
"""So many results, and so many errors, are listed in full number."""
RESULTS_SHOWN = 5
"""Of more results, so many: the last ones in the document."""
WIDTH = 80
"""Columns, where there is no terminal."""
MARGIN = 4

_SCRIPT = frozenset({"result", "output", "success", "error", "execution_time"})
_COMMAND = frozenset({"exit_code", "stdout", "stderr", "execution_time"})
"""What the results of ``python/execute`` and ``shell/execute`` consist of."""
_ANSWER = frozenset({"response", "content", "provider_id", "json"})
"""What the result of ``llm/chat`` has, among others."""


def outcome_lines(result: WorkflowResult, *, short: bool) -> list[str]:
    """Results, then errors; ``short``: cut to what fits a screen."""
    done = [t for t in result.tasks.values() if t.status == TaskState.DONE.value and t.result is not None]
    failed = [t for t in result.tasks.values() if t.status == TaskState.FAILED.value]
    lines = []
    if done:
        lines += ["", style("results", bold=True)]
        shown = done[-RESULTS_SHOWN:] if short and len(done) > LISTED else done
        if len(shown) < len(done):
            lines.append(f"  ({len(done) - len(shown)} more: gleitzeit result {result.workflow_id})")
        for task in shown:
            lines += _result(task, short=short)
    if failed:
        lines += ["", style("errors", bold=True)]
        shown = failed[:LISTED] if short else failed
        for task in shown:
            lines += _error(task)
        if len(shown) < len(failed):
            lines.append(f"  ({len(failed) - len(shown)} more: gleitzeit result {result.workflow_id})")
    return lines


def essence(result: Json) -> Json:
    """What a person looks for in a result: the value of a script, the output of a command, a model's answer,
    else all of it.

    What a script has printed stands for a value that it does not have; the errors of a command stand below
    its output if it has failed.
    """
    if isinstance(result, dict) and result.keys() == _SCRIPT:
        printed = str(result["output"]).rstrip("\n")
        return printed if result["result"] is None and printed else result["result"]
    if isinstance(result, dict) and result.keys() == _COMMAND:
        said = [str(result["stdout"])]
        if result["exit_code"]:
            said = [f"exit code {result['exit_code']}", *said, str(result["stderr"])]
        return "\n".join(text.rstrip("\n") for text in said if text)
    if isinstance(result, dict) and result.keys() >= _ANSWER:
        return result["response"] if result["json"] is None else result["json"]
    return result


def _result(task: TaskResult, *, short: bool) -> list[str]:
    value = essence(task.result)
    if value == "":
        return _entry(task.task_id, [style("no output", dim=True)])
    limit = 6 if short else None
    room = (terminal_width() or WIDTH) - MARGIN
    lines = result_lines(value, width=room - cell_width(task.task_id), limit=limit)
    if len(lines) > 1:
        lines = result_lines(value, width=room, limit=limit)
    return _entry(task.task_id, lines)


def _error(task: TaskResult) -> list[str]:
    if task.error is None:
        return _entry(task.task_id, ["no reason is known"])
    first, *rest = [printable(line) for line in task.error.message.strip().splitlines()] or [""]
    return _entry(task.task_id, [f"[{task.error.name}] {first}", *rest])


def _entry(task_id: str, lines: Sequence[str]) -> list[str]:
    if len(lines) == 1:
        return [f"  {style(task_id, fg='cyan')}: {lines[0]}"]
    return [f"  {style(task_id, fg='cyan')}:", *(f"    {line}" for line in lines)]


def last_line(result: WorkflowResult) -> str:
    """``completed in 1.2 s: 5 completed``."""
    took = between(result.submitted_at, result.finished_at)
    within = f" {'in' if result.completed else 'after'} {duration(took)}" if took is not None else ""
    reason = f" ({clipped(printable(result.reason), 60)})" if result.reason else ""
    return f"{status_text(result.status)}{reason}{within}: {count_text(result.counts())}"
