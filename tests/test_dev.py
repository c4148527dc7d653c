"""The one script: its interface, and that it says what is wrong. What it installs is not installed here."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import gleitzeitd

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "run",
    "check",
    "test",
    "fuzz",
    "chaos",
    "sim",
    "matrix",
    "system",
    "bench",
    "deb",
    "repo",
    "reference",
    "help",
)


def dev(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "dev"), *arguments],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    done = dev("help", folder=tmp_path)
    assert done.returncode == 0
    assert not done.stderr
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_help_is_what_no_command_means() -> None:
    assert dev().stdout == dev("help").stdout


def test_an_unknown_command_is_an_error_with_the_usage() -> None:
    done = dev("tset")
    assert done.returncode == 2
    assert not done.stdout
    assert "unknown command: tset" in done.stderr
    assert "usage:" in done.stderr


def copy_without_venv(folder: Path) -> Path:
    shutil.copy(ROOT / "dev", folder / "dev")
    shutil.copy(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder / "dev"


def test_an_old_python_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "a path with blanks"
    tools = tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    old = tools / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n[ "$1" = --version ]\n')
    old.chmod(0o755)
    for tool in ("sh", "dirname", "cksum", "cat", "id"):
        (tools / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))
    script = copy_without_venv(folder)
    done = subprocess.run(
        [str(script), "check"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed; python3 is Python 3.9.2" in done.stderr
    assert not (folder / ".venv").exists()


def test_the_scripts_of_the_repository_are_clean() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    scripts = [str(ROOT / "dev"), str(ROOT / ".ci" / "run"), *map(str, (ROOT / "packaging").rglob("*.sh"))]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_package_has_the_version_that_the_code_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "gleitzeitd.__version__"
    assert "## [Unreleased]" in (changes := (ROOT / "CHANGELOG.md").read_text())
    assert f"version {gleitzeitd.__version__}" in changes or f"## [{gleitzeitd.__version__}]" in changes


def test_what_tests_need_is_installed_before_they_run() -> None:
    script = (ROOT / "dev").read_text()
    tests = script[script.index("    test)") :].partition(";;")[0]
    for function in ("setup", "setup_tools", "setup_javascript", "setup_rust", "setup_system"):
        assert f"\n{function}() {{" in script
        assert f"\n        {function}\n" in tests
