"""Workflows that a client sends past the command line: the resolver refuses them with all reasons, soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.events import dependency_resolver as d_
from gleitzeitd.events import persistence as p
from gleitzeitd.machines.analysis import analyzed
from gleitzeitd.machines.base import Reply
from gleitzeitd.machines.dependency_resolver import DependencyResolver
from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import WorkflowId, shard_of
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.providers.schema import problems as check
from tests.bad_files.corpus import FILES
from tests.drive import Dialogue, envelope

W = WorkflowId("w")
SECONDS = 2.0
TASK = {"id": "a", "method": "echo/echo"}


def with_task(**more: Any) -> dict[str, Any]:
    return {"tasks": [{**TASK, **more}]}


def with_two(**more: Any) -> dict[str, Any]:
    return {"tasks": [TASK, {"id": "b", "method": "echo/echo", **more}]}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CHAIN = [
    {"id": f"t{n}", "method": "echo/echo", "dependencies": [f"t{(n - 1) % 20_000}"]} for n in range(20_000)
]

BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: None, "the document is empty; expected a table with name and tasks"),
    "text": (lambda: "tasks", "found text; expected a table with name and tasks"),
    "number": (lambda: 1, "found a whole number; expected a table"),
    "list": (lambda: [TASK], "found a list; expected a table"),
    "table": (dict, "a workflow must contain at least one task"),
    "nan": (lambda: with_task(params={"p": float("nan")}), "tasks[0].params.p: NaN and Infinity are no JSON"),
    "infinity": (lambda: with_task(timeout=float("inf")), "tasks[0].timeout: NaN and Infinity are no JSON"),
    "huge int": (lambda: with_task(params={"p": 10**4000}), "tasks[0].params.p: a whole number beyond 2^53"),
    "surrogate": (lambda: with_task(name="\ud800"), "tasks[0].name: half a character"),
    "surrogate key": (lambda: with_task(params={"\udc00": 1}), "holds half a character"),
    "nul in an id": (lambda: {"tasks": [{**TASK, "id": "a\0"}]}, "tasks[0].id: 'a\\x00' cannot be an id"),
    "deep": (lambda: with_task(params={"p": nested(900)}), "nested more than 64 levels deep"),
    "wide": (lambda: with_task(params={"p": [1] * 3_000_000}), "more than 250000 values"),
    "many keys": (lambda: {f"k{n}": n for n in range(100_000)}, "k0: unknown key"),
    "long text": (lambda: with_task(params={"p": "x" * 10_000_000}), "a text of 10000000 characters"),
    "long key": (lambda: {"k" * 10_000_000: 1}, "kkk...: unknown key"),
    "100000 tasks": (lambda: {"tasks": [{"id": f"t{n}", "method": "e/e"} for n in range(100_000)]}, "values"),
    "30000 tasks": (lambda: {"tasks": [{"method": "e/e"}] * 30_000}, "30000 tasks; at most 20000 are possible"),
    "20000 tasks of nothing": (lambda: {"tasks": [None] * 20_000}, "tasks[0]: expected a table, found nothing"),
    "20000 wrong tasks": (lambda: {"tasks": [{"id": [], "method": {}}] * 20_000}, "tasks[0].id: expected text"),
    "20000 of an id": (lambda: {"tasks": [TASK] * 20_000}, "duplicate task id 'a', first used by tasks[0]"),
    "a cycle of 20000": (lambda: {"tasks": CHAIN}, "circular dependencies: t0 -> t19999 -> t19998"),
    "itself": (lambda: with_task(dependencies=["a"]), "task 'a' cannot depend on itself"),
    "nobody": (lambda: with_task(dependencies=["b"] * 10_000), "unknown dependency 'b'"),
    "dependencies": (lambda: with_two(dependencies=["a"] * 10_001), "10001 dependencies; at most 10000"),
    "references": (lambda: with_two(params={"p": "${a}" * 10_001}), "more than 10000 references; put tasks between"),
    "steps": (lambda: with_two(params={"p": "${a" + ".b" * 1_000_000 + "}"}), "a path of 1000000 steps; at most"),
    "brackets": (lambda: with_two(params={"p": "${a" + "[0]" * 500_000 + "}"}), "a path of 500000 steps; at most"),
    "open references": (lambda: with_two(params={"p": "${" * 1_000_000}), "without a readable reference"),
    "open quotes": (lambda: with_two(params={"p": "${['" * 500_000}), "without a readable reference"),
    "python": (lambda: {"tasks": [{"method": "python/execute", "params": {"code": "f'{" * 300_000 + "${"}}]}, "nested"),
    "long python": (lambda: {"tasks": [{"method": "python/execute", "params": {"code": "'' " * 999_999 + "${a}"}}]}, "at most 1000000"),
    "many references": (lambda: {"tasks": [TASK, *({"method": "e/e", "params": {"p": "${a}" * 9000}} for _ in range(200))]}, "more than 100000 references"),
    "inputs": (lambda: {"inputs": {f"i{n}": {} for n in range(1001)}, "tasks": [TASK]}, "1001 inputs; at most 1000"),
    "input of a type": (lambda: {"inputs": {"i": {"type": {"a": []}}}, "tasks": [TASK]}, "unknown type a table"),
    "batch": (lambda: {"batch": {"directory": "/", "pattern": "**/*"}}, "a batch names files"),
    "id": (lambda: {"id": "../../etc/passwd", "tasks": [TASK]}, "'../../etc/passwd' cannot be an id"),
}  # fmt: skip


def analysis(document: Any, limits: WorkflowLimits = LIMITS, **more: Any) -> list[Problem]:
    event = d_.SubmitWorkflow(workflow_id=W, workflow=document, inputs=more.get("inputs", {}))
    started = time.process_time()
    submission, problems = analyzed(event, envelope(event), more.get("protocols", {}), check, limits)
    assert time.process_time() - started < SECONDS
    assert (submission is None) == bool(problems)
    assert len(json.dumps([str(problem) for problem in problems])) < 100_000
    return problems


@pytest.mark.parametrize("name", BAD)
def test_a_bad_workflow_is_refused_with_a_reason_soon(name: str) -> None:
    make, says = BAD[name]
    assert any(says in str(problem) for problem in analysis(make()))


@pytest.mark.parametrize("path", sorted(FILES.glob("*.json")), ids=lambda path: path.name)
def test_what_is_in_a_bad_file_is_refused_here_too(path: Any) -> None:
    try:
        document = json.loads(path.read_bytes())  # as a client may that looks at nothing
    except ValueError:
        return
    if path.name not in ("duplicate_key.json", "utf16.json"):  # which nobody can see any more
        assert analysis(document)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (WorkflowLimits(tasks=1), "tasks: 2 tasks; at most 1 are possible: make several workflows of it"),
        (WorkflowLimits(values=5), "more than 5 values; make several files of it"),
        (WorkflowLimits(depth=3), "tasks[1].params.p: nested more than 3 levels deep"),
        (WorkflowLimits(text_characters=5), "tasks[0].method: a text of 9 characters; at most 5 are possible"),
        (WorkflowLimits(references=1), "tasks[1].params: more than 1 references; put tasks between"),
        (WorkflowLimits(all_references=1), "tasks[1].params: more than 1 references are in the workflow up to here"),
        (WorkflowLimits(reference_steps=1), "tasks[1].params.p: ${a.x.y}: a path of 2 steps; at most 1"),
        (WorkflowLimits(inputs=0), "inputs: 1 inputs; at most 0 are possible"),
        (WorkflowLimits(dependencies=0), "tasks[1].params: 1 dependencies; at most 0 are possible"),
    ],
)  # fmt: skip
def test_each_limit_is_a_setting(limits: WorkflowLimits, says: str) -> None:
    document = {**with_two(params={"p": "${a.x.y} ${a.z}"}), "inputs": {"i": {"default": 1}}}
    assert analysis(document) == []
    assert any(says in str(problem) for problem in analysis(document, limits))


def test_inputs_are_bounded_as_the_workflow_is() -> None:
    document = {"inputs": {"i": {}}, "tasks": [TASK]}
    assert "nested more than 64" in str(analysis(document, inputs={"i": nested(100)})[0])
    assert "more than 250000 values" in str(analysis(document, inputs={"i": [0] * 300_000})[0])
    assert len(analysis(document, inputs={f"x{n}": 0 for n in range(200_000)})) == 101


def test_a_pattern_that_another_client_declared_does_not_block_the_resolver() -> None:
    schema = {"type": "object", "properties": {"p": {"pattern": "^(a+)+$"}}}
    protocol = Protocol(name="echo/v1", methods={"echo/echo": Method(parameters=schema)})
    problems = analysis(with_task(params={"p": "a" * 100_000 + "!"}), protocols={"echo/v1": protocol})
    assert "expected text that matches" in str(problems[0])


def test_a_machine_answers_with_the_reasons_and_asks_nobody() -> None:
    d = Dialogue(DependencyResolver(component_id="r", incarnation="r.1"))
    d.start().take()
    claim = p.ShardClaim(shard=shard_of(W), epoch=1, number=0)
    d.answer(p.ShardClaimed(owned=[claim], owner_seconds=3.0), key="claim").take()
    d.answer(p.DataRetrieved(items=[], number=0), key=f"snapshot/{shard_of(W)}").take()
    d.answer(p.DataRetrieved(items=[]), key=f"feed/{shard_of(W)}").silent()
    d.receive(
        d_.SubmitWorkflow(workflow_id=W, workflow=with_task(tiemout=1, dependencies=["a"])), source="client"
    )
    refusal = next(effect.event for effect in d.take() if isinstance(effect, Reply))
    assert isinstance(refusal, d_.WorkflowRefused)
    assert refusal.error.code == WorkflowInvalid.code
    assert [str(problem) for problem in refusal.problems] == [
        "tasks[0].tiemout: unknown key, did you mean timeout?",
        "tasks[0].dependencies[0]: task 'a' cannot depend on itself; remove it",
    ]
