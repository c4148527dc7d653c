"""Limits of workflows on the command line are those of this host's configuration."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from gleitzeitd.cli import cli
from gleitzeitd.cli.options import Options

TWO = "tasks:\n- {id: a, method: echo/echo}\n- {id: b, method: echo/echo}\n"


def validate(folder: Path, *, config: str = "", environment: dict[str, str] | None = None) -> Result:
    (folder / "w.yaml").write_text(TWO)
    (folder / "cli.toml").write_text(config)
    options = Options(environment=environment or {}, config_files=(folder / "none", folder / "cli.toml"))
    return CliRunner().invoke(cli, ["validate", str(folder / "w.yaml")], obj=options)


def test_a_limit_of_the_configuration_holds(tmp_path: Path) -> None:
    assert validate(tmp_path).exit_code == 0
    result = validate(tmp_path, config="[hub]\nport = 1\n[workflow_limits]\ntasks = 1\n")
    assert result.exit_code == 2
    assert f"{tmp_path}/w.yaml:3:3: more than 1 tasks; make several workflows of it" in result.output


def test_the_environment_wins_over_the_configuration(tmp_path: Path) -> None:
    config, environment = "[workflow_limits]\ntasks = 1\n", {"GLEITZEIT_WORKFLOW_LIMITS_TASKS": "2"}
    assert validate(tmp_path, config=config, environment=environment).exit_code == 0
    environment["GLEITZEIT_WORKFLOW_LIMITS_TASKS"] = "1"
    assert validate(tmp_path, environment=environment).exit_code == 2


def test_a_limit_that_is_none_is_said_with_its_line(tmp_path: Path) -> None:
    result = validate(tmp_path, config="[workflow_limits]\ntasks = 0\ntask = 1\n")
    assert result.exit_code == 2
    assert f"{tmp_path}/cli.toml:2: workflow_limits.tasks: expected 1 to 100000, found 0" in result.output
    assert "cli.toml:3: workflow_limits.task: unknown key, did you mean tasks?" in result.output
