"""A worker process: it runs one piece of work at a time in a child of its own, and buries it.

Started by ``pool.py`` as a script (``python -I worker.py FD``), so it imports the standard library alone. The
socket ``FD`` carries frames, four bytes of length and a JSON object:

    worker -> pool   {"ready": true} or {"failed": why}          once, after the preloading
    pool -> worker   a job, with the descriptors for its stdout, stderr and answers
    worker -> pool   {"begun": true}                             before the fork: if it lacks, nothing began
    pool -> worker   {"stop": grace}                              at most once per job, and only then
    worker -> pool   {"ended": exit code, "survivors": [pid]}     the exit code is negative for a signal

Each job is forked off the warm interpreter, so it starts in about a millisecond, and what it does to the
interpreter dies with it. The worker is the reaper of all orphans below it (``PR_SET_CHILD_SUBREAPER``): as
there is one job at a time, every process below the worker belongs to that job, however often it forked and
whatever session it made, and is killed before ``ended`` is sent. The end of the socket is the end of the
pool: stop everything and leave.
"""

# Without pathlib and contextlib, a worker starts in half the time.
# ruff: noqa: PTH100, PTH120, PTH123, PTH208, SIM105

from __future__ import annotations

import ast
import atexit
import ctypes
import gc
import linecache
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
import types
from json import dumps, loads  # by name: a script may replace what the module holds

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes a third of the worker's start
    from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
BURIAL_SECONDS = 5.0
"""How long killed processes may take to vanish; those in an uninterruptible sleep take longer."""
SCRIPT = "<script>"
TRACEBACK_FRAMES = 100
"""The innermost ones are shown; an endless recursion has many more."""

_libc = ctypes.CDLL(None, use_errno=True)


class Warm:
    """What the interpreter had when it was ready, before any job."""

    modules: frozenset[str] = frozenset()
    callbacks = 0
    """Registered with atexit."""


class PoolGone(Exception):  # noqa: N818 - not an error: the daemon has ended
    """The other end of the socket is closed."""


def send(control: socket.socket, message: dict[str, Any]) -> None:
    body = dumps(message).encode()
    try:
        control.sendall(struct.pack("!I", len(body)) + body)
    except OSError:
        raise PoolGone from None


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next frame, and the descriptors that came with it."""
    try:
        head, fds, _, _ = socket.recv_fds(control, 4, 3)
        for fd in fds:
            os.set_inheritable(fd, False)
        size = struct.unpack("!I", head + _exactly(control, 4 - len(head)))[0]
        message: dict[str, Any] = loads(_exactly(control, size))
    except OSError:
        raise PoolGone from None
    return message, list(fds)


def _exactly(control: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = control.recv(min(size, 1 << 20))
        if not part:
            raise PoolGone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# The worker: fork, watch, bury.


def serve(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Run jobs until the pool is gone. Returns only in a child: the job that it has to do."""
    while True:
        job, fds = receive(control)
        if "stop" in job:
            continue  # it crossed the end of its job
        worker = os.getpid()
        send(control, {"begun": True})
        child = os.fork()
        if child == 0:
            _become_job(worker)
            control.close()
            return job, fds
        for fd in fds:
            os.close(fd)
        gone = watch(control, child)
        code, survivors = bury(child)
        if gone:
            raise PoolGone
        send(control, {"ended": code, "survivors": survivors})


def watch(control: socket.socket, child: int) -> bool:
    """Wait until ``child`` has ended or is to be stopped at once. True if the pool is gone."""
    pidfd = os.pidfd_open(child)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(control, select.POLLIN)
    try:
        ready = {fd for fd, _ in poll.poll()}
        if pidfd in ready:
            return False
        try:
            grace = float(receive(control)[0]["stop"])
        except PoolGone:
            return True
        if grace > 0:
            _ask_to_end(child, grace, pidfd)
        return False
    finally:
        os.close(pidfd)


def _ask_to_end(child: int, grace: float, pidfd: int) -> None:
    deadline = time.monotonic() + grace
    _kill_all(child, signal.SIGTERM)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(grace * 1000)
    # The others get the rest of the time, also when the first has gone.
    while time.monotonic() < deadline and [pid for pid in descendants() if pid != child]:
        time.sleep(0.01)


