"""The command as a whole: its help, its errors, how fast it is there."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from gleitzeitd.cli import _COMMANDS, cli
from tests.cli.fake_client import FakeClient, call

NAMES = list(_COMMANDS)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example_and_takes_json(name: str) -> None:
    result = call(FakeClient(), name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"\n    gleitzeit {name}" in result.output
    assert "--json" in result.output


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_the_command_says(name: str) -> None:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    assert " ".join((found.help or "").split()).startswith(_COMMANDS[name][1].rstrip("."))


def test_the_lines_of_examples_stay_lines() -> None:
    result = call(FakeClient(), "run", "--help")
    assert "\n  Example:\n    gleitzeit run pipeline.yaml --input" in result.output
    assert "\n  Exit codes:\n    0 completed" in result.output


def test_an_unknown_command_has_a_suggestion() -> None:
    result = call(FakeClient(), "statsu")
    assert result.exit_code == 2
    assert "there is no command 'statsu', did you mean status?" in result.stderr


def test_a_wrong_command_line_is_json_too_if_that_is_wanted() -> None:
    result = call(FakeClient(), "--json", "list", "--limit", "x")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["name"] == "INVALID_PARAMS"


def test_help_needs_nothing_that_takes_long_to_import() -> None:
    code = (
        "import sys; from gleitzeitd.cli import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: print(*sorted({'asyncio', 'rich', 'socketio', 'yaml'} & set(sys.modules)), end='!')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n!")
