"""Who may import whom, and what may stand where. The table is the architecture; read it first."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gleitzeitd"

BASICS = {"plain", "errors", "record"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "bounds": set(),
    "record": set(),
    "plain": {"errors"},
    "model": BASICS | {"bounds"},
    "events": BASICS | {"model"},
    "machines": BASICS | {"bounds", "model", "events"},
    "stores": BASICS | {"bounds", "model"},
    "providers": BASICS | {"bounds", "model"},
    "config": BASICS | {"bounds", "model.names"},
    "workflow_file": BASICS | {"model"},
    "protocol_file": BASICS | {"model", "config.locate", "providers.schema", "workflow_file"},
    "earlier": BASICS | {"model"},
    "runtime": BASICS
    | {
        "bounds",
        "model",
        "events",
        "machines",
        "stores",
        "providers",
        "config",
        "workflow_file",
        "protocol_file",
    },
    "roles": BASICS | {"bounds", "model", "runtime", "machines", "stores", "providers", "config"},
    "plan": BASICS | {"roles", "runtime", "machines.hub_settings", "model", "config"},
    "conform": BASICS | {"model", "events", "machines", "providers.schema", "runtime"},
    "client": {"*"},
    "mcp_serve": BASICS | {"model", "events", "providers.schema", "workflow_file", "client", "runtime.tasks"},
    "cli": {"*"},
    "__main__": {"*"},
}
"""The layer, a folder or a file of the package, to the modules that it may import, with all below them.
Its own modules and the version are open to everybody."""

PURE = {"errors", "bounds", "plain", "record", "model", "events", "machines"}
"""They decide, and do nothing: no clock, no chance, no file, no network, no log."""
OPEN_TO_PURE = set(
    "__future__ abc ast base64 bisect collections copy dataclasses datetime difflib enum fnmatch functools hashlib "
    "heapq io itertools json keyword math operator random re textwrap tokenize types typing zlib".split()
)

SPEAK_SOCKETIO = {"runtime/hub.py", "runtime/socketio_server.py", "runtime/socketio_client.py"}
STARTS_TASKS = "runtime/tasks.py"
MAY_PRINT = ("cli/",)
LONGEST_FILE = 500
LONGEST_FUNCTION = 60

VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "misc", "base_utils"}
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b")
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.~/-])/(home|Users|work)/\w")
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".service", ".target", ".socket", ".conf", ".sql"}


def modules() -> list[str]:
    """Paths below the package, as ``model/names.py``."""
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"), module)


def layer_of(name: str) -> str:
    """``model`` for ``model/names.py`` and for ``model.names``."""
    return re.split(r"[/.]", name.removesuffix(".py"))[0]


def imports(module: str) -> Iterator[str]:
    """Absolute names; what is imported from a package comes with its name, since it may be a module."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def excuse(rule: str, line: str) -> bool:
    """Whether the line makes an exception of the rule, and says why."""
    return re.search(rf"# noqa: [A-Z0-9, ]*{rule}[A-Z0-9, ]* -+ \w+ \w", line) is not None


