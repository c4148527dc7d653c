import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.document import read
from gleitzeitd.model.retry import Backoff, RetryPolicy
from gleitzeitd.model.workflow import NO_TIMEOUTS, Input, OnLost, Timeouts, Workflow
from gleitzeitd.model.workflow_schema import RETRY_KEYS, TASK_KEYS, WORKFLOW_KEYS
from gleitzeitd.plain import from_plain, to_plain


def task(id="a", **more):
    return {"id": id, "method": "python/execute", **more}


def workflow(*tasks, **more):
    reading = read({"name": "w", "tasks": list(tasks), **more})
    assert reading.problems == ()
    assert reading.workflow is not None
    return reading.workflow


def problems(*tasks, **more):
    reading = read({"name": "w", "tasks": list(tasks), **more})
    assert reading.workflow is None
    return [str(problem) for problem in reading.problems]


def test_a_small_document_is_read_whole():
    reading = read(
        {
            "name": "Report",
            "id": "w-1",
            "description": "d",
            "version": 1.5,
            "timeout": 600,
            "tags": ["x"],
            "providers": ["ollama"],
            "metadata": {"team": "a"},
            "priority": "high",
            "inputs": {
                "n": "integer",
                "s": {"type": "string", "default": "x", "maxLength": 3},
                "o": {"required": False},
            },
            "tasks": [
                task(
                    "load",
                    name="Load Data",
                    params={"code": "result = ${inputs.n}"},
                    priority="LOW",
                    timeout=30,
                ),
                {
                    "method": "llm/chat",
                    "parameters": {"messages": [{"role": "user", "content": "${Load Data.result}"}]},
                    "depends_on": ["Load Data"],
                    "retry": {"delay": 2, "exponential_backoff": False},
                    "on_lost": "fail",
                    "description": "asks",
                    "tags": ["t"],
                },
            ],
        }
    )
    assert reading.problems == () == reading.warnings
    assert reading.workflow_id == "w-1"
    w = reading.workflow
    assert (w.name, w.description, w.version, w.timeout) == ("Report", "d", "1.5", 600.0)
    assert w.metadata == {"team": "a", "tags": ["x"], "required_providers": ["ollama"]}
    assert w.inputs["n"] == Input(schema={"type": "integer"})
    assert w.inputs["s"] == Input(
        schema={"type": "string", "maxLength": 3}, required=False, default="x", has_default=True
    )
    assert w.inputs["o"] == Input(required=False)
    load, ask = w.tasks
    assert (load.id, load.name, load.priority, load.timeout, load.retry.max_attempts) == (
        "load",
        "Load Data",
        1,
        30,
        1,
    )
    assert ask.id.startswith("task-") and len(ask.id) == 13 and ask.name == ask.id
    assert ask.parameters == {"messages": [{"role": "user", "content": "${load.result}"}]}
    assert ask.dependencies == ("load",)
    assert (ask.priority, ask.protocol, ask.on_lost) == (3, "llm/v1", OnLost.FAIL)
    assert ask.retry == RetryPolicy(max_attempts=3, backoff=Backoff.FIXED, base_delay=2)
    assert ask.metadata == {"description": "asks", "tags": ["t"]}


@pytest.mark.parametrize(
    ("written", "method", "protocol"),
    [
        ({"method": "llm/chat"}, "llm/chat", "llm/v1"),
        ({"method": "generate", "protocol": "llm/v1"}, "llm/generate", "llm/v1"),
        ({"method": "search", "protocol": "web-search/v1"}, "web-search/search", "web-search/v1"),
        ({"method": "execute"}, "python/execute", "python/v1"),
        ({"method": "mcp/tool.add"}, "mcp/tool.add", "mcp/v1"),
        ({"method": "mcp/tools/list"}, "mcp/tools/list", "mcp/v1"),
        ({"method": "llm/chat", "protocol": "llm"}, "llm/chat", "llm/v1"),
        ({"method": "python/execute", "protocol": "python/v2"}, "python/execute", "python/v2"),
    ],
)
def test_methods_and_protocols_are_given_out_in_full(written, method, protocol):
    (one,) = workflow({"id": "a", **written}).tasks
    assert (one.method, one.protocol) == (method, protocol)


