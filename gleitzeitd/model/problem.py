"""One thing that is wrong with a document, and where."""

from __future__ import annotations

from gleitzeitd.record import record

_SHOWN = 100


@record
class Problem:
    """What a person has to mend in a document before it can be used."""

    path: tuple[str | int, ...]
    """From the root of the document, as its author wrote it: ``("tasks", 3, "dependencies", 0)``."""
    message: str

    def __str__(self) -> str:
        place = dotted(self.path)
        return f"{place}: {self.message}" if place else self.message


def dotted(path: tuple[str | int, ...]) -> str:
    """``tasks[3].dependencies[0]`` for a path; of a long key, its beginning."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = step if len(step) <= _SHOWN else f"{step[:_SHOWN]}..."
            text += f".{shown}" if text else shown
    return text