def calls(module: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every call whose callee is a plain name or attribute."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    layer = layer_of(module)
    assert layer in MAY_IMPORT, f"{module}: the table knows no layer {layer!r}"
    allowed = MAY_IMPORT[layer] | {layer, "__version__"}
    for name in imports(module):
        top, _, inner = name.partition(".")
        if top == "gleitzeitd" and inner:
            fits = any(inner == one or inner.startswith(f"{one}.") for one in allowed)
            assert fits or "*" in allowed, f"{module}: {layer} must not import {name}"
        elif layer in PURE:
            assert top in OPEN_TO_PURE, f"{module} is pure and must not import {top}"


def test_no_import_goes_in_a_circle_between_layers() -> None:
    below: dict[str, set[str]] = {
        layer: {layer_of(name) for name in allowed - {"*"}} for layer, allowed in MAY_IMPORT.items()
    }
    done: list[str] = []
    while below:
        free = [layer for layer, needed in below.items() if needed <= set(done)]
        assert free, f"these layers need each other: {', '.join(below)}"
        done += free
        for layer in free:
            del below[layer]


@pytest.mark.parametrize("module", [m for m in modules() if layer_of(m) in PURE])
def test_pure_code_draws_no_random_number_of_its_own(module: str) -> None:
    for name in imports(module):
        assert not name.startswith("random") or name == "random.Random", f"{module}: {name} has no seed"
    unseeded = [n for n in ast.walk(tree(module)) if isinstance(n, ast.Call) and not n.args]
    assert "Random" not in {ast.unparse(call.func).rpartition(".")[2] for call in unseeded}


def test_exactly_two_files_speak_socketio() -> None:
    found = {m for m in modules() if any(layer_of(name) in ("socketio", "engineio") for name in imports(m))}
    assert found == SPEAK_SOCKETIO


def test_the_map_names_every_folder_and_file_at_the_top() -> None:
    entries = {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    told = (ast.get_docstring(tree("__init__.py")) or "").split()
    missing = {name for name in entries if not {name, f"{name}/", f"{name},"} & set(told)}
    assert missing <= {"__init__.py", "__main__.py"}, f"not on the map in gleitzeitd/__init__.py: {missing}"


@pytest.mark.parametrize("module", modules())
def test_files_and_functions_stay_short(module: str) -> None:
    length = len((PACKAGE / module).read_text(encoding="utf-8").splitlines())
    assert length <= LONGEST_FILE, f"{module} has {length} lines"
    for node in ast.walk(tree(module)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{module}:{node.lineno}: {node.name} has {lines} lines"


@pytest.mark.parametrize("module", [m for m in modules() if m != STARTS_TASKS])
def test_everything_is_caught_only_where_that_is_declared(module: str) -> None:
    lines = (PACKAGE / module).read_text(encoding="utf-8").splitlines()
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        passed_on = isinstance(node.body[-1], ast.Raise)
        if not passed_on and (not caught or re.search(r"\b(Base)?Exception\b", caught)):
            line = lines[node.lineno - 1]
            # ruff asks for no noqa where the error is logged; then a comment has to say why.
            reason = excuse("BLE001", line) or re.search(r":  # (?!noqa)\w+ \w+", line)
            assert reason, f"{module}:{node.lineno}: catches everything and does not say why in that line"


@pytest.mark.parametrize("module", [m for m in modules() if m != STARTS_TASKS])
def test_no_task_is_started_that_nobody_holds(module: str) -> None:
    bare = {"asyncio.create_task", "asyncio.ensure_future", "create_task", "ensure_future"}
    advice = "use Tasks.spawn of runtime/tasks.py, or an asyncio.TaskGroup"
    for line, name in calls(module):
        assert name not in bare, f"{module}:{line}: {name}: {advice}"
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func)
            assert not re.search(r"loop(\(\))?\.create_task$", name), (
                f"{module}:{node.lineno}: {name}: {advice}"
            )


@pytest.mark.parametrize("module", [m for m in modules() if not m.startswith(MAY_PRINT)])
def test_only_the_command_line_prints(module: str) -> None:
    lines = (PACKAGE / module).read_text(encoding="utf-8").splitlines()
    printing = [
        line
        for line, name in calls(module)
        if name in ("print", "pprint.pprint", "pprint") and not excuse("T201", lines[line - 1])
    ]
    assert not printing, f"{module}: prints in lines {printing}"


def test_no_file_has_a_vague_name() -> None:
    vague = [m for m in modules() if VAGUE & set(m.removesuffix(".py").split("/"))]
    assert not vague


def texts() -> list[Path]:
    """What is written by hand, wherever it lies."""
    skipped = re.compile(r"(^|/)(\.(?!ci/)|build/|dist/|__pycache__/)|\.egg-info/|^tests/bad_files/files/")
    found = [
        path
        for path in ROOT.rglob("*")
        if path.suffix in TEXTS and not skipped.search(path.relative_to(ROOT).as_posix()) and path.is_file()
    ]
    return [*found, ROOT / "dev", ROOT / ".ci" / "run"]


def test_nothing_is_left_unfinished_or_points_into_somebodys_folder() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group().strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := UNFINISHED.search(line) or SOMEBODYS_FOLDER.search(line))
    ]
    assert not found
