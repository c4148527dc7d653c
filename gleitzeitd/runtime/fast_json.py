"""JSON text of packets, read and written as fast as this machine can."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from gleitzeitd.plain import Json


def _none(_: Json) -> Any:
    raise ValueError("nothing faster is installed")


_fast: Callable[[str], Any] = _none
_fast_bytes: Callable[[Json], bytes] = _none
with contextlib.suppress(ImportError):
    import orjson

    _fast, _fast_bytes = orjson.loads, orjson.dumps
_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def loads(text: str) -> Json:
    """The value; the same with and without orjson.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    with contextlib.suppress(ValueError):
        return _fast(text)
    # The standard library admits half characters and numbers of any length, which a body may hold.
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def dumps(value: Json) -> str:
    """Compact text of objects and lists of texts and whole numbers; with and without orjson the same value.

    Raises:
        ValueError: it has no JSON form.
    """
    with contextlib.suppress(ValueError, TypeError):  # half characters, and numbers beyond 64 bits
        return _fast_bytes(value).decode()
    return _dumps(value)
