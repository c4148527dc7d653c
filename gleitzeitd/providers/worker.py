"""A worker process: it runs one piece of work at a time in a child of its own, and buries it.

Started by ``pool.py`` as a script, so it imports the standard library alone. Its arguments are descriptors:
of a socket, of this source, and of those of ``PARTS``; and a name for whoever looks at processes.
The socket carries frames, four bytes of length and a JSON object:

    worker -> pool   {"ready": true, "lacking": [text]} or {"failed": why}   once, after the preloading
    pool -> worker   {"size": bytes, "limits": limits}, with the descriptors for stdout, stderr and answers;
                     then a job of this size, which the worker hands on unread, and keeps nothing of
    worker -> pool   {"begun": true}                             if it lacks, nothing began
    pool -> worker   {"stop": grace}                              at most once per job, and only then
    worker -> pool   {"ended": exit code, "survivors": [pid], "exceeded": name}

The exit code is negative for a signal; the name is that of the limit for which the work was ended, if it was.
Before it says that it is ready, the worker gives up what jobs must not reach (``confinement.py``).

Each job is forked off the warm interpreter, so what it does to the interpreter dies with it. While the
worker waits for a job, the child that will be it is there already: it has copied the memory that every job
writes to, which is most of what a fork costs, and waits as well. The worker is the reaper of all orphans
below it (``PR_SET_CHILD_SUBREAPER``): as there is one job at a time, and no waiting child beside it, every
process below the worker belongs to that job, however often it forked and whatever session it made, and is
killed before ``ended`` is sent. The end of the socket is the end of the pool: stop everything and leave.
"""

# Without pathlib and contextlib, a worker starts in half the time.
# ruff: noqa: PTH123, PTH208, SIM105

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
import types
from json import dumps, loads  # by name: a script may replace what the module holds

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes a third of the worker's start
    from typing import Any

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
WORKER, NEXT_JOB, JOB = b"worker", b"next-job", b"job"
"""Names of this process, of a child that waits for its job, and of one that has it, for whoever looks."""
REHEARSAL = {
    "kind": "python",
    "file": "",
    "code": "result = None",
    "context": {"n": 1},
    "args": [],
    "env": {"GLEITZEIT_TASK": ""},
    "cwd": "",
}
"""A job that does nothing."""
FORKS = 3
"""Children that are made for a job, one after the other, if they are killed before it comes."""
BURIAL_SECONDS = 5.0
"""How long killed processes may take to vanish; those in an uninterruptible sleep take longer."""
PARTS = ("python_worker.py", "confinement.py", "allotment.py")
"""They cannot be imported by name: their directory must not be in the path of scripts."""

_libc = ctypes.CDLL(None, use_errno=True)


class Parts:
    """Modules that are loaded from descriptors, once, before all else."""

    python_worker: Any = None
    confinement: Any = None
    allotment: Any = None


class PoolGone(Exception):
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


def _exactly(control: socket.socket, size: int) -> bytearray:
    """In one piece of memory, which whoever asks can wipe."""
    data = bytearray(size)
    with memoryview(data) as rest:
        done = 0
        while done < size:
            count = control.recv_into(rest[done : done + (1 << 20)])
            if not count:
                raise PoolGone
            done += count
    return data


# The worker: fork, watch, bury.


