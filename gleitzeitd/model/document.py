"""Reads a workflow document: everything that is wrong with it at once, or a workflow.

The document is what somebody wrote, as plain data. Every spelling that earlier versions knew is taken
and one is given out: parameters, dependencies and references by id, methods in full (``llm/generate``),
priorities as numbers. A reference to a task makes it a dependency. Reading takes time in proportion to
the document, and never raises, whatever the document is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from gleitzeitd.model import secret
from gleitzeitd.model.graph import find_cycles
from gleitzeitd.model.limits import LIMITS, WorkflowLimits
from gleitzeitd.model.names import NAME_LIMIT, TaskId, is_identifier
from gleitzeitd.model.policy_reader import PolicyReader
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.reference import PYTHON_SOURCE, Reference, cut, find, in_shell_script, with_ids
from gleitzeitd.model.table_reader import Path, not_plain, shown
from gleitzeitd.model.workflow import (
    INPUTS,
    TASK_TIMEOUT_RANGE,
    UNNAMED,
    WORKFLOW_TIMEOUT_RANGE,
    Input,
    OnLost,
    Priority,
    Task,
    Workflow,
)
from gleitzeitd.model.workflow_schema import (
    INPUT_TYPES,
    METHOD_PATTERN,
    PROTOCOL_PATTERN,
    TASK_KEYS,
    UNUSED,
    WORKFLOW_KEYS,
)
from gleitzeitd.plain import Json, describe
from gleitzeitd.record import record

_METHOD = re.compile(METHOD_PATTERN)
_PROTOCOL = re.compile(PROTOCOL_PATTERN)
_CYCLE_SHOWN = 20
_TOGETHER = "put several into a table"
_SEVERAL = "make several workflows of it"
_BETWEEN = "put tasks between, of which each gathers some"
_IN_SHELL = (
    "in a script it would become code; hand it over in env, argv or stdin. "
    "A '${' of the shell's own is written '$${'"
)


@record
class Reading:
    """What a document says."""

    workflow: Workflow | None
    """None if there are problems."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    """What was read otherwise than its author may expect."""
    workflow_id: str | None = None
    """The document's ``id``, if it has one."""


def read(document: Json, limits: WorkflowLimits = LIMITS) -> Reading:
    """Every problem of ``document`` in its order, or the workflow."""
    reader = _Reader(limits)
    for path, message in not_plain(document, limits):
        reader.problem(path, message)
    workflow = None if reader.count else reader.workflow(document)
    problems = reader.problems
    if reader.count > len(problems):
        problems.append(Problem(path=(), message=f"and {reader.count - len(problems)} more problems"))
    return Reading(
        workflow=None if problems else workflow,
        problems=tuple(problems),
        warnings=tuple(reader.warnings),
        workflow_id=reader.workflow_id,
    )


@dataclass(slots=True)
class _Draft:
    """A task on the way: all but what depends on other tasks."""

    index: int
    id: str
    name: str
    table: dict[str, Json]
    method: str = ""
    protocol: str = ""
    parameters: dict[str, Json] = field(default_factory=dict)
    parameters_key: str = "parameters"
    needed: dict[str, Path] = field(default_factory=dict)
    """Ids of direct dependencies, to the place that says so."""
    refers: dict[str, None] = field(default_factory=dict)
    """Ids of the tasks whose results the parameters refer to, in order."""
    has_references: bool = False

    @property
    def path(self) -> Path:
        return ("tasks", self.index)


