"""The Debian packages: every role and provider has one, and they hold what they promise."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import gleitzeitd
from gleitzeitd.providers import BUILTIN
from gleitzeitd.roles import ROLES

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ROOT / "debian"
ROLE_NAMES = sorted(role.file_name for role, spec in ROLES.items() if spec.assembly is not None)
ROLE_NAMES = sorted({*ROLE_NAMES, "hub"})
UNIT_SUFFIXES = {".service", ".socket", ".target", ".slice"}


def paragraphs() -> list[dict[str, str]]:
    """Those of debian/control, each as field -> value with its lines joined."""
    made = []
    for block in (DEBIAN / "control").read_text().strip().split("\n\n"):
        fields = re.findall(r"^(\S+): ?((?:.*)(?:\n .*)*)$", block, re.MULTILINE)
        made.append({name: re.sub(r"\s*\n\s*", " ", value) for name, value in fields})
    return made


SOURCE, *BINARIES = paragraphs()
PACKAGES = {binary["Package"]: binary for binary in BINARIES}


def names(relation: str) -> set[str]:
    """The packages that a field of relations speaks of."""
    return {re.split(r"[ (<\[]", one.strip())[0] for one in re.split(r"[,|]", relation) if one.strip()}


def installed(package: str) -> list[list[str]]:
    """Lines of its .install: what, and where to."""
    file = DEBIAN / f"{package}.install"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_every_role_and_every_provider_has_a_package() -> None:
    wanted = {"gleitzeit", "gleitzeit-common", "gleitzeit-cli"}
    wanted |= {f"gleitzeit-{name}" for name in ROLE_NAMES}
    wanted |= {f"gleitzeit-provider-{name}" for name in BUILTIN}
    assert set(PACKAGES) == wanted


def test_the_metapackage_depends_on_all_others_but_two_in_its_own_version() -> None:
    relations = [one.strip() for one in PACKAGES["gleitzeit"]["Depends"].split(",")]
    ours = {one for one in relations if not one.startswith("$")}
    wanted = set(PACKAGES) - {"gleitzeit", "gleitzeit-provider-mcp", "gleitzeit-provider-grpc"}
    assert ours == {f"{name} (= ${{source:Version}})" for name in wanted}


def test_nothing_depends_on_the_package_with_the_sdk_of_mcp() -> None:
    for name, binary in PACKAGES.items():
        assert "gleitzeit-provider-mcp" not in names(binary.get("Depends", "")), name


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - {"gleitzeit", "gleitzeit-common"}))
def test_a_package_depends_on_the_code_of_its_own_version_and_on_nothing_else_by_name(package: str) -> None:
    relations = {one.strip() for one in PACKAGES[package]["Depends"].split(",")}
    assert "gleitzeit-common (= ${source:Version})" in relations
    libraries = {"python3-grpcio", "python3-protobuf"} if package == "gleitzeit-provider-grpc" else set()
    assert all(one.startswith(("${", "gleitzeit-common ")) for one in relations - libraries)


def test_only_what_brings_compiled_code_is_of_one_architecture_and_all_say_what_they_are() -> None:
    compiled = {binary["Package"] for binary in BINARIES if binary["Architecture"] != "all"}
    assert compiled == {"gleitzeit-provider-mcp"}
    synopses = [binary["Description"].split("  ")[0] for binary in BINARIES]
    assert len(set(synopses)) == len(synopses)


def test_nothing_asks_the_administrator_or_makes_users_by_hand() -> None:
    forbidden = {
        "adduser",
        "debconf",
        "init-system-helpers",
        "lsb-base",
        "cron",
        "logrotate",
        "sudo",
        "polkitd",
    }
    for paragraph in [SOURCE, *BINARIES]:
        for field in ("Depends", "Pre-Depends", "Recommends", "Suggests", "Build-Depends"):
            assert not names(paragraph.get(field, "")) & forbidden, (paragraph, field)
    unwanted = ("*.config", "*.templates", "*.default", "*.init", "*.logrotate", "*.cron*")
    assert [file.name for pattern in unwanted for file in DEBIAN.glob(pattern)] == []


def test_versions_needed_to_build_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block
    wanted = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', block[1]))
    debian = dict(re.findall(r"(python3-[\w-]+) \(>= ([\d.]+)\)", SOURCE["Build-Depends"]))
    spelled = {"python-socketio": "socketio", "PyYAML": "yaml", "PyJWT": "jwt"}
    assert {f"python3-{spelled.get(name, name)}": low for name, low in wanted.items()} == {
        name: low for name, low in debian.items() if name != "python3-setuptools"
    }


def test_the_version_of_the_packages_is_that_of_the_code() -> None:
    first = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"gleitzeit ({gleitzeitd.__version__}) ")
    assert (DEBIAN / "source" / "format").read_text().strip() == "3.0 (native)"


@pytest.mark.parametrize("name", ROLE_NAMES)
def test_a_role_brings_its_settings_and_a_directory_for_others(name: str) -> None:
    assert [f"config/{name}.toml", "etc/gleitzeit"] in installed(f"gleitzeit-{name}")
    assert f"etc/gleitzeit/{name}.d" in (DEBIAN / f"gleitzeit-{name}.dirs").read_text().split()


@pytest.mark.parametrize("name", BUILTIN)
def test_a_provider_brings_its_settings_and_a_directory_for_others(name: str) -> None:
    package = f"gleitzeit-provider-{name}"
    assert [f"config/providers/{name}.toml", "etc/gleitzeit/providers"] in installed(package)
    assert f"etc/gleitzeit/providers/{name}.d" in (DEBIAN / f"{package}.dirs").read_text().split()


def test_every_file_of_settings_is_in_exactly_one_package() -> None:
    shipped = [
        line[0] for package in PACKAGES for line in installed(package) if line[0].startswith("config/")
    ]
    files = [str(file.relative_to(ROOT)) for file in (ROOT / "config").rglob("*.toml")]
    assert sorted(shipped) == sorted(files)


def test_what_packages_take_from_the_repository_is_there() -> None:
    for package in PACKAGES:
        for what, _ in (line for line in installed(package) if len(line) == 2):
            assert list(ROOT.glob(what)), f"{package}: {what}"
    assert (ROOT / "examples" / "hello.yaml").exists()


def test_every_unit_belongs_to_a_package() -> None:
    units = {file.name for file in (ROOT / "systemd").iterdir() if file.suffix in UNIT_SUFFIXES}
    for name in ROLE_NAMES:
        assert f"gleitzeit-{name}.service" in units
    shared = {name for name in units if f"{re.split(r'[@.]', name)[0]}" not in PACKAGES}
    # Those that debian/rules puts into gleitzeit-common, besides the ones whose name is gleitzeit.
    assert shared == {"gleitzeit-keygen.service", "gleitzeit-provider@.service"}


def test_every_override_of_lintian_has_its_reason() -> None:
    for file in [*DEBIAN.glob("*.lintian-overrides"), DEBIAN / "source" / "lintian-overrides"]:
        lines = file.read_text().splitlines()
        for above, line in zip(["", *lines], lines, strict=False):
            assert line.startswith("# ") or above.startswith("# "), f"{file.name}: {line}"


def test_maintainer_scripts_are_valid_shell() -> None:
    scripts = [*(DEBIAN / "maintscripts").iterdir()]
    for pattern in ("*.preinst", "*.postinst", "*.prerm", "*.postrm"):
        scripts += DEBIAN.glob(pattern)
    assert scripts
    for script in scripts:
        subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)
