import pytest
from jsonschema import Draft202012Validator

from gleitzeitd.model.document import read
from gleitzeitd.model.workflow_schema import (
    RESOURCES_KEYS,
    RETRY_KEYS,
    TASK_KEYS,
    TIMEOUTS_KEYS,
    WORKFLOW_KEYS,
    workflow_schema,
)

VALUES = {
    "id": "a", "name": "n", "description": "d", "version": 1, "inputs": {"x": "string", "y": {"type": "integer", "minimum": 1}},
    "timeout": 5, "priority": "high", "metadata": {"a": 1}, "tags": ["t"], "providers": ["p"], "max_parallel_tasks": 3,
    "wait_for_completion": True, "type": "workflow", "template": {}, "protocol": "python/v1", "method": "python/execute",
    "parameters": {}, "params": {}, "dependencies": ["b"], "depends_on": ["b"], "retry": {}, "on_lost": "fail",
    "max_attempts": 2, "backoff": "linear", "base_delay": 1, "delay": 1, "max_delay": 3, "jitter": False,
    "exponential_backoff": True, "on": ["TASK_TIMEOUT"], "never_on": ["TASK_RESULT_INVALID"],
    "resources": {}, "memory": "512 MB", "cpu_seconds": 1.5, "processes": 10, "open_files": 100, "file_size": 1, "output": "1.5GiB",
    "timeouts": {}, "queued": 60, "start": 5, "silence": 86400,
}  # fmt: skip


def document(**more):
    return {"tasks": [{"id": "a", "method": "python/execute"}, {"id": "b", "method": "llm/chat"}], **more}


def fits(value):
    return Draft202012Validator(workflow_schema()).is_valid(value)


def with_key(level, key, value):
    made = document()
    target = made
    if level != "workflow":
        target = made["tasks"][0]
    if level in ("retry", "timeouts", "resources"):
        target = target.setdefault(level, {})
    target[key] = value
    return made


CASES = [
    *[("workflow", key) for key in WORKFLOW_KEYS if key not in ("tasks", "batch")],
    *[("task", key) for key in TASK_KEYS],
    *[("retry", key) for key in RETRY_KEYS],
    *[("timeouts", key) for key in TIMEOUTS_KEYS],
    *[("resources", key) for key in RESOURCES_KEYS],
]


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(workflow_schema())


@pytest.mark.parametrize(("level", "key"), CASES)
def test_every_key_is_taken_by_the_reader_and_by_the_schema(level, key):
    made = with_key(level, key, VALUES[key])
    assert read(made).problems == ()
    assert fits(made)


@pytest.mark.parametrize(
    ("level", "key"), [case for case in CASES if case[1] not in ("metadata", "providers", "template")]
)
def test_a_value_of_the_wrong_kind_is_refused_by_the_reader_and_by_the_schema(level, key):
    wrong = {
        "priority": "x",
        "version": [],
        "protocol": "a b",
        "backoff": "x",
        "on_lost": "x",
        "type": "x",
    }.get(key, 0 if key != "timeout" else "x")
    made = with_key(level, key, wrong)
    assert not fits(made)
    if (level, key) not in {
        ("workflow", key) for key in ("max_parallel_tasks", "wait_for_completion", "protocol")
    }:
        assert read(made).problems


def test_an_unknown_key_is_refused_at_every_level():
    for level in ("workflow", "task", "retry", "timeouts"):
        assert not fits(with_key(level, "unknown", 1))
        assert read(with_key(level, "unknown", 1)).problems


def test_a_batch_needs_no_tasks():
    assert fits(
        {
            "type": "batch",
            "batch": {"directory": "d", "pattern": "*"},
            "template": {"method": "llm/chat", "x": 1},
        }
    )
    assert not fits({"name": "w"})


def test_every_key_has_a_description_somewhere_an_editor_shows_it():
    undocumented = [
        key
        for table in (TASK_KEYS, RETRY_KEYS, TIMEOUTS_KEYS, RESOURCES_KEYS)
        for key in table
        if not table[key].get("description")
    ]
    assert undocumented == []
