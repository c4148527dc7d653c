"""Commands without a hub: everything in this process, over real sockets and a real database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from gleitzeitd.cli import cli
from gleitzeitd.cli.embedding import databases
from gleitzeitd.cli.options import Options
from tests.cli.fake_client import runner

FILE = """\
name: Sum
inputs:
  start: {type: integer, default: 1}
tasks:
  - id: add
    method: python/execute
    parameters: {code: "print('adding'); result = 1 + ${inputs.start}"}
  - id: say
    method: echo/echo
    parameters: {message: "it is ${add}"}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "sum.yaml"
    path.write_text(FILE)
    return str(path)


def gleitzeit(state: Path, *arguments: str) -> Result:
    options = Options(environment={"XDG_STATE_HOME": str(state)}, config_files=())
    return runner().invoke(cli, list(arguments), obj=options)


def test_a_run_is_found_again_by_later_commands(tmp_path: Path, file: str) -> None:
    result = gleitzeit(tmp_path, "run", file, "-i", "start=2", "--json")
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert plain["inputs"] == {"start": 2}
    assert plain["tasks"]["say"]["result"] == {"message": "it is 3"}
    again = gleitzeit(tmp_path, "result", "last", "--json")
    assert json.loads(again.stdout) == plain
    assert gleitzeit(tmp_path, "logs", "sum").output == "add | adding\n"


def test_a_run_beside_another_has_a_database_of_its_own(tmp_path: Path, file: str) -> None:
    first, second, *_ = databases({"XDG_STATE_HOME": str(tmp_path)})
    assert gleitzeit(tmp_path, "run", file, "--id", "one").exit_code == 0
    first.rename(second)
    assert gleitzeit(tmp_path, "run", file, "--id", "two").exit_code == 0
    for name in ("one", "two"):
        assert f"workflow   {name}" in gleitzeit(tmp_path, "status", name).output
    assert gleitzeit(tmp_path, "status", "three").exit_code == 1


def test_submit_without_a_hub_says_what_to_use(tmp_path: Path, file: str) -> None:
    result = gleitzeit(tmp_path, "submit", file)
    assert result.exit_code == 2
    assert "gleitzeit run" in result.stderr


def test_a_hub_that_is_not_there_ends_with_3(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gleitzeitd.cli.connection.CONNECT_SECONDS", 0.3)
    result = gleitzeit(tmp_path, "run", file, "--hub", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "127.0.0.1:9" in result.stderr


def test_a_hub_that_is_passed_over_is_named(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "invocation:gleitzeit-hub.service"
    monkeypatch.setattr("gleitzeitd.cli.host.HUB_RUNS", runs)
    options = Options(
        environment={"XDG_STATE_HOME": str(tmp_path)}, config_files=(), installed_token=tmp_path / "token"
    )
    assert "hub" not in runner().invoke(cli, ["run", file], obj=options).stderr
    runs.symlink_to("0123")
    for arguments in (["run", file], ["list"]):
        result = runner().invoke(cli, arguments, obj=options)
        assert result.exit_code == 0, result.output
        assert f"this host runs a hub, which is not used since {tmp_path / 'token'}" in result.stderr
