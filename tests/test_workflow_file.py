import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.model.limits import WorkflowLimits
from gleitzeitd.model.problem import Problem
from gleitzeitd.workflow_file import load, parse, render

FOLDER = Path("/folder")


def of(text, source="w.yaml", **limits):
    return parse(text.encode(), source=source, folder=FOLDER, limits=WorkflowLimits(**limits))


def refused(text, source="w.yaml", **limits):
    with pytest.raises(WorkflowInvalid) as raised:
        of(text, source, **limits)
    return str(raised.value)


YAML = """\
# a comment
name: Report
tasks:
  - id: a
    method: python/execute
    params: {code: "x = 1", list: [1, 2.5, true, null, ~, 'text']}
  - id: b
    method: llm/chat
    tiemout: 5
    dependencies:
      - a
      - c
"""


def test_yaml_becomes_plain_data():
    assert of(YAML).document == yaml.safe_load(YAML)


def test_a_problem_is_rendered_with_file_line_and_column():
    file = of(YAML)
    assert render(file.read().problems, file) == [
        "w.yaml:9:5: tasks[1].tiemout: unknown key, did you mean timeout?",
        "w.yaml:12:9: tasks[1].dependencies[1]: unknown dependency 'c'; expected a task's id",
    ]


def test_json_is_read_with_the_same_places():
    text = '{\n "name": "\\ud83d\\ude00\\t",\n\t"tasks": [\n  {"id": "a", "method": "x y"}\n ]}'
    file = of(text, "w.json")
    assert file.document == json.loads(text)
    assert render(file.read().problems, file)[0].startswith(
        "w.json:4:15: tasks[0].method: 'x y' is no method"
    )


def test_a_place_that_is_not_in_the_file_is_the_nearest_around_it():
    file = of(YAML)
    assert file.locate(("tasks", 1, "params", "x")) == (7, 5)
    assert file.locate(()) == (2, 1)
    assert file.locate(("tasks", 9)) == (3, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "while parsing a flow sequence"),
        ("a: 1\nb: 2\na: 3", "w.yaml:3:1: the key 'a' is here twice, first in line 1"),
        ("a: {b: {c: [[1]]}}", "w.yaml:1:13: nested more than 4 levels deep"),
        (
            "a: !!python/object:os.system x",
            "the tag tag:yaml.org,2002:python/object:os.system cannot be used here",
        ),
        ("a: !!binary aGk=", "cannot be used here"),
        ("a: !!set {b}", "cannot be used here"),
        ("a: !mine {b: 1}", "cannot be used here"),
        ("a: .nan", "w.yaml:1:4: NaN and Infinity are no JSON"),
        ("a: -.inf", "NaN and Infinity are no JSON"),
        ("a: 1.0e+999", "NaN and Infinity are no JSON"),
        ("a: 9007199254740993", "a whole number beyond 2^53"),
        ("a: " + "9" * 5000, "a number of 5000 characters"),
        ("a: !!int x", "'x' is not of the type int"),
        ("a: &x [1]\nb: *y", "w.yaml:2:4: "),
        ("a: &x [*x]", "the alias *x"),
        ("? [a]\n: 1", "w.yaml:1:3: a key must be text"),
        ("a: &x b\n*x : 1", "a key must be text"),
        ("a: 1\n---\nb: 2", "w.yaml:2:1: a second document begins"),
        ("a: 1\nb: \x07", "w.yaml:2:4: a character that YAML does not allow"),
        ("a: {<<: 3}", "'<<' takes a table"),
        ("a: 'x\n", "while scanning a quoted scalar"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_place(text, message):
    assert message in refused(text, depth=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,}', "w.json:1:"),
        ("", "w.json:1:1: "),
        ('{"a": 1,\n "a": 2}', "w.json:2:2: the key 'a' is here twice, first in line 1"),
        ('{"a": NaN}', "w.json:1:7: NaN and Infinity are no JSON"),
        ('{"a": -Infinity}', "NaN and Infinity are no JSON"),
        ('{"a": 1e999}', "NaN and Infinity are no JSON"),
        ('{"a": 9007199254740993}', "a whole number beyond 2^53"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5000 characters"),
        ("[" * 100_000, "w.json:1:65: nested more than 64 levels deep"),
        ('{"a": "' + '\\"' * 100_000, "unterminated string"),
    ],
)
def test_what_is_no_strict_json_is_refused_with_its_place(text, message):
    assert message in refused(text, "w.json")


