"""``gleitzeit provider``: what it hands on to the daemon, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gleitzeitd.cli import cli


def provider(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, [*arguments])
    return found.exit_code, found.output


def test_functions_of_a_module_are_found_beside_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moon.py").write_text(
        "from gleitzeitd.providers import method\n@method\ndef phase(day: int) -> float:\n    return 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # and so taken away again
    assert provider("provider", "--module", "moon", "--check") == (0, "ok\n")


def test_one_that_is_brought_along_can_be_named() -> None:
    assert provider("provider", "echo", "--check") == (0, "ok\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["provider"], "which provider?"),
        (["provider", "ecko", "--check"], "no provider is called 'ecko', did you mean echo?"),
        (["provider", "--module", "no_such_module", "--check"], "there is no module no_such_module"),
        (["--hub", "nowhere", "provider", "echo", "--check"], "expected an address like http://hub:8000"),
    ],
)
def test_what_cannot_be_started_is_refused(arguments: list[str], message: str) -> None:
    code, output = provider(*arguments)
    assert code == 2
    assert message in output
