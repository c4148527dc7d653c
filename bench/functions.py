"""Functions that do nothing, in a process of their own and in a thread, for what is measured with them."""

from __future__ import annotations

from gleitzeitd.providers import method


@method(process=True)
def in_process() -> dict[str, bool]:
    """That somebody is there."""
    return {"pong": True}


@method
def in_thread() -> dict[str, bool]:
    """That somebody is there."""
    return {"pong": True}