def serve(control: socket.socket, plan: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Run jobs until the pool is gone. Returns only in a child: the job that it has to do."""
    limits: dict[str, Any] = {}
    job, fds, forks = bytearray(), list[int](), 0
    while True:
        child, orders = _fork(control)
        forks += 1
        if child == 0:
            for fd in fds:
                os.close(fd)
            if plan:
                Parts.confinement.show_memory()
            _rehearse()
            return _orders(orders)
        try:
            if not job:
                limits, job, fds = _next_job(control)
        except PoolGone:
            bury(child)
            raise
        if forks < FORKS and _has_ended(child):
            orders.close()
            os.waitpid(child, 0)
            continue  # somebody has killed it while it waited
        send(control, {"begun": True})
        try:
            socket.send_fds(orders, [b"\0"], fds)
            orders.sendall(struct.pack("!I", len(job)))
            orders.sendall(job)
        except OSError:
            pass  # it was killed just now: that is how the job ends
        orders.close()
        for fd in fds:
            os.close(fd)
        # Whatever stays here is in the memory of every child, and so of the jobs of others.
        job[:] = bytes(len(job))
        job, fds, forks = bytearray(), [], 0
        gone, exceeded = watch(control, child, limits)
        code, survivors = bury(child)
        if plan:
            Parts.confinement.empty(plan["own"])
        if gone:
            raise PoolGone
        send(control, {"ended": code, "survivors": survivors, "exceeded": exceeded})


def _fork(control: socket.socket) -> tuple[int, socket.socket]:
    """The child that will be the next job, and the socket that brings its orders; in the child, 0."""
    worker = os.getpid()
    ours, orders = socket.socketpair()
    _libc.prctl(PR_SET_NAME, NEXT_JOB, 0, 0, 0)  # the child has it from its first moment
    child = os.fork()
    if child:
        _libc.prctl(PR_SET_NAME, WORKER, 0, 0, 0)
        orders.close()
        return child, ours
    _become_job(worker)
    ours.close()
    control.close()
    return 0, orders


def _rehearse() -> None:
    """Whatever a job writes to in this process's memory, write to it now."""
    here, there = socket.socketpair()
    send(here, REHEARSAL)
    job, _ = receive(there)
    here.close()
    there.close()
    os.environ.update(job["env"])
    for name in job["env"]:
        del os.environ[name]
    Parts.python_worker.warm_up(job, Answers(1))


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _orders(orders: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What the child is to do; without a worker, nothing."""
    try:
        _, fds, _, _ = socket.recv_fds(orders, 1, 3)
        job, _ = receive(orders)
    except (OSError, PoolGone):
        os._exit(0)
    for fd in fds:
        os.set_inheritable(fd, False)
    orders.close()
    _libc.prctl(PR_SET_NAME, JOB, 0, 0, 0)
    return job, list(fds)


def _next_job(control: socket.socket) -> tuple[dict[str, Any], bytearray, list[int]]:
    """Its limits, the job itself, and its descriptors."""
    while True:
        head, fds = receive(control)
        if "stop" not in head:  # else it crossed the end of its job
            return head["limits"], _exactly(control, head["size"]), fds


def watch(control: socket.socket, child: int, limits: dict[str, Any]) -> tuple[bool, str]:
    """Wait until ``child`` has ended or is to be stopped at once. Whether the pool is gone, and the name of
    the limit that was exceeded.
    """
    pidfd = os.pidfd_open(child)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(control, select.POLLIN)
    pause = Parts.allotment.FIRST_LOOK_SECONDS if limits else None
    try:
        while not (events := poll.poll(None if pause is None else pause * 1000)):
            pause = Parts.allotment.LOOK_SECONDS
            _reap_all_but(child)
            if exceeded := Parts.allotment.overdrawn(limits, descendants()):
                return False, exceeded
        if pidfd in {fd for fd, _ in events}:
            return False, ""
        try:
            grace = float(receive(control)[0]["stop"])
        except PoolGone:
            return True, ""
        if grace > 0:
            _ask_to_end(child, grace, pidfd)
        return False, ""
    finally:
        os.close(pidfd)


def _reap_all_but(child: int) -> None:
    """Orphans that have ended must not be taken for processes."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != child:
        os.waitpid(ended.si_pid, 0)


def _ask_to_end(child: int, grace: float, pidfd: int) -> None:
    deadline = time.monotonic() + grace
    _kill_all(child, signal.SIGTERM)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(grace * 1000)
    # The others get the rest of the time, also when the first has gone.
    while time.monotonic() < deadline and [pid for pid in descendants() if pid != child and _lives(pid)]:
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
            return code, left or [0]  # there is somebody, and cannot be seen
        time.sleep(0.001)


def descendants() -> list[int]:
    """Every process below this one that lives, or has not been reaped. Orphans are our children, so nobody is
    missed.
    """
    try:
        found: list[int] = Parts.allotment.children()
    except FileNotFoundError:
        return _all_descendants()
    return found


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def _all_descendants() -> list[int]:
    """The same where the kernel does not tell of children."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = file.read().rpartition(b")")[2].split()[1]
            except OSError:
                continue  # it has just ended
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
    Parts.allotment.take(job["limits"])
    if job["kind"] == "command":
        run_command(job, answers)
    elif job["kind"] == "functions":
        Parts.python_worker.run_functions(answer)
    else:
        Parts.python_worker.run_script(job, answers)


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


def prepare(control: socket.socket) -> dict[str, Any] | None:
    """Give up what jobs must not reach, import what they will need, and say so. The plan by which that was
    done, or None if it failed.
    """
    settings, _ = receive(control)
    plan: dict[str, Any] = settings["plan"]
    lacking: list[str] = []
    if plan:
        try:
            lacking = Parts.confinement.confine(plan)
            os.chdir(plan["own"])
        except OSError as error:
            send(control, {"failed": f"isolation: {error}"})
            return None
    sys.path[:0] = settings["module_path"]
    name = ""
    try:
        for name in settings["preload"]:
            __import__(name)
    except Exception as error:  # noqa: BLE001 - the boundary of foreign modules
        send(control, {"failed": f"preload {name}: {type(error).__name__}: {error}"})
        return None
    Parts.python_worker.remember_warm()
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared
    send(control, {"ready": True, "lacking": lacking})
    return plan


def load(descriptors: list[str]) -> None:
    """Make the modules of ``PARTS`` of their sources."""
    for file_name, descriptor in zip(PARTS, descriptors, strict=True):
        # By its path: the offset of the descriptor itself is that of all workers.
        with open(f"/proc/self/fd/{descriptor}", encoding="utf-8") as file:
            source = file.read()
        os.close(int(descriptor))
        name = file_name.removesuffix(".py")
        module = types.ModuleType(f"gleitzeit_{name}")
        exec(compile(source, file_name, "exec"), module.__dict__)  # noqa: S102 - as importing it would
        setattr(Parts, name, module)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.close(int(sys.argv[2]))
    load(sys.argv[3 : 3 + len(PARTS)])
    control.set_inheritable(False)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pool decides when a worker ends
    # A child inherits this until it can obey: a request to end that comes too early waits, and is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        plan = prepare(control)
        if plan is None:
            return
        job, fds = serve(control, plan)
    except PoolGone:
        return
    run_job(job, fds)  # in a child


if __name__ == "__main__":
    main()
