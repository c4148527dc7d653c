"""Names, schemas and documents of tools."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.mcp_serve.tools import (
    NAME_LIMIT,
    MethodTool,
    WorkflowTool,
    inputs_schema,
    literal,
    named,
    of_method,
    of_workflow,
    schema_problem,
)
from gleitzeitd.model.document import read
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.model.reference import substitute
from gleitzeitd.model.workflow import Input
from gleitzeitd.providers.schema import problems
from gleitzeitd.workflow_file import parse

ECHO = Protocol(name="echo/v1", methods={"echo/echo": Method(description="Back.")})
SUM = """
name: Sum Report
inputs:
  numbers: {type: array, items: {$ref: "#/$defs/amount"}, $defs: {amount: {type: number}}}
  unit: {type: string, default: ms}
  note: {type: string, required: false}
tasks:
  - {id: add, method: echo/echo, parameters: {numbers: "${inputs.numbers}"}}
  - {id: say, method: echo/echo, parameters: {text: "${add}"}}
metadata: {team: red}
"""


def workflow_tool(text: str = SUM, source: str = "sum.yaml") -> WorkflowTool:
    file = parse(text.encode(), source=source, folder=Path("/nowhere"))
    workflow = file.read().workflow
    assert workflow is not None, file.read().problems
    return of_workflow(file, workflow)


def method_tool(name: str = "echo/echo") -> MethodTool:
    return of_method(ECHO, name, Method())


def test_the_inputs_of_a_workflow_are_its_schema_and_keep_their_own_references() -> None:
    tool = workflow_tool()
    assert tool.schema["required"] == ["numbers"]
    assert tool.schema["properties"]["unit"] == {"type": "string", "default": "ms"}
    assert problems(tool.schema, {"numbers": [1, 2.5]}) == []
    (wrong,) = problems(tool.schema, {"numbers": [1, "x"]})
    assert wrong.path == ("numbers", 1)
    assert problems(tool.schema, {"numbers": [], "unknown": 1})


def test_a_value_that_looks_like_a_reference_of_a_schema_stays_as_it_is() -> None:
    schema = {"enum": [{"$ref": "#/a"}], "default": {"$ref": "#"}}
    made = inputs_schema({"a/b": Input(schema=schema)})
    assert made["properties"]["a/b"]["enum"] == [{"$ref": "#/a"}]
    referring = inputs_schema({"a/b": Input(schema={"items": {"$ref": "#"}})})
    assert referring["properties"]["a/b"]["items"] == {"$ref": "#/properties/a~1b"}


def test_the_arguments_of_a_workflow_are_judged_as_its_resolver_would() -> None:
    found = workflow_tool().problems({"numbers": [1, "x"], "unti": "s"})
    assert {str(each).partition(":")[0] for each in found} == {"numbers[1]", "unti"}
    assert any("did you mean unit" in each.message for each in found)
    assert [str(each) for each in workflow_tool().problems({})] == ["numbers: required, and not given"]


def test_what_is_submitted_says_where_it_came_from_and_keeps_what_it_said_itself() -> None:
    document = workflow_tool().marked({"numbers": [1]}, "editor 1.0")
    assert document["metadata"] == {
        "team": "red",
        "submitted_by": "mcp",
        "mcp": {"tool": "Sum Report", "host": "editor 1.0", "workflow": "Sum Report"},
    }
    assert read(document).workflow is not None


def test_a_call_of_a_method_is_a_workflow_of_one_task() -> None:
    document = method_tool().marked({"text": "${call} and $${x}"}, "editor 1.0")
    workflow = read(document).workflow
    assert workflow is not None
    (task,) = workflow.tasks
    assert (task.method, task.protocol, task.dependencies) == ("echo/echo", "echo/v1", ())
    assert workflow.metadata["mcp"]["method"] == "echo/echo"


TEXTS = st.text("${}ax.[]' \n#", max_size=20)


@given(
    st.recursive(
        TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
    )
)
def test_what_a_host_says_reaches_a_method_as_it_is(value: object) -> None:
    parameters = literal({"value": value})
    assert substitute(parameters, lambda name: {}[name]) == {"value": value}


def test_names_are_what_hosts_take_and_say_what_a_tool_is() -> None:
    tools = [workflow_tool(), method_tool(), workflow_tool(SUM.replace("Sum Report", "Über Größe"), "b.yaml")]
    assert [*named(tools)] == ["sum_report", "echo_echo", "uber_groe"]


def test_those_that_would_have_the_same_name_all_get_digits_of_their_own() -> None:
    first, second = workflow_tool(source="a.yaml"), workflow_tool(source="b.yaml")
    alone = [*named([first])]
    both = [*named([first, second])]
    assert alone == ["sum_report"]
    assert len(set(both)) == 2 and not set(both) & set(alone)
    assert both[0] in named([second, first])
    assert "echo_echo" not in named([method_tool()], ["echo_echo"])


@given(st.lists(st.text(max_size=80), max_size=6, unique=True))
def test_names_are_unique_and_short_whatever_the_workflows_are_called(names: list[str]) -> None:
    tools = [of_method(ECHO, name, Method()) for name in names]
    found = named(tools)
    assert len(found) == len(names)
    assert all(re.fullmatch("[a-z0-9_-]+", name) and len(name) <= NAME_LIMIT for name in found)
    assert all(tool.name == name for name, tool in found.items())


def test_versions_of_a_method_can_be_told_apart() -> None:
    two = [of_method(Protocol(name=name), "llm/chat", Method(), versions=2) for name in ("llm/v1", "llm/v2")]
    assert [*named(two)] == ["llm_chat_v1", "llm_chat_v2"]
    assert [tool.document({})["tasks"][0]["protocol"] for tool in two] == ["llm/v1", "llm/v2"]


def test_an_input_whose_schema_is_none_is_found() -> None:
    assert schema_problem(workflow_tool().workflow) is None
    text = SUM.replace("#/$defs/amount", "#/$defs/nothing")
    found = schema_problem(workflow_tool(text).workflow)
    assert found is not None and found.path == ("inputs", "numbers")
