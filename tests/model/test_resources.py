from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.document import read
from gleitzeitd.model.resources import in_words, size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (512, 512), ("512", 512), ("512 MB", 512 * 10**6), ("512MB", 512 * 10**6), ("1.5 GiB", 3 * 2**29),
        ("2G", 2**31), ("1 k", 1024), (" 10 kb ", 10_000), ("3 B", 3),
        ("MB", None), ("-1", None), (-1, None), ("1 XB", None), ("1e9", None), (True, None), (1.5, None), (None, None),
        ("1 KBB", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_a_size_is_bytes_or_a_number_with_a_unit(text, size) -> None:
    assert size_of(text) == size


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_a_size_in_words_is_read_as_the_same_size(size: int) -> None:
    words = in_words("memory", size)
    assert size_of(words.removesuffix(" bytes")) == size


def problems(**resources) -> list[str]:
    task = {"id": "a", "method": "python/execute", "resources": resources}
    return [str(problem) for problem in read({"tasks": [task]}).problems]


def test_what_a_task_may_take_is_kept_in_bytes() -> None:
    task = {
        "id": "a",
        "method": "python/execute",
        "resources": {"memory": "512 MB", "cpu_seconds": 2.5, "processes": None},
    }
    reading = read({"tasks": [task]})
    assert reading.workflow is not None
    assert reading.workflow.tasks[0].resources == {"memory": 512 * 10**6, "cpu_seconds": 2.5}
    bare = read({"tasks": [{"id": "a", "method": "python/execute", "resources": {}}]}).workflow
    assert bare is not None
    assert bare.tasks[0].resources is None


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"memroy": 1}, "tasks[0].resources.memroy: unknown key, did you mean memory?"),
        ({"memory": "much"}, "tasks[0].resources.memory: expected bytes, or a text as 512 MB, from 16 MiB to 1024 TiB, found 'much'"),
        ({"memory": 1}, "from 16 MiB"),
        ({"processes": 0}, "tasks[0].resources.processes: expected a whole number from 1 to 1000000, found 0"),
        ({"processes": 1.5}, "expected a whole number"),
        ({"processes": True}, "expected a whole number"),
        ({"cpu_seconds": "1"}, "expected a number from 1"),
        ({"open_files": 10**9}, "from 16 to 10000000"),
    ],
)  # fmt: skip
def test_wrong_resources_are_refused_when_the_workflow_is_submitted(resources, message) -> None:
    (problem,) = problems(**resources)
    assert message in problem
