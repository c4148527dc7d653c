"""Reads how often, how long, with what and how urgently a task is tried: its retry, its timeouts, its
resources, its priority.
"""

from __future__ import annotations

from gleitzeitd import errors
from gleitzeitd.model.resources import RANGES, SIZES, Resources, in_words, size_of
from gleitzeitd.model.retry import (
    ATTEMPTS_LIMIT,
    BASE_DELAY_RANGE,
    BLOCK_ATTEMPTS,
    MAX_DELAY_RANGE,
    NOT_FAILURES,
    ONCE,
    Backoff,
    RetryPolicy,
)
from gleitzeitd.model.table_reader import Path, TableReader, shown
from gleitzeitd.model.workflow import NO_TIMEOUTS, TIMEOUTS_RANGE, Priority, Timeouts
from gleitzeitd.model.workflow_schema import PRIORITIES, RESOURCES_KEYS, RETRY_KEYS, TIMEOUTS_KEYS
from gleitzeitd.plain import Json


class PolicyReader(TableReader):
    """Of a task's table, what is about its attempts."""

    def retry(self, table: dict[str, Json], path: Path) -> RetryPolicy:
        block = table.get("retry")
        if block is None:
            return ONCE
        path = (*path, "retry")
        block = self.table(block, path)
        self.known_keys(block, RETRY_KEYS, path)
        backoff = Backoff.EXPONENTIAL
        if self.flag(block, "exponential_backoff", path, default=True) is False:
            backoff = Backoff.FIXED
        delay_key = "base_delay" if block.get("base_delay") is not None else "delay"
        base = self.number(block, delay_key, path, BASE_DELAY_RANGE)
        longest = self.number(block, "max_delay", path, MAX_DELAY_RANGE)
        attempts = block.get("max_attempts")
        if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= ATTEMPTS_LIMIT):
            message = f"expected a whole number from 1 to {ATTEMPTS_LIMIT}, found {shown(attempts)}"
            self.problem((*path, "max_attempts"), message)
            attempts = None
        return RetryPolicy(
            max_attempts=BLOCK_ATTEMPTS if attempts is None else attempts,
            backoff=self.choice(block, "backoff", path, Backoff, backoff),
            base_delay=ONCE.base_delay if base is None else base,
            max_delay=ONCE.max_delay if longest is None else longest,
            jitter=self.flag(block, "jitter", path, default=True),
            on=self.error_names(block, "on", path),
            never_on=self.error_names(block, "never_on", path),
        )

    def error_names(self, block: dict[str, Json], key: str, path: Path) -> tuple[str, ...]:
        names = [name for name in self.texts(block, key, path) if isinstance(name, str)]
        if block.get(key) == []:
            self.problem((*path, key), "expected at least one name of an error")
        other = block.get("on") if key == "never_on" else None
        for index, name in enumerate(names):
            place = (*path, key, index)
            if name not in errors.NAMES:
                self.problem(place, f"unknown error {shown(name)}{self.suggest(name, errors.NAMES)}")
            elif name in NOT_FAILURES:
                self.warn(place, f"not used: {NOT_FAILURES[name]}")
            elif isinstance(other, list) and name in other:
                self.problem(place, f"{name} is in on, too")
        return tuple(dict.fromkeys(names))

    def timeouts(self, table: dict[str, Json], path: Path) -> Timeouts:
        if table.get("timeouts") is None:
            return NO_TIMEOUTS
        path = (*path, "timeouts")
        block = self.table(table["timeouts"], path)
        self.known_keys(block, TIMEOUTS_KEYS, path)
        found = {key: self.number(block, key, path, TIMEOUTS_RANGE) for key in TIMEOUTS_KEYS}
        return Timeouts(**found) if any(found.values()) else NO_TIMEOUTS

    def resources(self, table: dict[str, Json], path: Path) -> Resources | None:
        path = (*path, "resources")
        block = self.table(table.get("resources"), path)
        self.known_keys(block, RESOURCES_KEYS, path)
        found: Resources = {}
        for key in RESOURCES_KEYS & block.keys():
            value = block[key]
            if value is None:
                continue
            count = size_of(value) if key in SIZES else value
            low, high = RANGES[key]
            kinds = (int, float) if key == "cpu_seconds" else (int,)
            if count is not None and type(count) in kinds and low <= count <= high:
                found[key] = count
                continue
            what = "bytes, or a text as 512 MB," if key in SIZES else "a whole number"
            what = "a number" if key == "cpu_seconds" else what
            ends = f"from {in_words(key, low)} to {in_words(key, high)}"
            self.problem((*path, key), f"expected {what} {ends}, found {shown(value)}")
        return found or None

    def priority(self, table: dict[str, Json], path: Path, default: int) -> int:
        value = table.get("priority")
        if value is None:
            return int(default)
        path = (*path, "priority")
        if isinstance(value, str) and value.lower() in PRIORITIES:
            return Priority[value.upper()].value
        if type(value) is int and Priority.LOW <= value <= Priority.URGENT:
            self.warn(
                path,
                f"{value} is read as {Priority(value).name.lower()}; names are clearer: versions differed",
            )
            return value
        hint = self.suggest(value, PRIORITIES) if isinstance(value, str) else ""
        self.problem(path, f"expected one of {', '.join(PRIORITIES)}, or 1 to 4, found {shown(value)}{hint}")
        return int(default)
