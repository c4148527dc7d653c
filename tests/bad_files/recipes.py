"""What is too large to be kept, or is no plain file: by name, what makes it at a path."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

ONE = "tasks:\n- id: a\n  method: echo/echo\n  "
TWO = "tasks:\n- {id: a, method: echo/echo}\n- id: b\n  method: echo/echo\n  "
JSON = '{"tasks": [{"id": "a", "method": "echo/echo", "params": {"p": %s}}]}'
MEGABYTE = 1_000_000


def _tasks(count: int, more: str = "") -> str:
    return "tasks:\n" + "".join(f"- {{id: t{n}, method: echo/echo{more.format(n)}}}\n" for n in range(count))


def _json_tasks(count: int) -> str:
    tasks = ",\n".join(f'{{"id": "t{n}", "method": "echo/echo"}}' for n in range(count))
    return f'{{"tasks": [{tasks}]}}'


def _bomb(width: int, depth: int) -> str:
    levels = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]\n" for n in range(1, depth))
    return "a0: &a0 [x, x]\n" + "".join(levels)


def _blowup(uses: int) -> str:
    return f"a: &a [{', '.join(['x'] * 10_000)}]\ntasks: [{', '.join(['*a'] * uses)}]\n"


def _merges(count: int) -> str:
    table = ", ".join(f"k{n}: {n}" for n in range(1000))
    return f"a: &a {{{table}}}\ntasks:\n" + "- {<<: *a}\n" * count


def _chain(count: int) -> str:
    first = f"- {{id: t0, method: echo/echo, dependencies: [t{count - 1}]}}\n"
    rest = (f"- {{id: t{n}, method: echo/echo, dependencies: [t{n - 1}]}}\n" for n in range(1, count))
    return "tasks:\n" + first + "".join(rest)


TEXTS: dict[str, Callable[[], str]] = {
    "billion_laughs.yaml": lambda: _bomb(9, 30),
    "quadratic_blowup.yaml": lambda: _blowup(5000),
    "merge_bomb.yaml": lambda: _merges(5000),
    "alias_tower.yaml": lambda: "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200)),
    "aliases_20000.yaml": lambda: f"a: &a 1\nb: [{', '.join(['*a'] * 20_000)}]\n",
    "anchors_100000.yaml": lambda: "tasks:\n" + "".join(f"- &a{n} x\n" for n in range(100_000)),
    "deep_flow.yaml": lambda: "tasks: " + "[" * 100_000,
    "deep_flow_tables.yaml": lambda: "tasks: " + "{a: " * 100_000,
    "deep_blocks.yaml": lambda: "tasks:\n" + "".join(" " * n + "a:\n" for n in range(1, 2000)),
    "deep_dashes.yaml": lambda: "- " * 50_000,
    "deep_questions.yaml": lambda: "? " * 50_000,
    "deep.json": lambda: "[" * 1_000_000,
    "deep_tables.json": lambda: '{"a":' * 200_000,
    "string_10_mb.yaml": lambda: f"{ONE}params: {{p: {'x' * 10 * MEGABYTE}}}\n",
    "string_10_mb_quoted.yaml": lambda: f'{ONE}params: {{p: "{"x" * 10 * MEGABYTE}"}}\n',
    "string_10_mb_block.yaml": lambda: f"{ONE}params:\n    p: |\n" + ("      " + "x" * 94 + "\n") * 100_000,
    "string_10_mb.json": lambda: JSON % f'"{"x" * 10 * MEGABYTE}"',
    "string_10_mb_open.yaml": lambda: f'name: "{"x" * 10 * MEGABYTE}',
    "string_10_mb_open.json": lambda: f'{{"name": "{"x" * 10 * MEGABYTE}',
    "key_10_mb.json": lambda: f'{{"{"k" * 10 * MEGABYTE}": 1}}',
    "key_1000.yaml": lambda: f"? {'k' * 1000}\n: 1\n",
    "comment_10_mb.yaml": lambda: "# " + "x" * 10 * MEGABYTE,
    "line_feeds_10_mb.yaml": lambda: "\n" * 10 * MEGABYTE,
    "brackets_10_mb.json": lambda: "[" + "[]," * 3 * MEGABYTE + "[]]",
    "escapes_2_mb.json": lambda: '{"name": "' + "\\u00e9" * 350_000 + '", "nmae": 1}',
    "larger_than_16_mib.yaml": lambda: "# " + "x" * 17 * 1024 * 1024,
    "tasks_100000.yaml": lambda: _tasks(100_000),
    "tasks_100000.json": lambda: _json_tasks(100_000),
    "tasks_20000_wrong.yaml": lambda: _tasks(20_000, ", tiemout: {0}"),
    "tasks_20000_same_id.yaml": lambda: "tasks:\n" + "- {id: a, method: echo/echo}\n" * 20_000,
    "tasks_20000_nobody.yaml": lambda: _tasks(20_000, ", dependencies: [gone{0}]"),
    "cycle_of_20000.yaml": lambda: _chain(20_000),
    "cycles_5000.yaml": lambda: _tasks(5000, ", dependencies: [t{0}]"),
    "values_300000.yaml": lambda: f"{ONE}params: {{p: [{', '.join(['1'] * 300_000)}]}}\n",
    "values_300000.json": lambda: JSON % str([1] * 300_000),
    "keys_100000.yaml": lambda: "".join(f"k{n}: {n}\n" for n in range(100_000)),
    "dependencies_20000.yaml": lambda: f"{TWO}dependencies: [{', '.join(['a'] * 20_000)}]\n",
    "references_20000.yaml": lambda: f"{TWO}params: {{p: '{'${a.x}' * 20_000}'}}\n",
    "references_110000.yaml": lambda: "tasks:\n- {id: a, method: echo/echo}\n"
    + f"- {{method: echo/echo, params: {{p: '{'${a.x}' * 9000}'}}}}\n" * 12,
    "reference_of_a_million_steps.yaml": lambda: f"{TWO}params: {{p: '${{a{'.x' * MEGABYTE}}}'}}\n",
    "reference_of_a_million_brackets.yaml": lambda: f"{TWO}params: {{p: '${{a{'[0]' * MEGABYTE}}}'}}\n",
    "reference_8_mb_open.yaml": lambda: f"{TWO}params: {{p: '${{{'a' * 7 * MEGABYTE}'}}\n",
    "references_open_100000.yaml": lambda: f"{TWO}params: {{p: '{'${' * 100_000}'}}\n",
    "python_quotes_open.yaml": lambda: "tasks:\n- {id: a, method: python/execute, params: {code: \""
    + "f'{" * 100_000 + "${b}\"}}\n",
    "inputs_2000.yaml": lambda: "inputs:\n" + "".join(f"  i{n}: string\n" for n in range(2000)) + _tasks(1),
    "name_1_mb.yaml": lambda: f"name: {'n' * MEGABYTE}\n" + _tasks(1),
    "id_1_mb.yaml": lambda: f"tasks:\n- {{id: {'a' * MEGABYTE}, method: echo/echo}}\n",
    "method_1_mb.yaml": lambda: f"tasks:\n- {{id: a, method: {'a.' * 500_000}}}\n",
    "digits_1_mb.yaml": lambda: f"{ONE}params: {{p: {'9' * MEGABYTE}}}\n",
    "digits_1_mb.json": lambda: JSON % ("9" * MEGABYTE),
    "base_60_1_mb.yaml": lambda: f"{ONE}timeout: {'1:' * 500_000}1\n",
    "documents_100000.yaml": lambda: "---\n" * 100_000,
    "nuls_10_mb.yaml": lambda: "\0" * 10 * MEGABYTE,
}  # fmt: skip


def _batch(path: Path) -> None:
    folder = path.parent / "many"
    folder.mkdir()
    for number in range(20_001):
        (folder / f"{number}.txt").touch()
    path.write_text("batch: {directory: many, pattern: '*.txt'}\ntemplate: {method: echo/echo}\n")


def _loop(path: Path) -> None:
    folder = path.parent / "loop"
    folder.mkdir()
    (folder / "again").symlink_to(folder)
    path.write_text("batch: {directory: loop, pattern: '**/*/*.txt'}\n")


def _unreadable(path: Path) -> None:
    path.write_text("tasks: []\n")
    path.chmod(0)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


PLACES: dict[str, Callable[[Path], None]] = {
    "folder.yaml": Path.mkdir,
    "pipe_without_writer.yaml": lambda path: os.mkfifo(path),
    "socket.yaml": _socket,
    "zeros.yaml": lambda path: path.symlink_to("/dev/zero"),
    "chance.yaml": lambda path: path.symlink_to("/dev/urandom"),
    "nothing.yaml": lambda path: path.symlink_to("/dev/null"),
    "link_to_nowhere.yaml": lambda path: path.symlink_to("gone"),
    "link_to_itself.yaml": lambda path: path.symlink_to(path.name),
    "missing.yaml": lambda path: None,
    "unreadable.yaml": _unreadable,
    "below_a_file.yaml": lambda path: None,
    "n" * 300 + ".yaml": lambda path: None,
    "batch_20001_files.yaml": _batch,
    "batch_loop.yaml": _loop,
}


def make(folder: Path) -> dict[str, Path]:
    """All of them in ``folder``: the path of each, by name."""
    found = {}
    for name, text in TEXTS.items():
        found[name] = folder / name
        found[name].write_text(text(), encoding="utf-8")
    for name, at in PLACES.items():
        found[name] = folder / name
        at(found[name])
    found["below_a_file.yaml"] = folder / "key_1000.yaml" / "below_a_file.yaml"
    return found
