"""What a worker process does with a Python script, in the child that was forked for it.

The child is the script's alone: it gets a fresh ``__main__``, and what it changes dies with it. It says one
thing on the channel for answers: ``{"result": ...}``, or ``{"error": text, "kind": kind}``, where the kind
is ``raised``, ``syntax``, ``parameter`` or ``result``. Standard library only, as ``worker.py``, which loads
it before any fork.
"""

# Without pathlib and contextlib, a worker starts in half the time.
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import ast
import atexit
import errno
import gc
import keyword
import linecache
import os
import sys
import tokenize
import traceback
import types
from json import dumps  # by name: a script may replace what the module holds

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes a third of the worker's start
    from typing import Any

    from gleitzeitd.providers.worker import Answers

SCRIPT = "<script>"
TRACEBACK_FRAMES = 100
"""The innermost ones are shown; an endless recursion has many more."""


class Warm:
    """What the interpreter had when it was ready, before any script."""

    modules: frozenset[str] = frozenset()
    callbacks = 0
    """Registered with atexit."""


def remember_warm() -> None:
    """The interpreter is ready now."""
    Warm.modules, Warm.callbacks = frozenset(sys.modules), atexit._ncallbacks()


def warm_up(job: dict[str, Any], answers: Answers) -> None:
    """Do with a job that does nothing, in a child that has none yet, what every job does: that copies the
    memory that it writes to. The process is afterwards as it was before.
    """
    main, name = sys.modules["__main__"], job["file"] or SCRIPT
    for fd in (1, 2):
        _line_buffered(fd).flush()
    source = _source(job, name, answers)
    namespace = _namespace(name, job, answers)
    before = dict(namespace)
    exec(compile(source, name, "exec", dont_inherit=True), namespace)  # noqa: S102 - our own
    dumps(_result(namespace, before, source), allow_nan=False, ensure_ascii=False).encode()
    _leaves_nothing()
    namespace.clear()
    del linecache.cache[name]
    sys.modules["__main__"] = main
    gc.collect()


