"""JSON text of packets, read as fast as this machine can."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from gleitzeitd.plain import Json


def _none(_: str) -> Json:
    raise ValueError("nothing faster is installed")


_fast: Callable[[str], Any] = _none
with contextlib.suppress(ImportError):
    import orjson

    _fast = orjson.loads


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
