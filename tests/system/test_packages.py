"""What Debian's own tools say about the packages. Their verdict is kept with the packages that it is about."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.system.containers import ENVIRONMENT
from tests.system.fleet import release
from tests.system.progress import step

SECONDS = 900


def verdict(packages: Path, name: str, command: Sequence[str | Path]) -> str:
    """What the tool has written; from an earlier run, if the packages have not been built anew since.

    Raises:
        AssertionError: it has ended with another code than 0.
    """
    kept = packages / f"{name}.verdict"
    if kept.exists():
        return kept.read_text()
    with step(f"  {name}"):
        done = subprocess.run(
            command,
            env=ENVIRONMENT,
            cwd=packages,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:]
    kept.write_text(done.stdout)
    return done.stdout


@pytest.mark.skipif(not shutil.which("lintian"), reason="lintian is not installed")
def test_lintian_finds_nothing_that_is_not_overridden(packages: Path) -> None:
    (changes,) = packages.glob("*.changes")
    options = ["--allow-root", "--display-info", "--display-experimental", "--pedantic"]
    assert verdict(packages, "lintian", ["lintian", *options, changes]) == ""


@pytest.mark.skipif(
    not shutil.which("piuparts", path="/usr/sbin:/usr/bin"), reason="piuparts is not installed"
)
def test_piuparts_installs_and_purges_without_a_finding(packages: Path, image: Path, tmp_path: Path) -> None:
    shutil.copytree(packages, tmp_path / "repository")
    (tmp_path / "repository/Packages").write_bytes(
        subprocess.run(
            ["dpkg-scanpackages", "--multiversion", "."],
            cwd=tmp_path / "repository",
            capture_output=True,
            check=True,
        ).stdout
    )
    repository = f"deb [trusted=yes] file:{tmp_path}/repository ./"
    command = ["piuparts", "--distribution", release(), f"--existing-chroot={image}", "--no-eatmydata"]
    command += [f"--extra-repo={repository}", f"--bindmount={tmp_path}/repository"]
    command += ["--warn-on-others", "--no-upgrade-test", "--log-level=info"]
    said = verdict(packages, f"piuparts-{release()}", [*command, *sorted(packages.glob("*.deb"))])
    assert "PASS: All tests" in said
