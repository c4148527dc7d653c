"""What a process of functions does: it calls them, one after the other, until its channel ends.

It runs in a child of a worker that has imported this module, and those of the functions, before the fork. The
channel carries a JSON object per line:

    provider -> process   {"function": [module, name], "call": {method, parameters, ...}, "limit": bytes}
    process -> provider   {"progress": [ratio, text]}, {"partial": text}, {"output": [stream, text]}
    process -> provider   {"result": ..., "clean": bool} or {"failed": {code, message, ...}, "clean": bool}

``clean`` is false if the function has left processes behind: then this one ends with them.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from gleitzeitd.errors import ExecutionFailed, ResultInvalid, TaskError
from gleitzeitd.model.protocol import Method
from gleitzeitd.providers.base import MethodCall
from gleitzeitd.providers.binding import bind_as
from gleitzeitd.providers.hints import to_json


def serve(channel: int) -> None:
    """Answer calls until nobody sends any."""
    owner = os.getpid()
    say = functools.partial(_say, channel)
    with open(channel, "rb", closefd=False) as calls:
        for line in calls:
            asked = json.loads(line)
            answer = _answer(asked, say)
            if os.getpid() != owner:
                os._exit(0)  # a copy that the function has forked, and that has returned as well
            sys.stdout.flush()
            sys.stderr.flush()
            say(answer | {"clean": _is_alone()})


def _answer(asked: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    def progress(ratio: float, text: str = "") -> None:
        say({"progress": [min(max(float(ratio), 0.0), 1.0), str(text)]})

    call = MethodCall(
        **asked["call"],
        on_output=lambda stream, text: say({"output": [stream, text]}),
        on_partial=lambda text: say({"partial": text}),
        on_progress=progress,
    )
    try:
        bound = _bound(*asked["function"])
        result = to_json(bound.function(**bound.arguments(call)))
        size = len(json.dumps(result, allow_nan=False))
        if size > asked["limit"]:
            raise ResultInvalid(
                f"{call.method}: the result takes {size} bytes as JSON, {asked['limit']} are allowed"
            )
    except TaskError as error:
        return _failed(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary of foreign code
        return _failed(_foreign(call, error))
    return {"result": result}


@functools.cache
def _bound(module: str, name: str) -> Any:
    """The function, ready to be called with JSON."""
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    return bind_as(function, Method())


def _foreign(call: MethodCall, error: BaseException) -> TaskError:
    traceback.print_exception(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return ExecutionFailed(f"{call.method}: {text}")


def _failed(error: TaskError) -> dict[str, Any]:
    info = error.info()
    return {
        "failed": {
            "code": info.code,
            "message": info.message,
            "retryable": info.retryable,
            "retry_after": info.retry_after,
        }
    }


def _is_alone() -> bool:
    """Whether this process has no children, dead or alive."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _say(channel: int, message: dict[str, Any]) -> None:
    data = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
    while data:
        data = data[os.write(channel, data) :]
