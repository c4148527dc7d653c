"""Functions that run in processes, for ``test_functions.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from gleitzeitd.errors import RateLimited
from gleitzeitd.providers import MethodCall, method

COUNT = 0


@dataclass
class Place:
    name: str
    height: int = 0


@method(process=True)
def pid() -> int:
    """Of the process that it runs in."""
    return os.getpid()


@method(process=True)
def count() -> int:
    """Calls of this one in its process."""
    global COUNT
    COUNT += 1
    return COUNT


@method(process=True)
def higher(place: Place, by: int = 1) -> Place:
    """A place, and how a type of its own is passed."""
    return Place(place.name, place.height + by)


@method(process=True)
def talk(call: MethodCall, lines: int) -> str:
    """Says something in every way there is."""
    for number in range(lines):
        print(number)
        call.on_progress((number + 1) / lines, "line")
    call.on_partial("part")
    call.on_output("stderr", "said\n")
    print("end", file=sys.stderr)
    return call.task_id


@method(process=True)
def fail(how: str) -> object:
    """In one of the ways there are."""
    match how:
        case "raise":
            raise KeyError("gone")
        case "exit":
            raise SystemExit(3)
        case "limit":
            raise RateLimited("slow down", retry_after=9)
        case "die":
            os._exit(7)
        case "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "large":
            return "x" * 5000
        case "json":
            return [float("nan")]
    return None


@method(process=True)
def hang(call: MethodCall, deaf: bool = False) -> None:
    """Until it is killed, with a child that does not want to go."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(os.getpid(), child.pid, flush=True)
    while True:
        time.sleep(1)


@method(process=True)
def leave() -> int:
    """A process behind; its pid."""
    return subprocess.Popen(["sleep", "600"], start_new_session=True).pid


@method
def in_thread() -> int:
    """Of the daemon's process."""
    return os.getpid()
