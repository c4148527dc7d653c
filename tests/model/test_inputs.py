from gleitzeitd.model.document import read
from gleitzeitd.model.inputs import resolve_inputs
from gleitzeitd.providers.schema import problems as check


def resolved(inputs, given):
    workflow = read({"inputs": inputs, "tasks": [{"method": "python/execute"}]}).workflow
    values, problems = resolve_inputs(workflow, given, check)
    return values, [str(problem) for problem in problems]


def test_a_value_is_what_was_given_or_the_default_or_null():
    inputs = {
        "a": "integer",
        "b": {"type": "integer", "default": 2},
        "c": {"type": "integer", "required": False},
        "d": None,
    }
    assert resolved(inputs, {"a": 1, "d": [1]}) == ({"a": 1, "b": 2, "c": None, "d": [1]}, [])


def test_every_problem_is_told():
    values, problems = resolved(
        {
            "name": "string",
            "n": {"type": "integer", "maximum": 3},
            "m": "any",
            "d": {"type": "string", "default": 5},
        },
        {"nam": "x", "n": 4, "m": float("inf")},
    )
    assert problems[0] == "inputs.nam: the workflow has no such input, did you mean name?"
    assert problems[1] == "inputs.name: required, and not given"
    assert problems[2].startswith("inputs.n: ")
    assert problems[3] == "inputs.m: NaN and Infinity are no JSON; write them as text"
    assert problems[4].startswith("inputs.d: ")
    assert len(problems) == 5


def test_a_problem_inside_a_value_has_its_place():
    _, problems = resolved({"l": {"type": "array", "items": {"type": "integer"}}}, {"l": [1, "x"]})
    assert problems[0].startswith("inputs.l[1]: ")


def test_a_given_null_is_a_value():
    assert resolved({"a": {"type": "integer", "default": 1}}, {"a": None})[1]
    assert resolved({"a": {"type": ["integer", "null"], "default": 1}}, {"a": None}) == ({"a": None}, [])
