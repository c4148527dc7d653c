"""``python -m tests.bad_files.look``: have the command line look at files, each in a process of its own.

Reads JSON ``{name: path}``; writes a line of JSON for each: what was said, how it ended, how long it took, and
the most memory it had. The process is forked from this one, which has imported everything, is nobody if this
one is root, and has an address space of LIMIT bytes.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

LIMIT = 1024 * 1024 * 1024
NOBODY = 65534
HERE = Path(__file__).parent
WARMING = [str(HERE / "files" / name) for name in ("at_sign.yaml", "open_list.json", "several_problems.yaml")]


def look(name: str, path: str) -> dict[str, Any]:
    """What ``gleitzeit validate`` does about the file at ``path``."""
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        child = os.fork()
        if not child:
            _validate(path, said.fileno())
        _, status, usage = os.wait4(child, 0)
        seconds = time.monotonic() - started
        said.seek(0)
        text = said.read().decode()
    return {
        "name": name,
        "lines": text.splitlines(),
        "exit": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }


def _validate(path: str, said: int) -> None:
    from gleitzeitd.cli import cli

    os.dup2(said, 1)
    os.dup2(said, 2)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    try:
        cli.main(["validate", path], prog_name="gleitzeit")
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:  # whatever it is, this process must not go on as its parent
        traceback.print_exc()
    os._exit(99)


def main() -> None:
    """Once here, so that everything is imported, also what nobody may read; the collector leaves it alone, or
    each process would copy it.
    """
    from gleitzeitd.cli import cli

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        for path in WARMING:
            with suppress(SystemExit):
                cli.main(["validate", path], prog_name="gleitzeit")
    gc.freeze()
    for name, path in json.load(sys.stdin).items():
        print(json.dumps(look(name, path)), flush=True)


if __name__ == "__main__":
    main()