def bury(child: int) -> tuple[int, list[int]]:
    """Kill all that is left of the job. Its exit code, and who could not be killed."""
    deadline = time.monotonic() + BURIAL_SECONDS
    # Before the child is reaped, while its number cannot mean another group.
    _signal_group(child, signal.SIGKILL)
    _signal_one(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code, []
        if pid:
            continue
        left = descendants()
        for stray in left:
            _signal_one(stray, signal.SIGKILL)
        if time.monotonic() > deadline:
            return code, left
        time.sleep(0.001)


def descendants() -> list[int]:
    """Every living process below this one. Orphans are our children, so nobody is missed."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue  # it has just ended
            if state != b"Z":
                below.setdefault(int(parent), []).append(int(name))
    found, waiting = [], [os.getpid()]
    while waiting:
        children = below.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _kill_all(child: int, number: int) -> None:
    reached = _signal_group(child, number)
    for pid in descendants():
        try:
            if not reached or os.getpgid(pid) != child:
                os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has just ended, or took another user


def _signal_group(group: int, number: int) -> bool:
    """False if there is no such group yet, or nobody in it may be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_one(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # ended in between, or it took another user: reported as a survivor


# The child: becoming the job, and doing it.


def _become_job(worker: int) -> None:
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != worker:
        os._exit(1)  # the worker died before it was tied to this process
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


class Answers:
    """The channel that carries what the job says, apart from what it prints: one JSON object per line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._owner = os.getpid()

    def say(self, message: dict[str, Any]) -> None:
        self.say_text(dumps(message))

    def say_text(self, text: str) -> None:
        data = text.encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]

    def progress(self, ratio: float, message: str = "") -> None:
        """How far the work is, 0..1."""
        self.say({"progress": [min(max(float(ratio), 0.0), 1.0), str(message)]})

    def is_owner(self) -> bool:
        """False in a process that the job has forked."""
        return os.getpid() == self._owner


def run_job(job: dict[str, Any], fds: list[int]) -> None:
    stdout, stderr, answer = fds
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    answers = Answers(answer)
    os.environ.update(job["env"])
    if job["cwd"]:
        try:
            os.chdir(job["cwd"])
        except OSError as error:
            answers.say({"error": f"{job['cwd']}: {error.strerror}", "kind": "parameter"})
            os._exit(1)
    if job["kind"] == "command":
        run_command(job, answers)
    else:
        run_script(job, answers)


def run_command(job: dict[str, Any], answers: Answers) -> None:
    if job["stdin"]:
        fd = os.memfd_create("stdin")
        with open(fd, "wb", closefd=False) as file:
            file.write(job["stdin"].encode())
        os.lseek(fd, 0, os.SEEK_SET)
        os.dup2(fd, 0)
    try:
        os.execvp(job["argv"][0], job["argv"])  # noqa: S606 - a shell is asked for by name
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        answers.say({"error": f"{job['argv'][0]}: {why}", "kind": "parameter"})
        os._exit(127)


def run_script(job: dict[str, Any], answers: Answers) -> None:
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


def _end(namespace: dict[str, Any]) -> None:
    """Leave as Python does, but without its clean-up of 3 ms if there is nothing that needs it."""
    threading = sys.modules.get("threading")
    if (
        (threading is None or threading.active_count() == 1)
        and atexit._ncallbacks() == Warm.callbacks
        and all(
            name.partition(".")[0] in sys.stdlib_module_names for name in sys.modules.keys() - Warm.modules
        )
    ):
        namespace.clear()  # writes out files that the script has not closed
        gc.collect()
        _leave(0)
    sys.exit(0)


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
        import tokenize

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
    import keyword

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
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    line = None
    if isinstance(error, SyntaxError) and error.filename == name:
        text, line = f"{type(error).__name__}: {error.msg}", error.lineno
    else:
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == name:
                line = number
    return f"{text} (line {line})" if line else text


def _fail(answers: Answers, headline: str, error: BaseException | None, kind: str = "raised") -> None:
    if error is not None:
        # The first frame is this file's.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, trace, limit=-TRACEBACK_FRAMES)
    if not answers.is_owner():
        _leave(1)
    answers.say({"error": headline[:4000], "kind": kind})
    sys.exit(1)


def prepare(control: socket.socket) -> bool:
    """Import what jobs will need, and say so. False if that failed."""
    settings, _ = receive(control)
    sys.path[:0] = settings["module_path"]
    name = ""
    try:
        for name in settings["preload"]:
            __import__(name)
    except Exception as error:  # noqa: BLE001 - the boundary of foreign modules
        send(control, {"failed": f"preload {name}: {type(error).__name__}: {error}"})
        return False
    Warm.modules, Warm.callbacks = frozenset(sys.modules), atexit._ncallbacks()
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared
    send(control, {"ready": True})
    return True


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pool decides when a worker ends
    # A child inherits this until it can obey: a request to end that comes too early waits, and is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        if not prepare(control):
            return
        job, fds = serve(control)
    except PoolGone:
        return
    run_job(job, fds)  # in a child


if __name__ == "__main__":
    main()
