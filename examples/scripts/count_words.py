"""Count the words of one file. What is printed becomes the task's output, what is in `result` its result."""
# ruff: noqa: F821, T201 - `context` is given by python/execute

from pathlib import Path

path = Path(context["file_path"])
words = path.read_text(encoding="utf-8").split()
print(f"{path.name}: {len(words)} words")
result = {"file": path.name, "words": len(words), "longest": max(words, key=len, default="")}
