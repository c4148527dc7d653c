from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.problem import Problem
from gleitzeitd.model.retry import RetryPolicy
from gleitzeitd.model.workflow import Input, OnLost, Task, Timeouts, Workflow
from gleitzeitd.plain import from_plain, to_plain

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(st.text(max_size=5), json, max_size=3)
tasks = st.builds(
    Task,
    id=st.text(),
    name=st.text(),
    method=st.text(),
    protocol=st.text(),
    parameters=tables,
    dependencies=st.lists(st.text(), max_size=3).map(tuple),
    priority=st.integers(1, 4),
    timeout=st.none() | st.floats(1, 3600),
    retry=st.builds(RetryPolicy, max_attempts=st.integers(1, 10)),
    on_lost=st.sampled_from(OnLost),
    timeouts=st.builds(Timeouts, queued=st.none() | st.floats(1, 86_400)),
    metadata=tables,
)
inputs = st.builds(Input, schema=tables, required=st.booleans(), default=json, has_default=st.booleans())


@given(
    st.builds(
        Workflow,
        name=st.text(),
        tasks=st.lists(tasks, max_size=3).map(tuple),
        inputs=st.dictionaries(st.text(), inputs, max_size=3),
        timeout=st.none() | st.floats(1, 3600),
        metadata=tables,
    )
)
def test_a_workflow_survives_its_plain_form(workflow):
    assert from_plain(Workflow, to_plain(workflow)) == workflow


def test_a_problem_survives_its_plain_form_and_reads_like_a_place_in_a_document():
    problem = Problem(path=("tasks", 3, "dependencies", 0), message="unknown dependency 'x'")
    assert from_plain(Problem, to_plain(problem)) == problem
    assert str(problem) == "tasks[3].dependencies[0]: unknown dependency 'x'"
    assert str(Problem(path=(), message="not a table")) == "not a table"
