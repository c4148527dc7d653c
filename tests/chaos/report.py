"""The account of a run: a table for people, and one line of JSON."""

from __future__ import annotations

import json
from typing import Any

from tests.chaos.run import Account

SHOWN = 30
"""Violations printed; the JSON line has all."""


def figures(account: Account) -> dict[str, Any]:
    """All figures."""
    plans, found = account.plans, account.findings
    faults = account.faults.total()
    waits = sorted(plan.accepted_at - plan.begun_at for plan in plans if plan.accepted_at)
    lasting = sorted(plan.ended_at - plan.accepted_at for plan in plans if plan.ended_at)
    return {
        "seed": account.options.seed,
        "minutes": round(account.options.seconds / 60, 2),
        "faults": faults,
        "faults_by_kind": dict(sorted(account.faults.items())),
        "submitted": len(plans),
        "accepted": len(waits),
        "finished": found.finished,
        "tasks": found.tasks,
        "executions": found.executions,
        "extra": found.extra,
        "extra_per_fault": round(found.extra / faults, 3) if faults else None,
        "lost_too_often": found.lost_too_often,
        "seconds_to_drain": None if account.drained is None else round(account.drained, 2),
        "seconds_to_accept": _spread(waits),
        "seconds_to_end": _spread(lasting),
        "processes": account.watchman.table(),
        "violations": account.all_violations,
    }


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    places = {"median": 0.5, "p95": 0.95, "greatest": 1.0}
    return {
        name: round(values[min(int(len(values) * at), len(values) - 1)], 2) for name, at in places.items()
    }


def as_json(account: Account) -> str:
    """One line."""
    return json.dumps(figures(account))


def as_table(account: Account) -> str:
    """For people."""
    all_figures = figures(account)
    lines = [""]
    for key, value in all_figures.items():
        if key in ("processes", "violations", "lost_too_often"):
            continue
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(f"{key.replace('_', ' '):20} {shown}")
    lines.append(f"{'lost too often':20} {len(account.findings.lost_too_often)}")
    lines += [f"    {each}" for each in account.findings.lost_too_often[:SHOWN]]
    lines += ["", f"{'longest-lived process':24}{'seconds':>8}  {'megabytes':22}descriptors"]
    for name, each in all_figures["processes"].items():
        megabytes, descriptors = (
            " -> ".join(f"{value:g}" for value in each[key]) for key in ("megabytes", "descriptors")
        )
        lines.append(f"{name:24}{each['seconds'][0]:>8}  {megabytes:22}{descriptors}")
    violations = account.all_violations
    lines += ["", f"violations: {len(violations) or 'none'}"]
    lines += [f"    {each}" for each in violations[:SHOWN]]
    if len(violations) > SHOWN:
        lines.append(f"    ... and {len(violations) - SHOWN} more")
    return "\n".join(lines)