def test_aliases_are_followed_and_bounded():
    assert of("a: &x {k: [1]}\nb: *x\nc: {<<: *x, k: 2, l: 3}").document == {
        "a": {"k": [1]},
        "b": {"k": [1]},
        "c": {"k": 2, "l": 3},
    }
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    assert "more than 250000 values" in refused(bomb)
    tower = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    assert "nested more than 64 levels deep" in refused(tower)
    assert "more than 3 aliases" in refused("a: &x 1\nb: [*x, *x, *x, *x]", aliases=3)


def test_a_mark_for_merging_means_nothing_in_quotes_or_in_json():
    assert of('a: {"<<": {b: 1}}').document == {"a": {"<<": {"b": 1}}}
    assert of('{"<<": {"b": 1}}', "w.json").document == {"<<": {"b": 1}}


def test_dates_and_base_60_stay_text_and_keys_are_text_as_written():
    assert of("a: 2024-01-31\nb: 12:30:45\nc: 2024-01-31T10:00:00Z\nd: !!str 5\non: yes\n1: 0x10\n").document == {
        "a": "2024-01-31", "b": "12:30:45", "c": "2024-01-31T10:00:00Z", "d": "5", "on": True, "1": 16,
    }  # fmt: skip


def test_a_file_that_is_too_large_or_no_text_or_not_there_is_refused(tmp_path):
    assert refused("a: 12345", file_bytes=5).startswith("w.yaml:1:1: larger than 5 bytes; ")
    path = tmp_path / "w.yaml"
    path.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(WorkflowInvalid, match="w.yaml:2:4: no UTF-8 text, found the byte 0xff"):
        load(path)
    with pytest.raises(WorkflowInvalid, match=r"gone.yaml:1:1: cannot be read: No such file"):
        load(tmp_path / "gone.yaml")
    with pytest.raises(WorkflowInvalid, match="this is a folder; name a file in it"):
        load(tmp_path)


def test_an_empty_file_is_an_empty_document():
    assert of("# nothing\n").document is None
    assert render(of("").read().problems, of("")) == [
        "w.yaml:1:1: the document is empty; expected a table with name and tasks"
    ]


def test_a_relative_script_is_named_in_full():
    file = of(
        "tasks:\n"
        "- {method: python/execute, params: {file: scripts/a.py}}\n"
        "- {method: execute, protocol: python/v1, parameters: {file_path: /b.py}}\n"
        "- {method: python/execute, params: {file: '${inputs.f}'}}\n"
        "- {method: http/get, params: {file: c.py}}\n"
    )
    assert [next(iter((t.get("params") or t["parameters"]).values())) for t in file.document["tasks"]] == [
        "/folder/scripts/a.py", "/b.py", "${inputs.f}", "c.py",
    ]  # fmt: skip


def test_files_for_a_prompt_are_named_in_full(tmp_path, monkeypatch):
    (tmp_path / "here.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    file = of(
        "tasks:\n"
        "- {method: llm/chat, params: {file_path: a.txt, files: [b.txt, '${x.path}', /c], prompt: a.txt}}\n"
        "- {method: vision, protocol: llm/v1, params: {image_path: a.png, image_paths: [b.png]}}\n"
        "- {method: llm/chat, params: {file_path: here.txt}}\n"
    )
    assert [task["params"] for task in file.document["tasks"]] == [
        {"file_path": "/folder/a.txt", "files": ["/folder/b.txt", "${x.path}", "/c"], "prompt": "a.txt"},
        {"image_path": "/folder/a.png", "image_paths": ["/folder/b.png"]},
        {"file_path": f"{tmp_path}/here.txt"},  # as earlier versions read it
    ]


