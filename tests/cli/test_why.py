"""gleitzeit why: the cause behind every state of a task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gleitzeitd.cli.presence import Presence
from gleitzeitd.cli.why import Explanation, System
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events.hub import ComponentInfo
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.model.report import Blocking, TaskReport
from tests.cli.fake_client import FakeClient, a_task, a_workflow, call

FAILED = ErrorInfo(code=-29002, name="TASK_EXECUTION_FAILED", message="no luck")


def explain(*tasks: TaskReport, system: System | None = None, **workflow: Any) -> Explanation:
    return Explanation(a_workflow(**{"status": "running", **workflow}), tasks, system or System())


def test_a_chain_leads_to_the_root_cause() -> None:
    explanation = explain(
        a_task("a", "failed", error=FAILED, attempt=3),
        a_task("b", "skipped", dependencies=["a"]),
        a_task("c", "skipped", dependencies=["b"]),
    )
    cause = explanation.of_task("c")
    assert cause.chain == ["c", "b", "a"]
    assert cause.reason == (
        "it was skipped because of b; a (failed): [TASK_EXECUTION_FAILED] no luck after 3 attempts"
    )
    assert cause.remedies == ["gleitzeit logs pipeline-1f0a a"]


def test_a_workflow_names_each_cause_once_and_who_depends_on_it() -> None:
    explanation = explain(
        a_task("a", "running", engine="e-1"),
        *(a_task(f"b{n}", "pending", dependencies=["a"]) for n in range(3)),
        a_task("z"),
    )
    (cause,) = explanation.of_workflow()
    assert (cause.task_id, cause.status, cause.waiting) == ("a", "running", 3)


def test_of_several_dependencies_the_failed_one_explains() -> None:
    explanation = explain(
        a_task("slow", "running"),
        a_task("bad", "failed", error=FAILED),
        a_task("c", "pending", dependencies=["slow", "bad"]),
    )
    assert explanation.of_task("c").chain == ["c", "bad"]


def test_a_chain_of_ten_thousand_tasks_is_followed_without_recursion() -> None:
    tasks = [a_task("t0", "running")]
    tasks += [a_task(f"t{n}", "pending", dependencies=[f"t{n - 1}"]) for n in range(1, 10_000)]
    explanation = explain(*tasks)
    (cause,) = explanation.of_workflow()
    assert cause.waiting == 9_999
    assert len(explanation.of_task("t9999").chain) == 10_000


@pytest.mark.parametrize(
    ("task", "system", "reason", "remedy"),
    [
        (
            a_task("a", "queued"),
            System(engines=1, protocols=["python/v1"]),
            "no provider of echo/v1 is connected",
            "gleitzeitd provider echo",
        ),
        (
            a_task("a", "queued"),
            System(engines=0, protocols=["echo/v1"]),
            "no execution engine is connected",
            "gleitzeitd execution-engine",
        ),
        (a_task("a", "queued"), System(), "it waits in the queue for a free slot", "gleitzeit queues"),
        (
            a_task("a", "retry_pending", failures=2, max_attempts=5, retry_delay=4.0, error=FAILED),
            System(),
            "attempt 2 of 5 failed at : no luck; it is tried again 4.0 s after that",
            "gleitzeit logs pipeline-1f0a a",
        ),
        (a_task("a", "assigned", engine="e-1"), System(), "it was given to e-1", ""),
        (a_task("a", "cancelled"), System(), "its workflow was cancelled", ""),
        (
            a_task(
                "a",
                "unknown",
                error=ErrorInfo(code=-30003, name="PROVIDER_NOT_AVAILABLE", message="lost while it ran: cut"),
            ),
            System(),
            "lost while it ran: cut; it may not run twice",
            "gleitzeit resolve pipeline-1f0a a rerun",
        ),
        (
            a_task(
                "a",
                "failed",
                error=ErrorInfo(
                    code=-29003, name="TASK_TIMEOUT", message="waited in the queue longer than 5 s"
                ),
            ),
            System(),
            "[TASK_TIMEOUT] waited in the queue longer than 5 s",
            "",
        ),
        (
            a_task(
                "a",
                "failed",
                error=ErrorInfo(code=-30003, name="PROVIDER_NOT_AVAILABLE", message="nobody"),
            ),
            System(),
            "[PROVIDER_NOT_AVAILABLE] nobody",
            "gleitzeitd provider echo",
        ),
    ],
)
def test_every_state_has_a_reason_and_what_helps(
    task: TaskReport, system: System, reason: str, remedy: str
) -> None:
    cause = explain(task, system=system).of_task("a")
    assert cause.reason.startswith(reason)
    assert remedy in (cause.remedies or [""])


def test_what_the_system_says_of_a_blocked_task_is_the_reason() -> None:
    blocked = [Blocking(reason="the queue is full", unblocked_by="wait", task_ids=["a"], count=1)]
    cause = explain(a_task("a", "queued"), blocked=blocked).of_task("a")
    assert cause.reason == "the queue is full; wait"


def test_the_command_prints_causes_below_each_other() -> None:
    tasks = [a_task("a", "failed", error=FAILED, attempt=1), a_task("b", "skipped", dependencies=["a"])]
    client = FakeClient([a_workflow(status="failed")], tasks)
    assert call(client, "why", "last").output.splitlines() == [
        "pipeline-1f0a  failed",
        "",
        "a  failed",
        "  [TASK_EXECUTION_FAILED] no luck",
        "  1 other task depends on it",
        "  try: gleitzeit logs pipeline-1f0a a",
    ]
    plain = json.loads(call(client, "why", "last", "b", "--json").stdout)
    assert plain["causes"][0]["chain"] == ["b", "a"]


def test_a_workflow_whose_time_was_over_says_so() -> None:
    late = "it took longer than its timeout of 5 s"
    client = FakeClient([a_workflow(status="failed", reason=late)], [a_task("a", "cancelled")])
    assert call(client, "why", "last").output == f"pipeline-1f0a  failed: {late}\n"
    assert call(client, "why", "last", "a").output.splitlines()[1] == f"  its workflow was cancelled: {late}"


def test_nothing_is_wrong_with_a_completed_workflow() -> None:
    output = call(FakeClient([a_workflow()], [a_task("a")]), "why", "last").output
    assert output == "pipeline-1f0a  completed\nevery task is done\n"


def there(component_id: str, role: Role, silent: float = 0.5, **metrics: Any) -> ComponentInfo:
    return ComponentInfo(
        component_id=ComponentId(component_id),
        component_type=role,
        status="healthy",
        heartbeat_age=silent,
        metrics=metrics,
    )


LEDGER = there("ledger", Role.PERSISTENCE, grace_seconds=2.0)
OTHER = there("e-2", Role.EXECUTION_ENGINE)


@pytest.mark.parametrize(
    ("components", "on_lost", "reason"),
    [
        (
            [LEDGER, OTHER],
            "rerun",
            "e-1 is not connected; unless it comes back, another engine gets the task within 3 s",
        ),
        (
            [LEDGER],
            "rerun",
            "the task is queued again within 3 s, and waits: no other execution engine is connected",
        ),
        (
            [LEDGER, OTHER, there("e-1", Role.EXECUTION_ENGINE, 2.8)],
            "rerun",
            "e-1 has not answered for 3 s; unless it comes back, another engine gets the task within 4 s",
        ),
        ([OTHER], "rerun", "another engine gets the task soon"),
        ([LEDGER, OTHER], "ask", "the task becomes unknown within 3 s, since it may not run twice"),
        ([LEDGER, OTHER], "fail", "the task fails within 3 s, since it may not run twice"),
    ],
)
def test_a_task_whose_engine_is_gone_says_so_and_what_happens_next(
    components: list[ComponentInfo], on_lost: str, reason: str
) -> None:
    task = a_task("a", "running", engine="e-1", provider="p-1", started_at="2026-01-31T12:00:00Z")
    document = {"tasks": [{"id": "a", "on_lost": on_lost}]}
    system = System(presence=Presence([*components, there("p-1", Role.PROVIDER)]))
    cause = explain(task, system=system, document=document).of_task("a")
    assert cause.reason.endswith(reason)
    assert cause.remedies == ["gleitzeit components"]


def test_a_task_whose_provider_is_gone_says_so() -> None:
    task = a_task("a", "running", engine="e-2", provider="p-1")
    cause = explain(task, system=System(presence=Presence([LEDGER, OTHER]))).of_task("a")
    assert "p-1 is not connected; unless it comes back, this attempt is lost" in cause.reason


def test_a_task_that_somebody_works_at_merely_runs() -> None:
    task = a_task("a", "running", engine="e-2", provider="p-1")
    presence = Presence([LEDGER, OTHER, there("p-1", Role.PROVIDER)])
    assert explain(task, system=System(presence=presence)).of_task("a").reason.startswith("it runs since")


@pytest.mark.parametrize(
    ("status", "role", "reason"),
    [
        ("queued", Role.QUEUE_MANAGER, "no queue manager is connected"),
        ("pending", Role.DEPENDENCY_RESOLVER, "no dependency resolver is connected"),
        ("queued", Role.EXECUTION_ENGINE, "no execution engine is connected"),
    ],
)
def test_a_task_that_waits_for_a_daemon_which_is_gone_says_so(status: str, role: Role, reason: str) -> None:
    roles = {Role.QUEUE_MANAGER, Role.DEPENDENCY_RESOLVER, Role.EXECUTION_ENGINE} - {role}
    presence = Presence([there(each.value, each) for each in roles])
    cause = explain(a_task("a", status), system=System(presence=presence)).of_task("a")
    assert cause.reason.endswith(reason)
    assert cause.remedies == [f"gleitzeitd {role.value.replace('_', '-')}"]


def test_a_role_that_is_silent_does_nothing() -> None:
    presence = Presence([OTHER, there("q-1", Role.QUEUE_MANAGER, 2.6)])
    cause = explain(a_task("a", "queued"), system=System(presence=presence)).of_task("a")
    assert cause.reason == "no queue manager answers: q-1 has not answered for 3 s"


def test_the_command_compares_with_who_is_connected() -> None:
    client = FakeClient([a_workflow(status="running")], [a_task("a", "running", engine="e-1")])
    client.component_list = [LEDGER, OTHER]
    output = call(client, "why", "last").output
    assert "e-1 is not connected; unless it comes back, another engine gets the task within 3 s" in output
