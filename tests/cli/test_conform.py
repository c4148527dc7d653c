"""``gleitzeit conform``: what it prints, and how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gleitzeitd.cli import cli

GOOD = """
import asyncio, os
from tests.conform.faulty import Faulty
asyncio.run(Faulty(os.environ["GLEITZEIT_HUB_URL"], os.environ["GLEITZEIT_TOKEN"]).run())
"""
ROOT = str(Path(__file__).resolve().parent.parent.parent)


def conform(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, ["conform", *arguments])
    return found.exit_code, found.output


def test_a_provider_that_is_started_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    code, output = conform("--only", "call", "--only", "end", "--", sys.executable, "-c", GOOD)
    lines = [line.split() for line in output.splitlines() if line]
    assert code == 0, output
    assert [line[:2] for line in lines[:5]] == [
        ["ok", name] for name in ("connect", "protocol", "provider", "call", "end")
    ]
    assert lines[-1] == "5 checks ok, 0 failed, 0 skipped".split()


def test_what_is_wrong_is_said_for_programs_too() -> None:
    code, output = conform("--json", "--only", "call", "--", sys.executable, "-c", "")
    found = json.loads(output)
    assert code == 1
    assert found["conforms"] is False and found["failed"] == 1
    assert found["checks"][0]["name"] == "connect"
    assert "its process has ended with 0" in found["checks"][0]["seen"]
    assert found["checks"][-1]["status"] == "skipped"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "conect"],
        ["--call", "text/count={"],
        ["--call", "text/count=[1]"],
        ["--slow", "={}"],
        ["--", "/there/is/no/such/program"],
        ["--port", "1000000"],
        ["--timeout", "0"],
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    code, output = conform(*arguments)
    assert code == 2, output
