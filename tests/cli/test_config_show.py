"""gleitzeit config show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gleitzeitd.cli.options import Options
from tests.cli.fake_client import FakeClient, call, runner


def show(environment: dict[str, str], *arguments: str) -> str:
    from gleitzeitd.cli import cli

    options = Options(environment=environment, config_files=())
    result = runner().invoke(cli, ["config", "show", "--here", *arguments], obj=options)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_value_names_the_file_and_line_or_the_variable_that_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub.toml").write_text("[hub]\nport = 8100\ndead_after = 4.0\n")
    (tmp_path / "hub.d").mkdir()
    (tmp_path / "hub.d" / "10-site.toml").write_text("# ours\n[hub]\ndead_after = 5.0\n")
    files = [tmp_path / "hub.toml", tmp_path / "hub.d" / "10-site.toml"]
    monkeypatch.setattr("gleitzeitd.plan.config_files", lambda *_, **__: files)
    lines = show({"LOG_LEVEL": "debug"}, "hub", "--origin").splitlines()
    assert f"port = 8100  # {files[0]}:2" in lines
    assert f"dead_after = 5.0  # {files[1]}:3" in lines
    assert 'level = "debug"  # environment LOG_LEVEL' in lines
    assert "ping_interval = 5.0  # default" in lines


def test_without_origin_only_the_values_are_shown() -> None:
    text = show({}, "queue-manager")
    assert "[queue_manager]" in text
    assert "#" not in text


def test_json_has_one_entry_for_each_key() -> None:
    plain = json.loads(show({"GLEITZEIT_HUB_PORT": "9000"}, "hub", "--json"))
    assert plain["environment"] == "of this shell"
    (port,) = [each for each in plain["settings"] if (each["section"], each["key"]) == ("hub", "port")]
    assert port == {
        "part": "hub",
        "section": "hub",
        "key": "port",
        "value": 9000,
        "origin": "environment GLEITZEIT_HUB_PORT",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["hbu"], "there is no role 'hbu', did you mean hub?"), (["provider"], "which provider?")],
)
def test_a_role_that_cannot_be_shown_is_refused(arguments: list[str], said: str) -> None:
    result = call(FakeClient(), "config", "show", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