def run_script(job: dict[str, Any], answers: Answers) -> None:
    """Run it, answer, and leave the process."""
    sys.stdout = sys.__stdout__ = _line_buffered(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _line_buffered(2)  # type: ignore[misc]
    name = job["file"] or SCRIPT
    sys.argv = [name, *job["args"]]
    if job["file"]:
        sys.path.insert(0, os.path.dirname(os.path.abspath(name)))
    source = _source(job, name, answers)
    before: dict[str, Any] = {}
    namespace = _namespace(name, job, answers)
    try:
        code = compile(source, name, "exec", dont_inherit=True)
        before.update(namespace)
        exec(code, namespace)  # noqa: S102 - this is the work, in a process of its own
    except SystemExit as exit_:
        if exit_.code not in (None, 0):
            if isinstance(exit_.code, str):
                print(exit_.code, file=sys.stderr)  # noqa: T201 - as Python itself does
            _fail(answers, f"SystemExit: {exit_.code}", None)
    except BaseException as error:  # noqa: BLE001 - the boundary of the user's code
        broken = isinstance(error, SyntaxError) and error.filename == name
        _fail(answers, _headline(error, name), error, "syntax" if broken else "raised")
    if not answers.is_owner():
        _leave(0)  # a copy that the script has forked, and that ran to the end of it as well
    _give(answers, _result(namespace, before, source), job["result_limit"])
    before.clear()
    _end(namespace)


def run_functions(channel: int) -> None:
    """Be a process of functions, whose module the worker has imported, until the channel ends."""
    sys.stdout = sys.__stdout__ = _line_buffered(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _line_buffered(2)  # type: ignore[misc]
    sys.modules["gleitzeitd.providers.function_worker"].serve(channel)


def _end(namespace: dict[str, Any]) -> None:
    """Leave as Python does, but without its clean-up of 3 ms if there is nothing that needs it."""
    if _leaves_nothing():
        namespace.clear()  # writes out files that the script has not closed
        gc.collect()
        _leave(0)
    sys.exit(0)


def _leaves_nothing() -> bool:
    """Whether there is no thread, no callback and no foreign module that wants to do something at the end."""
    threading = sys.modules.get("threading")
    return (
        (threading is None or threading.active_count() == 1)
        and atexit._ncallbacks() == Warm.callbacks
        and all(
            name.partition(".")[0] in sys.stdlib_module_names for name in sys.modules.keys() - Warm.modules
        )
    )


def _line_buffered(fd: int) -> Any:
    """The interpreter's own was made for another file: it believes that it can seek."""
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _leave(code: int) -> None:
    """End this process without running what others have registered for its end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _source(job: dict[str, Any], name: str, answers: Answers) -> str:
    if not job["file"]:
        source: str = job["code"]
    else:
        try:
            with tokenize.open(name) as file:  # obeys the coding line
                source = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            answers.say({"error": f"{name}: {why}", "kind": "parameter"})
            os._exit(1)
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # for tracebacks
    return source


def _namespace(name: str, job: dict[str, Any], answers: Answers) -> dict[str, Any]:
    """A fresh ``__main__``: the context, and what of its keys can be a variable and hides nothing."""
    context = job["context"]
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    names = main.__dict__
    names["__builtins__"] = __builtins__
    names["progress"] = answers.progress
    builtins = __builtins__ if isinstance(__builtins__, dict) else vars(__builtins__)
    for key, value in context.items():
        if key.isidentifier() and not keyword.iskeyword(key) and key not in builtins and key[:2] != "__":
            names[key] = value
    names["context"] = context
    if job["file"]:
        names["__file__"] = name
    return names


def _result(namespace: dict[str, Any], before: dict[str, Any], source: str) -> Any:
    """What the script set: ``result``, or else ``output``. What it merely found there does not count."""
    for name in ("result", "output"):
        if name not in namespace:
            continue
        if name not in before or namespace[name] is not before[name] or _assigns(source, name):
            return namespace[name]
    return None


def _assigns(source: str, name: str) -> bool:
    nodes = ast.walk(ast.parse(source))
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in nodes)


def _give(answers: Answers, result: Any, limit: int) -> None:
    try:
        text = dumps(result, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        answers.say({"error": _not_json(result, error), "kind": "result"})
        sys.exit(1)
    if size > limit:
        why = f"the result takes {size} bytes as JSON, {limit} are allowed"
        answers.say({"error": why, "kind": "result"})
        sys.exit(1)
    answers.say_text(f'{{"result":{text}}}')


def _not_json(value: Any, error: Exception, path: str = "result", depth: int = 0) -> str:
    """Where in a result the first thing is that JSON cannot hold."""
    if depth < 50:
        items: Any = ()
        if isinstance(value, dict):
            for key in value:
                if not (key is None or isinstance(key, (str, int, float, bool))):
                    return f"{path} has a key of type {type(key).__name__}, which JSON cannot hold"
            items = ((f"{path}.{key}", item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            items = ((f"{path}[{index}]", item) for index, item in enumerate(value))
        for place, item in items:
            try:
                dumps(item, allow_nan=False, ensure_ascii=False).encode()
            except (TypeError, ValueError, RecursionError) as inner:
                return _not_json(item, inner, place, depth + 1)
    if isinstance(value, float):
        return f"{path} is {value}, which JSON cannot hold"
    if value is None or isinstance(value, (str, int, bool, dict, list, tuple)):
        return f"{path}: {error}"
    return f"{path} is of type {type(value).__name__}, which JSON cannot hold"


def _headline(error: BaseException, name: str) -> str:
    name_of_type, line = type(error).__name__, None
    try:
        text = f"{name_of_type}: {error}" if str(error) else name_of_type
    except Exception:  # noqa: BLE001 - the boundary of the user's code: a __str__ that fails
        text = name_of_type
    if isinstance(error, SyntaxError) and error.filename == name:
        text, line = f"{name_of_type}: {error.msg}", error.lineno
    else:
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == name:
                line = number
    return f"{text} (line {line})" if line else text


def _limit_met(error: BaseException | None) -> str:
    """The limit on the job that an exception is about; empty if none."""
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError):
        known = {errno.EMFILE: "open_files", errno.EFBIG: "file_size", errno.ENOMEM: "memory"}
        return known.get(error.errno or 0, "")
    return ""


def _fail(answers: Answers, headline: str, error: BaseException | None, kind: str = "raised") -> None:
    if error is not None:
        # The first frame is this file's.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, trace, limit=-TRACEBACK_FRAMES)
    if not answers.is_owner():
        _leave(1)
    refused = isinstance(error, PermissionError) or type(error).__name__ == "gaierror"
    limit = _limit_met(error)
    answers.say({"error": headline[:4000], "kind": kind, "limit": limit, "refused": refused})
    sys.exit(1)
