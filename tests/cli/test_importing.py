"""gleitzeit import: what earlier versions have left on disk, and what the daemons make of the result."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from gleitzeitd.plan import parsed, plan_of
from gleitzeitd.protocol_file import declared
from tests.cli.fake_client import FakeClient
from tests.cli.fake_client import call as run

OLLAMA = """\
name: ollama
protocol: llm/v1
version: v1
description: Local models
executor: ollama-llm
capabilities: [llm/chat, llm/vision]
connection:
  base_url: http://gpu.example:11434
  timeout: 60
  retries: 3
  health_check: {endpoint: /api/tags, method: GET, expected_status: 200}
authentication: {type: bearer, token: s3cret-s3cret}
metadata: {owner: us}
examples: [{method: llm/chat}]
"""
PYTHON = """\
name: local python
protocol: python/v1
version: v1
description: Python
executor: python-local
capabilities: [execute]
connection:
  python_executable: /usr/bin/python3
  timeout: 300
  max_memory_mb: 512
  working_directory: /tmp
  sandbox_enabled: true
"""
MCP = """\
name: tools
protocol: mcp/v1
connection: {command: [uvx, server-time], args: [--utc], env: {A: 1}, tool_prefix: t.}
"""
CONFIG = """\
persistence: {type: sqlite, sqlite: {db_path: ~/.gleitzeit/workflows.db}}
providers:
  ollama:
    endpoint: http://localhost:11434
    default_models: {chat: mistral, vision: llava:13b, code: codellama}
execution: {max_concurrent_tasks: 5, colour: blue}
batch: {max_file_size: 1000}
mcp: {servers: [{name: time, connection_type: stdio, command: [uvx, server-time], tool_prefix: t.}]}
"""
PROTOCOL = """\
name: weather
version: v1
description: What the sky will do.
author: us
methods:
  forecast:
    description: The next days.
    parameters:
      city: {type: string, required: true, min_length: 1}
      days: {type: integer, default: 3}
    returns: {type: object, properties: {sky: {type: string}}}
    examples: [{description: Usual, request: {city: Ulm}, response: {sky: grey}}]
