from gleitzeitd.model.document import read
from gleitzeitd.model.method_check import method_problems
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.providers.schema import problems as check

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "mode": {"enum": ["a", "b"]},
    },
    "required": ["n"],
    "additionalProperties": False,
}
PROTOCOLS = {"x/v1": Protocol(name="x/v1", methods={"x/run": Method(parameters=SCHEMA), "x/ping": Method()})}


def found(method="x/run", **params):
    workflow = read(
        {"tasks": [{"id": "a", "method": "other/thing"}, {"id": "b", "method": method, "params": params}]}
    ).workflow
    return [str(problem) for problem in method_problems(workflow, PROTOCOLS, check)]


def test_parameters_that_fit_are_no_problem():
    assert found(n=1, list=[1, 2]) == []


def test_a_task_of_an_unregistered_protocol_is_no_problem():
    assert found(method="nobody/knows", whatever=1) == []


def test_an_unknown_method_is_a_problem():
    assert found(method="x/rum") == ["tasks[1].method: x/v1 has no method 'x/rum', did you mean x/run?"]
    assert found(method="x/zzzzzzzz") == [
        "tasks[1].method: x/v1 has no method 'x/zzzzzzzz'; it has x/run, x/ping"
    ]


def test_every_parameter_that_breaks_the_schema_is_a_problem_with_its_place():
    places = {text.partition(":")[0] for text in found(list=[1, "x"], mode="c", extra=1)}
    assert places == {f"tasks[1].parameters.{key}" for key in ("n", "list[1]", "mode", "extra")}


def test_a_value_that_holds_a_reference_is_not_judged():
    assert found(n="${a.n}", list=["${a.x}", 2], mode="pre${a.y}") == []
    assert found(n=1, list="${a.list}") == []


def test_what_stands_beside_a_reference_is_judged():
    assert [text.partition(":")[0] for text in found(n="${a.n}", list=["${a.x}", "y"], extra="${a}")] == [
        "tasks[1].parameters.list[1]"
    ]
