"""What README.md and CONTRIBUTING.md promise is so: their commands exist and work, their examples run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from gleitzeitd.__main__ import run as gleitzeitd
from gleitzeitd.cli import cli
from gleitzeitd.errors import WorkflowInvalid
from gleitzeitd.workflow_file import load
from tests.daemons import Daemons, free_port

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:gleitzeitd?|\./dev) [^`]+)`")
LINK = re.compile(r"\]\(([^):#]+)\)")
SCRIPTS = Path(sys.executable).parent

needs_scripts = pytest.mark.skipif(
    shutil.which("gleitzeit", path=str(SCRIPTS)) is None, reason="the commands are not installed"
)


def blocks(language: str, *documents: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    found: Iterator[tuple[str, str]] = (
        each for document in documents for each in FENCE.findall((ROOT / document).read_text())
    )
    return [text for name, text in found if name == language]


def commands() -> list[str]:
    """All that a reader could type: the lines of consoles, and commands inside sentences."""
    lines = [line for text in blocks("console", *DOCUMENTS) for line in text.splitlines()]
    assert all(line.startswith("$ ") for line in lines), "a console shows what is typed, and nothing else"
    inline = [each for name in DOCUMENTS for each in INLINE.findall((ROOT / name).read_text())]
    return [*(line.removeprefix("$ ") for line in lines), *inline]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the commands of README.md find what they need."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"PATH={SCRIPTS}:$PATH\n")
    weather = next(text for text in blocks("python", "README.md") if "class Weather" in text)
    (tmp_path / "weather.py").write_text(weather)
    functions = next(text for text in blocks("python", "README.md") if "@method" in text)
    (tmp_path / "sky.py").write_text(functions)
    return tmp_path


def typed(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GLEITZEIT_", "LOG_LEVEL"))}
    return subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=folder,
        env={**clean, "XDG_STATE_HOME": str(folder / "state"), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@needs_scripts
@pytest.mark.parametrize("script", blocks("sh", *DOCUMENTS))
def test_a_script_works_as_it_stands(script: str, checkout: Path) -> None:
    done = typed(script, checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
@needs_scripts
def test_the_daemons_started_by_hand_run_the_tour(checkout: Path) -> None:
    consoles = blocks("console", "README.md")
    (first,) = (n for n, text in enumerate(consoles) if "gleitzeitd hub" in text)
    (last,) = (n for n, text in enumerate(consoles) if "kill " in text)
    port = free_port()
    script = re.sub(r"(?m)^\$ ", "", "".join(consoles[first : last + 1]))
    assert "http://localhost:8000" in script
    script = script.replace("http://localhost:8000", f"http://localhost:{port}")
    done = typed(
        f". .venv/bin/activate\ntrap 'kill $(jobs -p)' ERR\n{script}\nwait",
        checkout,
        GLEITZEIT_HUB_PORT=str(port),
        GLEITZEIT_HUB_URL=f"http://localhost:{port}",
        GLEITZEIT_SQLITE_PATH=str(checkout / "gleitzeit.db"),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"(?m)^completed in .*: 5 completed$", done.stdout)
    assert "every task is done" in done.stdout
    assert "workflow_completed" in done.stdout


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("gleitzeit ")])
def test_a_command_exists_with_its_options(command: str) -> None:
    name, *arguments = shlex.split(command.removesuffix(" &"))[1:]
    if name.startswith("-"):
        assert name in {option for parameter in cli.params for option in parameter.opts} | {"--help"}
        return
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, name
    with suppress(click.MissingParameter):  # of what is only mentioned
        found.make_context(name, arguments, parent=click.Context(cli))


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("gleitzeitd ")])
def test_a_daemon_exists_with_its_options(
    command: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(sys, "path", [*sys.path])
    arguments = shlex.split(command.removesuffix(" &").replace("ROLE", "hub"))[1:]
    assert gleitzeitd([*arguments, "--check-config"], {}) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("./dev ")])
def test_the_script_for_developers_knows_the_command(command: str) -> None:
    usage = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True).stdout
    assert f"\n  {command.split()[1]} " in usage


@pytest.mark.parametrize("text", blocks("yaml", *DOCUMENTS))
@needs_scripts
def test_a_workflow_runs(text: str, checkout: Path) -> None:
    (checkout / "tour.yaml").write_text(text)
    assert load(str(checkout / "tour.yaml")).read().workflow is not None
    done = typed(". .venv/bin/activate; gleitzeit run tour.yaml", checkout)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("python", *DOCUMENTS))
def test_code_is_python(text: str) -> None:
    compile(f"async def around():\n{textwrap.indent(text, '    ')}", "document", "exec")


@pytest.mark.slow
async def test_the_provider_of_ten_lines_serves_its_method(checkout: Path) -> None:
    path = {"PYTHONPATH": os.pathsep.join([str(checkout), str(ROOT)])}
    modules = {"weather": "weather:Weather"}
    async with Daemons(checkout, modules=modules, environment=path) as daemons, daemons.client() as client:
        task = {"id": "t", "method": "weather/forecast", "parameters": {"city": "Kiel"}}
        done = await client.run({"name": "w", "tasks": [task]})
        assert [each.result for each in done.tasks.values()] == [{"city": "Kiel", "days": 3, "sky": "grey"}]
        wrong = {**task, "parameters": {"city": "Kiel", "days": "many"}}
        with pytest.raises(WorkflowInvalid):
            await client.run({"name": "w", "tasks": [wrong]})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_linked_is_there(document: str) -> None:
    missing = [link for link in LINK.findall((ROOT / document).read_text()) if not (ROOT / link).exists()]
    assert not missing
