"""Which hub and which token: command line, environment, files."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from gleitzeitd.cli.options import Options, SecondsRange, command, connection_options
from gleitzeitd.errors import ConfigError
from tests.cli.fake_client import runner


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("from-file\n")
    path = tmp_path / "cli.toml"
    path.write_text(f'[connection]\nhub_urls = ["http://file:1"]\ntoken_file = "{tmp_path}/token"\n')
    return path


def test_the_command_line_wins_over_the_environment_and_that_over_files(config: Path) -> None:
    options = Options(environment={}, config_files=(config,))
    assert options.hubs() == ["http://file:1"]
    assert options.secret() == "from-file"
    options.environment = {"GLEITZEIT_HUB_URL": "http://a:1, http://b:1", "GLEITZEIT_TOKEN": "from-variable"}
    assert options.hubs() == ["http://a:1", "http://b:1"]
    assert options.secret() == "from-variable"
    options.hub_urls, options.token = ["http://given:1"], "given"
    assert options.hubs() == ["http://given:1"]
    assert options.secret() == "given"


def test_the_first_file_that_has_a_value_counts_and_missing_files_do_not(config: Path) -> None:
    other = config.with_name("other.toml")
    other.write_text('[connection]\nhub_urls = ["http://other:1"]\n')
    options = Options(environment={}, config_files=(config.with_name("none"), other, config))
    assert options.hubs() == ["http://other:1"]
    assert options.secret() == "from-file"


def test_nothing_is_set_without_any_of_them() -> None:
    options = Options(environment={}, config_files=())
    assert options.hubs() == []
    assert options.secret() is None


def test_a_broken_file_is_named(config: Path) -> None:
    config.write_text("[connection\n")
    with pytest.raises(ConfigError, match=r"cli\.toml"):
        Options(environment={}, config_files=(config,)).hubs()


@pytest.mark.parametrize("url", ["nonsense", "localhost:8000", "ftp://hub:1", "http://"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match=f"--hub: expected an address like http://hub:8000, found '{url}'"):
        Options(hub_urls=["http://good:1", url], environment={}, config_files=()).hubs()
    with pytest.raises(ConfigError, match="GLEITZEIT_HUB_URL: expected an address"):
        Options(environment={"GLEITZEIT_HUB_URL": url}, config_files=()).hubs()


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: the token cannot be read: No such file"):
        Options(token_file=str(tmp_path / "none"), environment={}).secret()


def test_options_are_understood_before_and_after_the_command() -> None:
    seen: list[tuple[list[str], str | None, bool]] = []

    @command("show")
    @connection_options
    @click.pass_obj
    def show(options: Options) -> None:
        """Show it."""
        seen.append((options.hub_urls, options.token, options.as_json))

    @click.group()
    @connection_options
    def group() -> None:
        pass

    group.add_command(show)
    runner().invoke(group, ["--hub", "a", "--hub", "b", "show", "--token", "t", "--json"], obj=Options())
    runner().invoke(group, ["--json", "--token", "t", "show", "--hub", "a", "--hub-url", "b"], obj=Options())
    runner().invoke(group, ["--hub", "a", "show", "--hub", "b"], obj=Options())
    assert seen == [(["a", "b"], "t", True), (["a", "b"], "t", True), (["b"], None, False)]


def test_where_the_host_has_a_token_its_hub_is_used_with_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    options = Options(environment={}, config_files=(), installed_token=token)
    assert options.hubs() == []
    assert options.secret() is None
    token.write_text("host\n")
    assert options.hubs() == ["http://localhost:8000"]
    assert options.secret() == "host"
    assert Options(token="t", environment={}, config_files=(), installed_token=token).secret() == "t"


def test_a_token_that_a_person_may_not_read_is_an_error_unless_he_has_named_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("host\n")
    monkeypatch.setattr("os.access", lambda *_: False)
    options = Options(environment={}, config_files=(), installed_token=token)
    assert options.hubs() == ["http://localhost:8000"]
    with pytest.raises(ConfigError, match="group gleitzeit"):
        options.secret()
    options.hub_urls = ["http://localhost:9000"]
    assert options.secret() is None


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan"])
def test_what_is_no_number_is_no_number_of_seconds(text: str) -> None:
    with pytest.raises(click.BadParameter, match="seconds"):
        SecondsRange(min=0).convert(text, None, None)
    assert SecondsRange(min=0).convert("1.5", None, None) == 1.5