"""


def importing(*words: object) -> Result:
    return run(FakeClient(), "import", *map(str, words))


def file(folder: Path, text: str, name: str = "earlier.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def settings(output: Path, name: str, words: tuple[str, ...] = ()) -> Any:
    """As the daemon reads it; it complains about whatever is wrong."""
    plan = plan_of(parsed(["provider", name, "--config", str(output), *words]), {})
    parts = plan.load()
    plan.check(parts)
    return parts[0].loaded.settings["provider"]


def test_a_provider_of_language_models_becomes_one_with_a_back_end(tmp_path: Path) -> None:
    output = tmp_path / "providers" / "ollama.toml"
    result = importing("provider", file(tmp_path, OLLAMA), "--output", output)
    assert result.exit_code == 0, result.output
    found = settings(output, "ollama")
    (backend,) = found.backends
    assert (backend.name, backend.kind, backend.base_url) == ("ollama", "ollama", "http://gpu.example:11434")
    assert found.read_seconds == 60.0
    text = output.read_text()
    for each in ("connection.retries = 3: no version has ever", "capabilities", "authentication.token: "):
        assert each in text
        assert each in result.stderr
    assert "s3cret" not in text + result.output


def test_one_that_spoke_openais_api_still_does(tmp_path: Path) -> None:
    text = OLLAMA.replace("ollama", "openai").replace("http://gpu.example:11434", "https://api.openai.com")
    output = tmp_path / "x.toml"
    importing("provider", file(tmp_path, text), "-o", output)
    (backend,) = settings(output, "x").backends
    assert (backend.kind, backend.base_url) == ("openai", "https://api.openai.com/v1")


def test_decoration_of_a_python_provider_is_not_taken_over(tmp_path: Path) -> None:
    output = tmp_path / "python.toml"
    result = importing("provider", file(tmp_path, PYTHON), "-o", output)
    found = settings(output, "python")
    assert (found.interpreter, found.working_directory) == ("/usr/bin/python3", "/tmp")  # noqa: S108 - as told
    for each in ("max_memory_mb = 512: no version", "sandbox_enabled = true: no version", "timeout = 300"):
        assert f"connection.{each}" in result.stderr


def test_a_provider_of_tools_names_its_server(tmp_path: Path) -> None:
    output = tmp_path / "mcp.toml"
    assert importing("provider", file(tmp_path, MCP), "-o", output).exit_code == 0
    (server,) = settings(output, "mcp").servers
    assert (server.command, server.args, server.env) == ("uvx", ["server-time", "--utc"], {"A": "1"})
    assert (server.name, server.tool_prefix) == ("tools", "t.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "expected a table with name and protocol"),
        ("name: x", "protocol is missing"),
        ("protocol: llm/v1", "name is missing"),
        (PROTOCOL, "gleitzeit import protocol reads it"),
        ("name: x\nprotocol: web-search/v1", "nothing that comes with gleitzeit serves web-search/v1"),
        ("name: [", "earlier.yaml:"),
    ],
)
def test_what_is_no_provider_of_ours_is_refused(tmp_path: Path, text: str, says: str) -> None:
    result = importing("provider", file(tmp_path, text), "-o", tmp_path / "x.toml")
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "x.toml").exists()


def test_nothing_is_overwritten_unless_that_is_wanted(tmp_path: Path) -> None:
    output = file(tmp_path, "mine", "x.toml")
    result = importing("provider", file(tmp_path, OLLAMA), "-o", output)
    assert result.exit_code == 2
    assert "exists already; --force writes over it" in result.stderr
    assert output.read_text() == "mine"
    assert importing("provider", file(tmp_path, OLLAMA), "-o", output, "--force").exit_code == 0
    assert "mine" not in output.read_text()
    assert {each.name for each in tmp_path.iterdir()} == {"earlier.yaml", "x.toml"}


def test_without_a_place_it_is_printed(tmp_path: Path) -> None:
    source = file(tmp_path, OLLAMA)
    result = importing("provider", source)
    assert tomllib.loads(result.stdout)["provider"]["module"].endswith(":LlmProvider")
    plain = json.loads(importing("provider", source, "--json").stdout)
    assert plain["files"]["-"] == result.stdout
    assert "connection.retries" in {each["path"] for each in plain["left_out"]}


def test_a_configuration_becomes_drop_ins(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    result = importing("config", file(tmp_path, CONFIG), "-o", folder)
    assert result.exit_code == 0, result.output
    plan = plan_of(
        parsed(["execution-engine", "--config", str(folder / "execution-engine.d" / "imported.toml")]), {}
    )
    assert plan.load()[0].loaded.settings["execution_engine"].slots == 5
    llm = settings(folder / "providers" / "llm.d" / "imported.toml", "llm")
    assert (llm.chat_model, llm.vision_model) == ("mistral", "llava:13b")
    assert [each.base_url for each in llm.backends] == ["http://localhost:11434"]
    mcp = settings(folder / "providers" / "mcp.d" / "imported.toml", "mcp")
    assert [each.command for each in mcp.servers] == ["uvx"]
    for each in ("persistence.sqlite.db_path", "execution.colour = blue", "default_models.code", "batch"):
        assert each in result.stderr
    assert "the ledger is SQLite, in a form of its own" in result.stderr


def test_a_configuration_of_which_nothing_is_left_says_so(tmp_path: Path) -> None:
    result = importing("config", file(tmp_path, "batch: {size: 3}\n"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing in it has a counterpart" in result.stderr


@pytest.mark.parametrize("ending", ["yaml", "toml"])
def test_a_protocol_is_written_as_one_would_today(tmp_path: Path, ending: str) -> None:
    source, output = file(tmp_path, PROTOCOL), tmp_path / f"weather.{ending}"
    result = importing("protocol", source, "-o", output)
    assert result.exit_code == 0, result.output
    assert declared(output) == declared(source)
    assert "min_length" not in output.read_text()
    assert "author = us: for people" in result.stderr


def test_a_protocol_is_printed_as_yaml(tmp_path: Path) -> None:
    plain = yaml.safe_load(importing("protocol", file(tmp_path, PROTOCOL)).stdout)
    assert list(plain) == ["name", "version", "description", "methods"]
    assert plain["methods"]["forecast"]["parameters"]["required"] == ["city"]


def test_a_protocol_that_is_wrong_is_refused_with_its_lines(tmp_path: Path) -> None:
    result = importing("protocol", file(tmp_path, PROTOCOL.replace("integer", "intger")))
    assert result.exit_code == 2
    assert "earlier.yaml:10:14: methods.forecast.parameters.days.type: unknown type" in result.stderr


def test_what_is_to_be_imported_has_to_be_said() -> None:
    assert importing().exit_code == 2