class _Reader(PolicyReader):
    """Collects problems and warnings while it goes through one document."""

    def __init__(self, limits: WorkflowLimits) -> None:
        super().__init__()
        self.limits = limits
        self.all_references = 0
        self.workflow_id: str | None = None
        self.inputs: dict[str, Input] = {}
        self.ids: dict[str, str] = {}
        """Every id, and every name that only one task has, to the id."""
        self.task_names: list[str] = []
        self.ambiguous: set[str] = set()

    # The document as a whole.

    def workflow(self, document: Json) -> Workflow | None:
        if document is None or not isinstance(document, dict):
            found = "the document is empty" if document is None else f"found {describe(document)}"
            self.problem((), f"{found}; expected a table with name and tasks")
            return None
        table = document
        self.known_keys(table, WORKFLOW_KEYS, ())
        if table.get("type") == "batch" or table.get("batch") is not None:
            self.problem(
                ("batch",) if "batch" in table else ("type",),
                "a batch names files, and becomes tasks where they are: load it with the command line "
                "or the Python client",
            )
            return None
        self.only_for_batches(table)
        identifier = self.text(table, "id", ())
        if identifier is not None and not is_identifier(identifier):
            self.problem(("id",), _no_identifier(identifier))
        else:
            self.workflow_id = identifier
        self.misplaced_secrets(table)
        self.inputs = self.read_inputs(table)
        priority = self.priority(table, (), Priority.NORMAL)
        tasks = self.tasks(table, priority)
        return Workflow(
            name=self.text(table, "name", (), limit=NAME_LIMIT) or UNNAMED,
            description=self.text(table, "description", ()) or "",
            version=self.version(table),
            tasks=tasks,
            inputs=self.inputs,
            timeout=self.number(table, "timeout", (), WORKFLOW_TIMEOUT_RANGE),
            metadata=self.metadata(table, (), {"tags": "tags", "providers": "required_providers"}),
        )

    def only_for_batches(self, table: dict[str, Json]) -> None:
        for key in ("template", "protocol"):
            if table.get(key) is not None:
                self.warn((key,), "not used: this is no batch")
        for key in UNUSED & table.keys():
            self.warn((key,), "not used")
        if table.get("type") not in (None, "workflow"):
            self.problem(("type",), f"expected workflow or batch, found {shown(table['type'])}")

    def version(self, table: dict[str, Json]) -> str:
        value = table.get("version")
        if type(value) in (int, float):
            return str(value)
        return self.text(table, "version", ()) or ""

    def read_inputs(self, table: dict[str, Json]) -> dict[str, Input]:
        found: dict[str, Input] = {}
        declared = self.table(table.get("inputs"), ("inputs",))
        if self.too_many(
            ("inputs",), "inputs", len(declared), self.limits.inputs, "put several into a table"
        ):
            return found
        for name, spec in declared.items():
            path: Path = ("inputs", name)
            if not is_identifier(name):
                self.problem(path, _no_identifier(name))
            long = ({} if spec == "any" else {"type": spec}) if isinstance(spec, str) else spec
            found[name] = self.read_input(
                self.table(long, path), path, path if isinstance(spec, str) else (*path, "type")
            )
        return found

    def read_input(self, spec: dict[str, Json], path: Path, type_path: Path) -> Input:
        kinds = spec.get("type", [])
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if kind not in INPUT_TYPES:
                hint = self.suggest(str(kind), INPUT_TYPES)
                self.problem(
                    type_path, f"unknown type {shown(kind)}{hint or '; known: ' + ', '.join(INPUT_TYPES)}"
                )
        required = spec.get("required")
        if required is not None and not isinstance(required, (bool, list)):
            self.problem((*path, "required"), f"expected true or false, found {describe(required)}")
        # A list is JSON Schema's own `required`: the keys of an object.
        ours = {"default"} if isinstance(required, list) else {"default", "required"}
        return Input(
            schema={key: value for key, value in spec.items() if key not in ours},
            required="default" not in spec and required is not False,
            default=spec.get("default"),
            has_default="default" in spec,
        )

    # Tasks.

    def tasks(self, table: dict[str, Json], priority: int) -> tuple[Task, ...]:
        entries = table.get("tasks")
        if entries is None or entries == []:
            message = "a workflow must contain at least one task; expected a list of them"
            self.problem(("tasks",) if "tasks" in table else (), message)
            return ()
        if not isinstance(entries, list):
            self.problem(("tasks",), f"expected a list, found {describe(entries)}")
            return ()
        if self.too_many(("tasks",), "tasks", len(entries), self.limits.tasks, _SEVERAL):
            return ()
        drafts = self.drafts(entries)
        tasks = []
        for draft in drafts:
            self.known_keys(draft.table, TASK_KEYS, draft.path)
            self.call(draft)
            self.declared_dependencies(draft)
            self.references(draft)
            tasks.append(self.task(draft, priority))
        self.cycles(drafts)
        return tuple(tasks)

    def drafts(self, entries: list[Json]) -> list[_Draft]:
        drafts = []
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self.problem(("tasks", index), f"expected a table, found {describe(entry)}")
                continue
            identifier = self.text(entry, "id", ("tasks", index)) or ""
            name = self.text(entry, "name", ("tasks", index), limit=NAME_LIMIT) or ""
            drafts.append(_Draft(index=index, id=identifier, name=name, table=entry))
        first: dict[str, int] = {}
        for draft in drafts:
            if draft.id:
                self.identifier(draft, first)
        for draft in drafts:
            number = draft.index + 1
            while not draft.id:
                made = f"task-{number:08x}"
                draft.id = "" if made in first else made
                number += len(entries)
            first.setdefault(draft.id, draft.index)
            draft.name = draft.name or draft.id
        self.index_names(drafts)
        return drafts

    def identifier(self, draft: _Draft, first: dict[str, int]) -> None:
        path = (*draft.path, "id")
        if not is_identifier(draft.id):
            self.problem(path, _no_identifier(draft.id))
        elif draft.id == INPUTS:
            self.problem(path, f"{INPUTS!r} means the workflow's inputs; give the task another id")
        elif draft.id == secret.SECRET:
            self.problem(path, f"{draft.id!r} means secrets of the provider's host; give the task another id")
        elif draft.id in first:
            self.problem(
                path,
                f"duplicate task id {draft.id!r}, first used by tasks[{first[draft.id]}]; give it another",
            )
        first.setdefault(draft.id, draft.index)

    def index_names(self, drafts: list[_Draft]) -> None:
        self.ids = {draft.id: draft.id for draft in drafts}
        for draft in drafts:
            if self.ids.setdefault(draft.name, draft.id) != draft.id and self.ids[draft.name] != draft.name:
                self.ambiguous.add(draft.name)
        self.task_names = list(self.ids)
        self.ids[INPUTS] = INPUTS

    def call(self, draft: _Draft) -> None:
        """The task's method, protocol and parameters."""
        table, path = draft.table, draft.path
        draft.parameters_key = "params" if table.get("params") is not None else "parameters"
        if table.get("params") is not None and table.get("parameters") is not None:
            self.warn((*path, "parameters"), "not used: params is there too")
        draft.parameters = self.table(table.get(draft.parameters_key), (*path, draft.parameters_key))
        protocol = self.text(table, "protocol", path)
        if protocol is not None and not _PROTOCOL.fullmatch(protocol):
            self.problem((*path, "protocol"), f"{shown(protocol)} is no protocol; expected one as python/v1")
            protocol = None
        method = self.text(table, "method", path)
        if method is None:
            if table.get("method") is None:
                self.problem(
                    (*path, "method") if "method" in table else path,
                    "method is missing; expected one as python/execute",
                )
            return
        if len(method) > NAME_LIMIT or not _METHOD.fullmatch(method):
            self.problem((*path, "method"), f"{shown(method)} is no method; expected one as python/execute")
            return
        family, slash, _ = method.partition("/")
        if protocol is None:
            protocol = f"{family}/v1" if slash else "python/v1"
        draft.protocol = protocol if "/" in protocol else f"{protocol}/v1"
        draft.method = method if slash else f"{draft.protocol.partition('/')[0]}/{method}"

    def task(self, draft: _Draft, priority: int) -> Task:
        table, path = draft.table, draft.path
        parameters = draft.parameters
        if draft.has_references:
            parameters = with_ids(parameters, PYTHON_SOURCE.get(draft.protocol, ()), self.ids)
        return Task(
            id=TaskId(draft.id),
            name=draft.name,
            method=draft.method,
            protocol=draft.protocol,
            parameters=parameters,
            dependencies=tuple(TaskId(one) for one in draft.needed),
            refers=tuple(TaskId(one) for one in draft.refers),
            priority=self.priority(table, path, priority),
            timeout=self.number(table, "timeout", path, TASK_TIMEOUT_RANGE),
            retry=self.retry(table, path),
            on_lost=self.choice(table, "on_lost", path, OnLost, OnLost.RERUN),
            timeouts=self.timeouts(table, path),
            resources=self.resources(table, path),
            metadata=self.metadata(table, path, {"tags": "tags", "description": "description"}),
        )

    def declared_dependencies(self, draft: _Draft) -> None:
        for key in ("dependencies", "depends_on"):
            path = (*draft.path, key)
            words = self.texts(draft.table, key, draft.path)
            if self.too_many(path, "dependencies", len(words), self.limits.dependencies, _BETWEEN):
                continue
            for index, word in enumerate(words):
                if not isinstance(word, str):
                    continue
                found = self.find_task(word, (*path, index), "unknown dependency", "; expected a task's id")
                if found == draft.id:
                    self.problem((*path, index), f"task {draft.id!r} cannot depend on itself; remove it")
                elif found is not None:
                    draft.needed.setdefault(found, (*path, index))

    def references(self, draft: _Draft) -> None:
        most = self.limits.references
        if self.all_references > self.limits.all_references:
            return  # it has been told, and to look for more would only take long
        found = find(draft.parameters, PYTHON_SOURCE.get(draft.protocol, ()), self.ids, most)
        base = (*draft.path, draft.parameters_key)
        for path, message in found.problems:
            self.problem((*base, *path), message)
        draft.has_references = bool(found.references)
        self.all_references += len(found.references) + len(found.problems)
        if len(found.references) + len(found.problems) > most:
            self.problem(base, f"more than {most} references; {_BETWEEN}")
            return
        if self.all_references > self.limits.all_references:
            most = self.limits.all_references
            self.problem(base, f"more than {most} references are in the workflow up to here; {_SEVERAL}")
            return
        for path, reference in found.references:
            where = (*base, *path)
            if in_shell_script(draft.protocol, draft.parameters, path):
                self.problem(where, f"{cut(reference.text)}: {_IN_SHELL}")
                continue
            if len(reference.path) > self.limits.reference_steps:
                self.long_reference(reference, where)
                continue
            if reference.task in (secret.SECRET, INPUTS):
                self.reference_outside(reference, where)
                continue
            task = self.find_task(
                reference.task,
                where,
                f"{cut(reference.text)}: there is no task",
                "; a literal '${' is written '$${'",
            )
            if task == draft.id:
                self.problem(
                    where, f"{cut(reference.text)}: task {draft.id!r} cannot refer to itself; name another"
                )
            elif task is not None:
                draft.needed.setdefault(task, where)
                draft.refers[task] = None

        if len(draft.needed) > self.limits.dependencies and len(draft.refers) <= self.limits.references:
            self.too_many(base, "dependencies", len(draft.needed), self.limits.dependencies, _BETWEEN)

    def reference_outside(self, reference: Reference, where: Path) -> None:
        """To a secret, or an input."""
        shown_text = cut(reference.text)
        if reference.task == secret.SECRET:
            if why := secret.problem_of(reference.text):
                self.problem(where, f"{shown_text}: {why}")
            return
        name = str(reference.path[0]) if reference.path else ""
        if reference.path and name not in self.inputs:
            hint = self.suggest(name, self.inputs) or "; declare it under inputs"
            self.problem(where, f"{shown_text}: the input {cut(name)!r} is not declared{hint}")

    def misplaced_secrets(self, table: dict[str, Json]) -> None:
        for path, message, is_for_people in secret.misplaced(table):
            (self.warn if is_for_people else self.problem)(path, message)

    def long_reference(self, reference: Reference, where: Path) -> None:
        self.problem(
            where,
            f"{cut(reference.text)}: a path of {len(reference.path)} steps; at most "
            f"{self.limits.reference_steps} are possible: take a part of the result, and go on in the task",
        )

    def find_task(self, word: str, path: Path, missing: str, remark: str) -> str | None:
        if word in self.ambiguous:
            self.problem(path, f"several tasks have the name {word!r}; use the id")
            return None
        found = self.ids.get(word)
        if found is None or found == INPUTS:
            self.problem(path, f"{missing} {shown(word)}{self.suggest(word, self.task_names) or remark}")
            return None
        return found

    def cycles(self, drafts: list[_Draft]) -> None:
        graph: dict[str, dict[str, Path]] = {}
        for draft in drafts:
            graph.setdefault(draft.id, draft.needed)
        for cycle in find_cycles(graph):
            path_shown = (
                cycle if len(cycle) <= _CYCLE_SHOWN else [*cycle[: _CYCLE_SHOWN - 2], "...", cycle[-1]]
            )
            place = graph[cycle[0]][cycle[1]]
            self.problem(place, f"circular dependencies: {' -> '.join(path_shown)}; remove one of them")

    def metadata(self, table: dict[str, Json], path: Path, moved: dict[str, str]) -> dict[str, Json]:
        """The metadata, with other keys that are kept there unless it has them itself."""
        found = dict(self.table(table.get("metadata"), (*path, "metadata")))
        checks: dict[str, Callable[[], object]] = {
            "tags": lambda: self.texts(table, "tags", path),
            "description": lambda: self.text(table, "description", path),
        }
        for key, kept_as in moved.items():
            if table.get(key) is not None:
                checks.get(key, lambda: None)()
                found.setdefault(kept_as, table[key])
        return found


def _no_identifier(text: str) -> str:
    allowed = f"letters, digits and _, then also . : @ -, at most {NAME_LIMIT} characters"
    return f"{shown(text)} cannot be an id; possible are {allowed}"