@pytest.mark.parametrize("method", ["1a", "a..b", "a.", "a b", "", "-a", "ä/b"])
def test_a_bad_method_name_is_a_problem(method):
    assert "is no method" in problems(task(method=method))[0]


def test_a_priority_as_a_number_is_read_with_a_warning():
    reading = read({"tasks": [task(priority=4)]})
    assert reading.workflow.tasks[0].priority == 4
    assert [str(w) for w in reading.warnings] == [
        "tasks[0].priority: 4 is read as urgent; names are clearer: versions differed"
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "the document is empty; expected a table with name and tasks"),
        ([], "found a list; expected a table with name and tasks"),
        ({}, "a workflow must contain at least one task; expected a list of them"),
        ({"tasks": []}, "tasks: a workflow must contain at least one task; expected a list of them"),
        ({"tasks": {}}, "tasks: expected a list, found a table"),
        ({"tasks": [3]}, "tasks[0]: expected a table, found a whole number"),
        ({"tasks": [{}]}, "tasks[0]: method is missing"),
        ({"type": "batch", "tasks": [task()]}, "type: a batch names files"),
        ({"typ": 1, "tasks": [task()]}, "typ: unknown key, did you mean type?"),
        ({"tasks": [task(paramters={})]}, "tasks[0].paramters: unknown key, did you mean parameters?"),
        ({"tasks": [task(retry={"atempts": 1})]}, "tasks[0].retry.atempts: unknown key"),
        ({"tasks": [task(), task()]}, "tasks[1].id: duplicate task id 'a', first used by tasks[0]"),
        ({"tasks": [task("a b")]}, "tasks[0].id: 'a b' cannot be an id"),
        ({"tasks": [task("inputs")]}, "tasks[0].id: 'inputs' means the workflow's inputs"),
        ({"tasks": [task(id=3)]}, "tasks[0].id: expected text, found a whole number; put it in quotes"),
        ({"tasks": [task("load"), task("b", dependencies=["laod"])]}, "tasks[1].dependencies[0]: unknown dependency 'laod', did you mean load?"),
        ({"tasks": [task(dependencies=["a"])]}, "tasks[0].dependencies[0]: task 'a' cannot depend on itself"),
        ({"tasks": [task(dependencies=["inputs"])]}, "unknown dependency 'inputs'"),
        ({"tasks": [task(dependencies="b")]}, "tasks[0].dependencies: expected a list, found text"),
        ({"tasks": [task(params={"x": "${gone.y}"})]}, "tasks[0].params.x: ${gone.y}: there is no task 'gone'; a literal '${' is written '$${'"),
        ({"tasks": [task(params={"x": ["${a.y}"]})]}, "tasks[0].params.x[0]: ${a.y}: task 'a' cannot refer to itself"),
        ({"tasks": [task(params={"x": "${inputs.n}"})]}, "the input 'n' is not declared"),
        ({"inputs": {"name": "string"}, "tasks": [task(params={"x": "${inputs.nam}"})]}, "is not declared, did you mean name?"),
        ({"tasks": [task(params={"code": "f('${gone}')"})]}, "tasks[0].params.code: ${gone}: there is no task 'gone'"),
        ({"tasks": [task(params={"x": "a ${b"})]}, "tasks[0].params.x: '${' without a readable reference"),
        ({"tasks": [task("b"), task(method="shell/execute", params={"script": "echo ${b.x}"})]}, "tasks[1].params.script: ${b.x}: in a script it would become code; hand it over in env, argv or stdin"),
        ({"tasks": [task("b"), task(method="shell/execute", params={"argv": ["/bin/bash", "-ec", "echo ${b.x}"]})]}, "tasks[1].params.argv[2]: ${b.x}: in a script"),
        ({"inputs": {"n": "string"}, "tasks": [task(method="shell/run", params={"script": "${inputs.n}"})]}, "tasks[0].params.script: ${inputs.n}: in a script"),
        ({"tasks": [task(timeout=0)]}, "tasks[0].timeout: expected a number from 1 to 3600, found 0"),
        ({"tasks": [task(timeout=True)]}, "tasks[0].timeout: expected a number"),
        ({"timeout": 86401, "tasks": [task()]}, "timeout: expected a number from 1 to 86400, found 86401"),
        ({"tasks": [task(priority="hihg")]}, "tasks[0].priority: expected one of low, normal, high, urgent, or 1 to 4, found 'hihg', did you mean high?"),
        ({"tasks": [task(priority=5)]}, "tasks[0].priority: expected one of"),
        ({"tasks": [task(retry={"max_attempts": 11})]}, "tasks[0].retry.max_attempts: expected a whole number from 1 to 10, found 11"),
        ({"tasks": [task(retry={"backoff": "linaer"})]}, "expected one of exponential, linear, fixed, found 'linaer', did you mean linear?"),
        ({"tasks": [task(retry={"jitter": "yes"})]}, "tasks[0].retry.jitter: expected true or false"),
        ({"tasks": [task(on_lost="aks")]}, "tasks[0].on_lost: expected one of rerun, fail, ask, found 'aks', did you mean ask?"),
        ({"tasks": [task(timeouts={"queud": 5})]}, "tasks[0].timeouts.queud: unknown key, did you mean queued?"),
        ({"tasks": [task(timeouts={"silence": 0.5})]}, "tasks[0].timeouts.silence: expected a number from 1 to 86400, found 0.5"),
        ({"tasks": [task(timeouts=5)]}, "tasks[0].timeouts: expected a table, found a whole number"),
        ({"tasks": [task(retry={"on": ["TASK_TIMEOUTS"]})]}, "tasks[0].retry.on[0]: unknown error 'TASK_TIMEOUTS', did you mean TASK_TIMEOUT?"),
        ({"tasks": [task(retry={"never_on": [3]})]}, "tasks[0].retry.never_on[0]: expected text, found a whole number"),
        ({"tasks": [task(retry={"on": []})]}, "tasks[0].retry.on: expected at least one name of an error"),
        ({"tasks": [task(retry={"on": ["TASK_TIMEOUT"], "never_on": ["TASK_TIMEOUT"]})]}, "tasks[0].retry.never_on[0]: TASK_TIMEOUT is in on, too"),
        ({"inputs": {"n": "int"}, "tasks": [task()]}, "inputs.n: unknown type 'int', did you mean integer?"),
        ({"inputs": {"n": {"type": "list"}}, "tasks": [task()]}, "inputs.n.type: unknown type 'list'; known: string"),
        ({"inputs": {"a b": "string"}, "tasks": [task()]}, "inputs.a b: 'a b' cannot be an id"),
        ({"tasks": [task(protocol="a b")]}, "tasks[0].protocol: 'a b' is no protocol"),
        ({"tasks": [task(params={"x": float("nan")})]}, "tasks[0].params.x: NaN and Infinity are no JSON"),
        ({"tasks": [task(params={"x": 2**53 + 1})]}, "tasks[0].params.x: a whole number beyond 2^53"),
        ({"tasks": [task(params={1: 2})]}, "tasks[0].params: the key 1 is no text"),
        ({"tasks": [task(params={"x": b""})]}, "tasks[0].params.x: bytes is no JSON"),
        ({"tasks": [task(params={"x": "\ud800"})]}, "tasks[0].params.x: half a character"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(document, message):
    reading = read(document)
    assert reading.workflow is None
    assert any(message in str(problem) for problem in reading.problems), reading.problems


def test_timeouts_and_the_errors_of_a_retry_are_read():
    retry = {"on": ["TASK_TIMEOUT", "TASK_TIMEOUT"], "never_on": ["RATE_LIMIT_EXCEEDED"]}
    (one,) = workflow(task(timeouts={"queued": 60, "silence": 5}, retry=retry)).tasks
    assert one.timeouts == Timeouts(queued=60.0, silence=5.0)
    assert (one.retry.on, one.retry.never_on) == (("TASK_TIMEOUT",), ("RATE_LIMIT_EXCEEDED",))
    assert workflow(task(timeouts={"start": None})).tasks[0].timeouts is NO_TIMEOUTS


@pytest.mark.parametrize("name", ["PROVIDER_NOT_AVAILABLE", "PROVIDER_OVERLOADED", "TASK_CANCELLED"])
def test_a_name_of_which_no_policy_is_asked_is_read_with_a_warning(name):
    (warning,) = read({"tasks": [task(retry={"never_on": [name]})]}).warnings
    assert "tasks[0].retry.never_on[0]: not used: " in str(warning)


def test_all_problems_are_found_in_one_pass():
    assert len(problems(task("a", tiemout=3), task("a", dependencies=["x", "y"]), {}, nam=1)) == 6


def test_a_cycle_is_told_with_its_path_and_the_place_of_one_of_its_links():
    assert problems(task("a", dependencies=["b"]), task("b", params={"x": ["${a.r}"]})) == [
        "tasks[0].dependencies[0]: circular dependencies: a -> b -> a; remove one of them"
    ]


def test_a_reference_implies_a_dependency_once():
    w = workflow(
        task("a"),
        task("b", params={"x": "${a.r} ${a}", "code": "f(${a.q})"}),
        task("c", depends_on=["b"], dependencies=["a", "b"]),
    )
    assert [t.dependencies for t in w.tasks] == [(), ("a",), ("a", "b")]


def test_a_reference_in_a_comment_of_python_code_is_none():
    assert workflow(task(params={"code": "x = 1  # ${gone}"}))


def test_a_name_that_two_tasks_have_can_only_be_used_by_id():
    twins = [task("a", name="N"), task("b", name="N")]
    assert workflow(*twins)
    assert problems(*twins, task("c", dependencies=["N"])) == [
        "tasks[2].dependencies[0]: several tasks have the name 'N'; use the id"
    ]


def test_an_id_is_stronger_than_a_name():
    w = workflow(
        task("a", name="b"), task("b", name="a"), task("c", dependencies=["a"], params={"x": "${a.r}"})
    )
    assert w.tasks[2].dependencies == ("a",)


def test_params_win_over_parameters():
    reading = read({"tasks": [task(params={"x": 1}, parameters={"x": 2})]})
    assert reading.workflow.tasks[0].parameters == {"x": 1}
    assert len(reading.warnings) == 1


def test_a_key_without_a_value_is_as_good_as_absent():
    empty = {key: None for key in [*TASK_KEYS] if key not in ("id", "method")}
    assert workflow(task(**empty)) == workflow(task())
    unused = {key: None for key in WORKFLOW_KEYS if key not in ("tasks", "name")}
    assert workflow(task(retry=dict.fromkeys(RETRY_KEYS)), **unused).tasks[0].retry.max_attempts == 3


def test_keys_without_an_effect_are_warned_about():
    reading = read(
        {"tasks": [task()], "max_parallel_tasks": 3, "wait_for_completion": True, "protocol": "x/v1"}
    )
    assert len(reading.warnings) == 3 and reading.workflow


def test_more_than_100_problems_are_counted():
    found = problems(*[task(f"t{n}", x=1) for n in range(300)])
    assert len(found) == 101 and found[-1] == "and 200 more problems"


def test_deep_nesting_is_a_problem_and_no_crash():
    value = []
    for _ in range(100_000):
        value = [value]
    assert "nested more than 64 levels deep" in problems(task(params={"x": value}))[0]
    while value:
        value = value.pop()


@pytest.mark.parametrize("broken", [False, True])
def test_a_document_of_10000_tasks_is_read_in_linear_time(broken):
    tasks = [
        task(
            f"t{n}",
            name=f"Task {n}",
            params={
                "x": f"${{Task {n - 1 if n else n + 1}.result}}" if n or broken else "",
                "y": [1, {"z": "text"}],
            },
            dependencies=[f"t{n - 1}" if not broken else f"gone{n}"] if n else [],
        )
        for n in range(10_000)
    ]
    started = time.process_time()
    reading = read({"tasks": tasks})
    assert bool(reading.problems) == broken
    assert time.process_time() - started < 3  # about 0.5 s; quadratic would be minutes


words = st.sampled_from(
    [
        *WORKFLOW_KEYS,
        *TASK_KEYS,
        *RETRY_KEYS,
        "a",
        "b",
        "${a}",
        "${b.x}",
        "python/execute",
        "${",
        "low",
        "inputs",
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=2), inner, max_size=6)
    ),
)
task_like = st.fixed_dictionaries(
    {}, optional={"id": st.sampled_from(["a", "b", "c"]) | anything, "method": words | anything}
    | {key: anything for key in TASK_KEYS if key not in ("id", "method")},
)  # fmt: skip
document_like = st.fixed_dictionaries(
    {"tasks": st.lists(task_like, max_size=3) | anything},
    optional={key: anything for key in WORKFLOW_KEYS if key not in ("tasks", "batch", "type")},
)


