import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.document import read
from gleitzeitd.model.reference import substitute
from gleitzeitd.model.secret import as_text, names_in, open_places, put_in
from gleitzeitd.plain import Json

TRICKY = st.lists(
    st.sampled_from(["$", "{", "${secret.", ".", "x", "}", "${secret.x}", "'", '"', "\\", "\n"])
)


def _problems(document: Json) -> list[str]:
    return [str(problem) for problem in read(document).problems]


def _with(parameters: dict[str, Json], **task: Json) -> dict[str, Json]:
    return {"tasks": [{"id": "a", "method": "python/execute", "parameters": parameters, **task}]}


def _resolved(parameters: dict[str, Json], results: dict[str, Json], python: tuple[str, ...] = ()) -> Json:
    """From the document to the provider's method, with secrets whose values are their names, in brackets."""
    travelled = substitute(parameters, lambda task: results[task], python_keys=python)
    return put_in(travelled, lambda name: f"<{name}>", python_keys=python)


def test_a_reference_travels_as_it_was_written() -> None:
    parameters: dict[str, Json] = {"headers": {"Authorization": "Bearer ${secret.token}"}}
    assert substitute(parameters, {}.__getitem__) == parameters
    assert names_in(parameters) == ["token"]
    assert open_places(parameters) == [("headers", "Authorization")]


def test_its_value_takes_its_place_with_the_provider() -> None:
    parameters: dict[str, Json] = {"a": ["${secret.x}-${secret.y}", 3], "b": "${t.result}${secret.x}"}
    assert _resolved(parameters, {"t": "US$"}) == {"a": ["<x>-<y>", 3], "b": "US$<x>"}


@pytest.mark.parametrize(
    "text",
    ["$${secret.x}", "$$${secret.x}", "a $${secret. b", "$${secret..x}"],
)
def test_an_escaped_reference_is_text(text: str) -> None:
    assert _resolved({"a": text}, {}) == {"a": text.replace("$${", "${")}


@given(st.lists(TRICKY.map("".join), min_size=2, max_size=2))
def test_no_text_of_a_result_becomes_a_reference(texts: list[str]) -> None:
    results: dict[str, Json] = {"t": texts[0], "u": {"deep": [texts[1]]}}
    parameters: dict[str, Json] = {
        "whole": "${u}",
        "text": "${t}",
        "joined": "${t}${u.deep[0]}",
        "around": "${t}${secret.real}${u.deep[0]}",
    }
    assert _resolved(parameters, results) == {
        "whole": {"deep": [texts[1]]},
        "text": texts[0],
        "joined": texts[0] + texts[1],
        "around": f"{texts[0]}<real>{texts[1]}",
    }


@given(TRICKY.map("".join), TRICKY.map("".join))
def test_in_python_both_are_variables_and_never_code(text: str, other: str) -> None:
    code = (
        "result = [${t}, ${secret.real}, '${t}${u}', f'{1}${secret.real}${t}', rb'${secret.real}', "
        '"""${u}${secret.real}""", r"\\n${secret.real}${t}", f"{${secret.real}}{${t}}"]  # ${secret.no}'
    )
    given_results: dict[str, Json] = {"t": text, "u": other}
    parameters = _resolved({"code": code}, given_results, ("code",))
    assert isinstance(parameters, dict)
    names: dict[str, Json] = {}
    exec(str(parameters["code"]), names)  # noqa: S102 - the code above
    assert names["result"] == [
        text,
        "<real>",
        text + other,
        f"1<real>{text}",
        b"<real>",
        f"{other}<real>",
        f"\\n<real>{text}",
        f"<real>{text}",
    ]


@given(st.text(max_size=30))
def test_any_value_of_a_secret_is_a_text_in_python(value: str) -> None:
    code = 'result = [${secret.a}, \'${secret.a}\', f\'{${secret.a}}\', """${secret.a}"""]'
    names: dict[str, Json] = {}
    exec(str(put_in({"code": code}, lambda _: value, python_keys=("code",))["code"]), names)  # noqa: S102
    assert names["result"] == [value] * 4


@given(TRICKY.map("".join))
def test_text_comes_out_as_it_went_in(text: str) -> None:
    assert put_in({"a": as_text(text)}, lambda _: "never") == {"a": text}


@pytest.mark.parametrize(
    "reference",
    ["${secret.a.b}", "${secret}", "${ secret.a }", "${secret['a']}", "${secret.1a}", "${secret.a-b}"],
)
def test_a_reference_with_more_than_a_name_is_refused(reference: str) -> None:
    (problem,) = _problems(_with({"code": "1", "context": {"k": reference}}))
    assert problem.startswith(f"tasks[0].parameters.context.k: {reference}: a secret is written ")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({**_with({"code": "1"}), "name": "n ${secret.a}"}, "name"),
        ({**_with({"code": "1"}), "id": "${secret.a}"}, "id"),
        ({**_with({"code": "1"}), "version": "${secret.a}"}, "version"),
        ({**_with({"code": "1"}), "inputs": {"x": {"default": "${secret.a}"}}}, "inputs.x.default"),
        (_with({"code": "1"}, name="${secret.a}"), "tasks[0].name"),
        (_with({"code": "1"}, method="${secret.a}"), "tasks[0].method"),
        (_with({"code": "1"}, protocol="${secret.a}"), "tasks[0].protocol"),
        (_with({"code": "1"}, dependencies=["${secret.a}"]), "tasks[0].dependencies[0]"),
        (_with({"code": "1"}, condition="${secret.a}"), "tasks[0].condition"),
        (_with({"code": "1"}, outputs={"x": "${secret.a}"}), "tasks[0].outputs.x"),
        (_with({"code": "1", "${secret.a}": 1}), "tasks[0].parameters.${secret.a}"),
    ],
)
def test_a_reference_where_it_cannot_work_is_refused(document: Json, place: str) -> None:
    assert any(problem.startswith(f"{place}: a reference to a secret ") for problem in _problems(document))


def test_a_reference_in_a_script_of_a_shell_is_refused() -> None:
    document = {
        "tasks": [{"id": "a", "method": "shell/run", "parameters": {"script": "curl -u ${secret.a}"}}]
    }
    (problem,) = _problems(document)
    assert problem.startswith("tasks[0].parameters.script: ${secret.a}: in a script it would become code")


def test_a_reference_in_a_description_is_worth_a_warning() -> None:
    reading = read({**_with({"code": "1"}), "description": "needs ${secret.a}"})
    assert reading.workflow is not None
    assert [warning.path for warning in reading.warnings] == [("description",)]


def test_a_reference_makes_no_dependency() -> None:
    workflow = read(_with({"code": "x = ${secret.a}"})).workflow
    assert workflow is not None
    assert workflow.tasks[0].dependencies == ()
    assert workflow.tasks[0].parameters == {"code": "x = ${secret.a}"}


def test_no_task_can_be_called_secret() -> None:
    (problem,) = _problems({"tasks": [{"id": "secret", "method": "python/info"}]})
    assert problem == "tasks[0].id: 'secret' means secrets of the provider's host; give the task another id"
