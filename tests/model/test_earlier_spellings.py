"""Workflow files as earlier versions had them: each is read without a problem, and means what it meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gleitzeitd.model.document import read
from gleitzeitd.model.reference import PYTHON_SOURCE, substitute
from gleitzeitd.model.retry import Backoff
from gleitzeitd.model.workflow import Workflow
from gleitzeitd.plain import Json
from gleitzeitd.workflow_file import load

OLDEST = """\
name: Generate and count
tasks:
  - id: ask_model
    protocol: llm/v1
    method: generate
    parameters: {prompt: "Name three rivers.", model: llama3.2}
    priority: high
    metadata: {team: a}
    description: Asks.
    tags: [llm]
  - id: ping
    protocol: echo/v1
    method: ping
    depends_on: [ask_model]
  - id: search
    protocol: web-search/v1
    method: search
    parameters: {query: "${ask_model.result.content}"}
"""
LINE_0_0 = """\
name: Analysis
description: From the files to a report
version: "1.0"
providers: [ollama, python]
timeout: 600
metadata: {author: us}
tasks:
  - name: Load Data
    method: python/execute
    params: {file: load.py, context: {limit: 3}, timeout: 60}
    priority: 1
  - name: Summarise
    method: llm/chat
    params:
      model: llama3.2
      temperature: 0.7
      max_tokens: 500
      messages: [{role: user, content: "Summarise: ${Load Data.result}"}]
    dependencies: [Load Data]
    timeout: 3600
    retry: {max_attempts: 10, backoff: linear, base_delay: 0.1, max_delay: 3600, jitter: false}
  - id: first-line
    method: mcp/tool.echo
    params: {message: "${Summarise.content}"}
    retry: {delay: 2, exponential_backoff: true}
"""
UNFINISHED_5 = """\
name: Pipeline
wait_for_completion: true
max_parallel_tasks: 5
tags: [x]
tasks:
  - id: make
    method: python/execute
    parameters:
      code: "result = [1, 2, 3]"
    priority: 4
  - id: use
    method: python/execute
    parameters:
      code: |
        data = ${make.result}
        first = ${make.0}
        text = "${make.result}"
        result = (data[1], first, ${make[2]}, text)
    dependencies: []
"""
FILES = {"oldest": OLDEST, "0.0": LINE_0_0, "5": UNFINISHED_5}


def workflow(folder: Path, text: str, name: str = "w.yaml") -> Workflow:
    path = folder / name
    path.write_text(text)
    file = load(path)
    assert not file.problems
    found = file.read()
    assert found.workflow is not None, found.problems
    return found.workflow


@pytest.mark.parametrize("version", FILES)
def test_a_file_of_an_earlier_version_is_read(tmp_path: Path, version: str) -> None:
    assert workflow(tmp_path, FILES[version]).tasks


@pytest.mark.parametrize("version", FILES)
def test_json_says_the_same(tmp_path: Path, version: str) -> None:
    import yaml

    text = json.dumps(yaml.safe_load(FILES[version]))
    assert workflow(tmp_path, text, "w.json") == workflow(tmp_path, FILES[version])


def test_methods_stand_without_their_protocol(tmp_path: Path) -> None:
    ask, ping, search = workflow(tmp_path, OLDEST).tasks
    assert [(each.method, each.protocol) for each in (ask, ping, search)] == [
        ("llm/generate", "llm/v1"),
        ("echo/ping", "echo/v1"),
        ("web-search/search", "web-search/v1"),
    ]
    assert ping.dependencies == search.dependencies == ("ask_model",)
    assert ask.metadata == {"team": "a", "description": "Asks.", "tags": ["llm"]}


def test_names_stand_for_ids_and_every_form_of_a_retry_is_one(tmp_path: Path) -> None:
    data, summary, line = workflow(tmp_path, LINE_0_0).tasks
    assert summary.dependencies == (data.id,)
    assert line.dependencies == (summary.id,)
    retry = summary.retry
    assert (retry.max_attempts, retry.backoff, retry.base_delay) == (10, Backoff.LINEAR, 0.1)
    assert (retry.max_delay, retry.jitter) == (3600, False)
    assert (line.retry.max_attempts, line.retry.backoff, line.retry.base_delay) == (3, Backoff.EXPONENTIAL, 2)


@pytest.mark.parametrize(
    ("reference", "result", "value"),
    [
        ("${a}", [1], [1]),
        ("${a.result}", [1], [1]),
        ("${a.result}", {"result": 3, "output": ""}, 3),
        ("${a}", {"result": 3, "output": ""}, 3),
        ("${a.result.content}", {"response": "x"}, "x"),
        ("${a.result.response}", {"content": "x"}, "x"),
        ("${a.response}", {"response": "x"}, "x"),
        ("${a.result.text}", {"text": "x"}, "x"),
        ("${a.rows.0.name}", {"rows": [{"name": "x"}]}, "x"),
        ("${a.rows[0].name}", {"rows": [{"name": "x"}]}, "x"),
        ("It is ${a.result.joined}!", {"joined": "1,2"}, "It is 1,2!"),
        ("${a.result}", {"b": True}, {"b": True}),
    ],
)
def test_a_reference_means_what_it_meant(reference: str, result: Json, value: Json) -> None:
    document = {
        "tasks": [
            {"id": "a", "method": "echo/echo"},
            {"id": "b", "method": "echo/echo", "params": {"x": [{"y": reference}]}},
        ]
    }
    found = read(document).workflow
    assert found is not None
    assert found.tasks[1].dependencies == ("a",)
    assert substitute(found.tasks[1].parameters, {"a": result}.__getitem__) == {"x": [{"y": value}]}


def test_code_gets_values_inside_quotes_and_outside(tmp_path: Path) -> None:
    use = workflow(tmp_path, UNFINISHED_5).tasks[1]
    lookup = {"make": {"result": [1, 2, 3]}}.__getitem__
    made = substitute(use.parameters, lookup, python_keys=PYTHON_SOURCE["python/v1"])
    names: dict[str, Json] = {}
    exec(made["code"], names)  # noqa: S102 - it is the text above
    assert names["result"] == (2, 1, 3, "[1, 2, 3]")