@given(anything | document_like)
def test_reading_never_raises_and_gives_a_workflow_or_problems(document):
    reading = read(document)
    assert (reading.workflow is None) == bool(reading.problems)


simple = st.builds(
    lambda n, links: {
        "tasks": [
            task(f"t{i}", name=f"N {i}", params={"x": [f"${{N {j}.r}}" for j in links if j < i]})
            for i in range(n)
        ]
    },
    st.integers(1, 6),
    st.lists(st.integers(0, 5)),
)


@given(simple)
def test_what_was_read_survives_its_plain_form_and_names_tasks_by_id(document):
    w = read(document).workflow
    assert from_plain(Workflow, to_plain(w)) == w
    for one in w.tasks:
        assert all(text.startswith("${t") for text in one.parameters["x"])
        assert {text[2:4] for text in one.parameters["x"]} == set(one.dependencies)


def test_a_task_names_those_whose_results_its_parameters_refer_to():
    workflow = read(
        {
            "tasks": [
                {"id": "a", "method": "echo/echo"},
                {"id": "b", "method": "echo/echo", "name": "the second"},
                {
                    "id": "c",
                    "method": "echo/echo",
                    "dependencies": ["a"],
                    "parameters": {"x": ["${the second.n}", "${b}"], "y": "${inputs.z}"},
                },
            ],
            "inputs": {"z": "integer"},
        }
    ).workflow
    assert workflow is not None
    assert [task.refers for task in workflow.tasks] == [(), (), ("b",)]
    assert workflow.tasks[2].dependencies == ("a", "b")


def test_a_script_of_a_shell_gets_values_from_outside_and_keeps_its_own():
    parameters = {"script": 'echo "$${NAME}" $NAME', "env": {"NAME": "${b.x}"}, "stdin": "${b}"}
    arguments = {"argv": ["sh", "-c", 'echo "$1"', "sh", "${b.x}", "-c"]}
    others = {"argv": ["grep", "-c", "${b.x}"]}
    reading = read(
        {
            "tasks": [
                task("b"),
                *(
                    task(name, method="shell/execute", params=given)
                    for name, given in (("c", parameters), ("d", arguments), ("e", others))
                ),
            ]
        }
    )
    assert not reading.problems