BATCH = """\
name: B
type: batch
batch:
  directory: docs
  pattern: "*.txt"
template:
  method: llm/chat
  priority: high
  model: m
  timeout: 5
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    for name in ("b.txt", "a b.txt", "c.png", "${x}.txt", "deep/d.txt"):
        (tmp_path / "docs" / name).write_text("")
    return tmp_path


def batch(folder, text):
    (folder / "w.yaml").write_text(text)
    return load(folder / "w.yaml")


def test_a_batch_becomes_a_task_for_each_file_in_the_order_of_names(folder):
    file = batch(folder, BATCH)
    assert file.problems == () == file.read().problems
    docs = folder / "docs"
    assert [(t["id"], t["name"], t["params"]["file_path"]) for t in file.document["tasks"]] == [
        ("process---x--txt-0", "Process ${x}.txt", f"{docs}/$${{x}}.txt"),
        ("process-a-b-txt-1", "Process a b.txt", f"{docs}/a b.txt"),
        ("process-b-txt-2", "Process b.txt", f"{docs}/b.txt"),
    ]
    assert file.document["tasks"][0]["priority"] == "high"
    assert file.document["tasks"][0]["params"].keys() == {"model", "timeout", "file_path"}
    assert file.document.keys() == {"name", "tasks"}


def test_where_the_file_goes_depends_on_the_method(folder):
    python = batch(
        folder,
        "batch: {directory: docs, pattern: b*}\nprotocol: python/v1\ntemplate: {method: python/execute, file: p.py, context: {k: 1}}",
    )
    assert python.document["tasks"][0]["params"] == {
        "file": f"{folder}/p.py", "context": {"k": 1, "file_path": f"{folder}/docs/b.txt"},
    }  # fmt: skip
    vision = batch(folder, "batch: {directory: docs, pattern: '[bc]*'}\ntemplate: {method: llm/vision}")
    assert [t["params"] for t in vision.document["tasks"]] == [
        {"file_path": f"{folder}/docs/b.txt"}, {"image_path": f"{folder}/docs/c.png"},
    ]  # fmt: skip
    default = batch(folder, "type: batch\nbatch: {directory: docs, pattern: '**/d*.txt'}\n")
    assert [(t["method"], t["params"]) for t in default.document["tasks"]] == [
        ("llm/chat", {"file_path": f"{folder}/docs/deep/d.txt"})
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BATCH.replace("*.txt", "*.pdf"), "w.yaml:5:3: batch.pattern: no file in"),
        (BATCH.replace("docs", "gone"), "w.yaml:4:3: batch.directory: there is no directory"),
        (BATCH.replace("*.txt", "/etc/*"), "w.yaml:5:3: batch.pattern: '/etc/*' is no pattern"),
        (BATCH.replace("pattern", "patern"), "w.yaml:5:3: batch.patern: unknown key, did you mean pattern?"),
        (BATCH.replace("llm/chat", "l c"), "w.yaml:7:3: tasks[0].method: 'l c' is no method"),
        (
            BATCH.replace("model: m", "model: ${gone.x}"),
            "w.yaml:9:3: tasks[0].params.model: ${gone.x}: there is no task",
        ),
        (BATCH.replace("type: batch", "type: workflow"), "w.yaml:2:1: type: there is a batch"),
        (BATCH + "protocol: a b\n", "w.yaml:11:1: tasks[0].protocol: 'a b' is no protocol"),
    ],
)
def test_a_problem_of_a_batch_is_shown_in_its_block(folder, text, line):
    file = batch(folder, text)
    reading = file.read()
    assert reading.workflow is None
    assert line in render(reading.problems, file)[0]


def test_tasks_beside_a_batch_keep_their_places(folder):
    file = batch(folder, BATCH + "tasks:\n- {id: x, method: y/z, timeout: 0}\n")
    assert len(file.document["tasks"]) == 4
    assert file.locate(("tasks", 0, "timeout")) == (12, 24)
    assert file.locate(("tasks", 1, "params", "timeout")) == (10, 3)
    assert file.locate(("tasks", 1, "id")) == (3, 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("abcd"), json_values), st.booleans())
def test_json_survives(value, escaped):
    assert of(json.dumps(value, ensure_ascii=escaped), "w.json").document == value


@given(st.dictionaries(st.sampled_from("abcd"), json_values))
def test_what_yaml_writes_survives(value):
    assert of(yaml.safe_dump(value)).document == value


@given(st.text(alphabet="ab:-[]{}&*!|>?#\"'\n ,<%@0x.\t"), st.sampled_from(["w.yaml", "w.json"]))
def test_whatever_the_text_it_is_a_document_or_refused_with_its_place(text, source):
    try:
        file = of(text, source)
    except WorkflowInvalid as problem:
        assert str(problem).split(":")[0] == source
        assert all(part.isdigit() for part in str(problem).split(":")[1:3])
        return
    json.dumps(file.document, allow_nan=False)
    render([Problem(path=("a", 0), message="x")], file)


def test_a_file_of_10000_tasks_is_loaded_in_linear_time():
    text = "tasks:\n" + "".join(
        f"- id: t{n}\n  method: python/execute\n  params: {{code: 'x = 1', n: {n}}}\n" for n in range(10_000)
    )
    started = time.process_time()
    assert of(text).read().workflow
    assert time.process_time() - started < 10  # about 1 s
