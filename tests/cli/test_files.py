"""gleitzeit validate, schema and version."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from gleitzeitd import __version__
from tests.cli.fake_client import FakeClient, call

GOOD = "tasks:\n  - id: a\n    method: echo/echo\n    priority: 2\n"


def test_a_good_file_is_valid_and_its_warnings_are_no_problems(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(GOOD)
    result = call(FakeClient(), "validate", str(path))
    assert result.exit_code == 0
    assert result.stdout == f"{path}: valid: 1 task\n"
    assert f"{path}:4:5: tasks[0].priority: warning: 2 is read as normal" in result.stderr


def test_every_file_is_checked_and_every_problem_shown(tmp_path: Path) -> None:
    good, bad, broken = (tmp_path / name for name in ("good.yaml", "bad.yaml", "broken.yaml"))
    good.write_text(GOOD)
    bad.write_text("tasks:\n  - id: a\n")
    broken.write_text("tasks: [\n")
    result = call(FakeClient(), "validate", str(bad), str(good), str(broken))
    assert result.exit_code == 2
    assert result.stdout == f"{good}: valid: 1 task\n"
    assert f"{bad}:2:5: tasks[0]: method is missing" in result.stderr
    assert f"{broken}:2:1: " in result.stderr
    plain = json.loads(call(FakeClient(), "validate", str(bad), str(broken), "--json").stdout)
    assert plain["valid"] is False
    assert [(each["line"], each["column"]) for each in plain["problems"]] == [(2, 5), (2, 1)]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    result = call(FakeClient(), "validate", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_the_schema_is_one() -> None:
    schema = json.loads(call(FakeClient(), "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_version_is_ours() -> None:
    assert call(FakeClient(), "version").output == f"gleitzeit {__version__}\n"
    assert json.loads(call(FakeClient(), "version", "--json").stdout) == {"version": __version__}
