"""Mean and median of numbers. The context of python/execute is here as `context`, its keys as variables."""
# ruff: noqa: F821, T201 - `numbers` is given by python/execute

import statistics

print(f"{len(numbers)} numbers")
result = {"mean": statistics.mean(numbers), "median": statistics.median(numbers)}
