"""Regular expressions of schemas, searched in time that is in proportion to the text.

A schema comes over the wire from any provider, and Python's own engine takes longer than the world will last
for ``^(a+)+$`` and forty letters. Here all the places that an expression can be at are followed at once
(Thompson's construction, with the sets that were seen kept as a table), so that there is nothing to go back
to. What such a search cannot do is refused where the schema is declared: references to groups, and looking
ahead or behind. What single characters match is asked of ``re``, and is the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn

LENGTH_LIMIT = 2000
"""Characters of an expression."""
CASELESS_LIMIT = 200
"""The same for one that ignores case, which takes long to prepare."""
STATES_LIMIT = 20_000
"""What an expression is made of once its counts are written out."""
DEPTH_LIMIT = 50
"""Groups in groups."""
KEPT_LIMIT = 2000
"""Of an expression's table, what is kept from one text to the next."""
COMPILED_LIMIT = 256
_WORK_AT_ONCE = 4096

_START, _FINAL, _END, _WORD_BEFORE, _WORD_AFTER, _LINE_BEFORE, _LINE_AFTER = (1 << bit for bit in range(7))
_COUNT = re.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_GROUP = re.compile(r"\(\?(?:P<\w+>|:)")
_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|0[0-7]{0,2}|.)", re.DOTALL
)
_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_TOO_DEEP = f"groups in groups, more than {DEPTH_LIMIT} deep; make it flatter"


class PatternRefusedError(Exception):
    """An expression cannot be used; the message says why, and what to do."""


class TooLongError(Exception):
    """A search would take more work than there is."""


@dataclass(slots=True)
class Work:
    """What may still be done, in steps of less than a microsecond."""

    left: int

    def spend(self, steps: int) -> None:
        """Raises TooLongError."""
        self.left -= steps
        if self.left < 0:
            raise TooLongError


@dataclass(slots=True, eq=False)
class _State:
    leaf: re.Pattern[str] | None = None
    """What one character must match; None: none is taken."""
    holds: str = ""
    """What must hold at the place: ``^``, ``$``, ``\\b``, ..."""
    after: list[_State] = field(default_factory=list)


@lru_cache(maxsize=COMPILED_LIMIT)
def compiled(pattern: str) -> Pattern:
    """The expression, ready to be searched for.

    Raises:
        PatternRefusedError: it is none, or one of those that cannot be searched for in time.
    """
    if len(pattern) > LENGTH_LIMIT:
        raise PatternRefusedError(
            f"a regular expression of {len(pattern)} characters; at most {LENGTH_LIMIT} are possible"
        )
    return _Parser(pattern).parse()


class Pattern:
    """One expression."""

    def __init__(self, start: _State, accept: _State, *, word: re.Pattern[str] | None, lines: bool) -> None:
        self._accept = accept
        self._start = start
        self._varied = word is not None or lines
        self._word, self._lines = word, lines
        self._forget()

    def _forget(self) -> None:
        first = frozenset((self._start,))
        self._sets: list[frozenset[_State]] = [first]
        self._numbers: dict[frozenset[_State], int] = {first: 0}
        self._tables: list[dict[tuple[str, int], int]] = [{}]
        self._kept = 0

    def search(self, text: str, work: Work) -> bool:
        """Whether it is somewhere in ``text``.

        Raises:
            TooLongError: it takes more than ``work``.
        """
        try:
            return self._search(text, work)
        finally:
            if self._kept > KEPT_LIMIT:
                self._forget()

    def _search(self, text: str, work: Work) -> bool:
        length, now = len(text), 0
        for at, char in enumerate(text):
            if not at % _WORK_AT_ONCE:
                work.spend(_WORK_AT_ONCE // 8)
                if self._kept > 100 * KEPT_LIMIT:
                    before = self._sets[now]
                    self._forget()
                    now = self._number(before)
            around = self._around(text, at) if self._varied or at == 0 or at == length - 1 else 0
            after = self._tables[now].get((char, around))
            if after is None:
                after = self._tables[now][char, around] = self._step(now, char, around, work)
            if after < 0:
                return True
            now = after
        return self._accept in self._reached(self._sets[now], self._around(text, length), work)

    def _around(self, text: str, at: int) -> int:
        length = len(text)
        found = _START if at == 0 else 0
        if at == length:
            found |= _END
        elif at == length - 1 and text[at] == "\n":
            found |= _FINAL
        if self._word is not None:
            found |= _WORD_BEFORE if at and self._word.match(text[at - 1]) else 0
            found |= _WORD_AFTER if at < length and self._word.match(text[at]) else 0
        if self._lines:
            found |= _LINE_BEFORE if at and text[at - 1] == "\n" else 0
            found |= _LINE_AFTER if at < length and text[at] == "\n" else 0
        return found

    def _step(self, now: int, char: str, around: int, work: Work) -> int:
        reached = self._reached(self._sets[now], around, work)
        if self._accept in reached:
            return -1
        after = {self._start}
        for state in reached:
            if state.leaf is not None and state.leaf.fullmatch(char):
                after.update(state.after)
        self._kept += 1
        return self._number(frozenset(after))

    def _number(self, states: frozenset[_State]) -> int:
        number = self._numbers.get(states)
        if number is None:
            number = self._numbers[states] = len(self._sets)
            self._sets.append(states)
            self._tables.append({})
            self._kept += len(states)
        return number

    def _reached(self, states: frozenset[_State], around: int, work: Work) -> set[_State]:
        """All that can be reached from ``states`` without a character."""
        reached = set(states)
        pending = list(states)
        while pending:
            state = pending.pop()
            if state.leaf is not None or (state.holds and not _holds(state.holds, around)):
                continue
            for each in state.after:
                if each not in reached:
                    reached.add(each)
                    pending.append(each)
        work.spend(len(reached))
        return reached


def _holds(what: str, around: int) -> bool:
    match what:
        case "^" | r"\A":
            return bool(around & _START)
        case "$":
            return bool(around & (_END | _FINAL))
        case r"\Z":
            return bool(around & _END)
        case "^m":
            return bool(around & (_START | _LINE_BEFORE))
        case "$m":
            return bool(around & (_END | _LINE_AFTER))
    changes = bool(around & _WORD_BEFORE) != bool(around & _WORD_AFTER)
    return changes == (what == r"\b")


_Piece = tuple[_State, _State]
"""Where it begins, and a state at its end, from which nothing goes on yet."""


class _Parser:
    """Goes through an expression from left to right; counts are written out."""

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.depth = 0
        self.states = 0
        self.flags = re.RegexFlag(0)
        self.words = False

    def parse(self) -> Pattern:
        flags = _FLAGS.match(self.text)
        if flags is not None:
            self.at = flags.end()
            for letter in flags.group(1):
                if letter not in "aimsu":
                    self.refuse(f"the flag {letter}")
                self.flags |= re.RegexFlag[letter.upper()]
            if self.flags & re.IGNORECASE and len(self.text) > CASELESS_LIMIT:
                raise PatternRefusedError(
                    f"(?i) in more than {CASELESS_LIMIT} characters; write both cases out"
                )
        try:
            re.compile(self.text)
        except (re.error, OverflowError) as problem:
            raise PatternRefusedError(f"no regular expression: {problem}; correct it") from None
        except RecursionError:
            raise PatternRefusedError(_TOO_DEEP) from None
        start, end = self.either()
        assert self.at == len(self.text), "re has taken it"
        word = re.compile(r"\w", self.flags & re.ASCII) if self.words else None
        return Pattern(start, end, word=word, lines=bool(self.flags & re.MULTILINE))

    def refuse(self, what: str) -> NoReturn:
        raise PatternRefusedError(
            f"{what} cannot be checked in bounded time; write it without, or check it in the method"
        )

    def state(self, leaf: re.Pattern[str] | None = None, holds: str = "") -> _State:
        self.states += 1
        if self.states > STATES_LIMIT:
            raise PatternRefusedError(
                "its counts come to more than can be checked; use minLength and maxLength, or smaller ones"
            )
        return _State(leaf, holds)

    def either(self) -> _Piece:
        start, end = self.state(), self.state()
        while True:
            first, last = self.sequence()
            start.after.append(first)
            last.after.append(end)
            if not self.text.startswith("|", self.at):
                return start, end
            self.at += 1

    def sequence(self) -> _Piece:
        start = end = self.state()
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            begin, states = self.at, self.states
            piece = self.atom()
            if piece is None:
                continue
            piece = self.repeated(piece, begin, self.states - states)
            end.after.append(piece[0])
            end = piece[1]
        return start, end

    def times(self) -> tuple[int, int | None] | None:
        """How often at least and at most what was just read is there; None if nothing is said."""
        sign = self.text[self.at : self.at + 1]
        count = _COUNT.match(self.text, self.at) if sign == "{" else None
        if count is not None and count.group() != "{}":
            least, comma, most = count.groups()
            low = int(least or 0)
            high = (int(most) if most else None) if comma else low
            self.at = count.end()
        elif sign and sign in "*+?":
            low, high = (1 if sign == "+" else 0), (1 if sign == "?" else None)
            self.at += 1
        else:
            return None
        if self.text[self.at : self.at + 1] == "+":
            self.refuse("a possessive repetition")
        self.at += self.text[self.at : self.at + 1] == "?"
        return low, high

    def repeated(self, piece: _Piece, begin: int, size: int) -> _Piece:
        """The piece, which begins at ``begin`` and has ``size`` states, as often as what follows it says."""
        times = self.times()
        if times is None:
            return piece
        (low, high), stop = times, self.at
        if max(low, high or 0) * size > STATES_LIMIT:
            self.states = STATES_LIMIT  # before so many are made
        start = end = self.state()
        for number in range(max(low, high or 0, 1)):
            if number:
                self.at = begin
                again = self.atom()
                assert again is not None
                piece = again
            end.after.append(piece[0])
            if number < low:
                end = piece[1]
            else:
                out = self.state()
                end.after.append(out)
                piece[1].after.append(out)
                end = out
        if high is None:
            piece[1].after.append(piece[0])
            tail = self.state()
            end.after.append(tail)
            end = tail
        elif high == 0:
            start = end = self.state()
        self.at = stop
        return start, end

    def atom(self) -> _Piece | None:
        """What a repetition is about; None for a remark."""
        char = self.text[self.at]
        if char == "(":
            return self.group()
        if char in "^$":
            self.at += 1
            return self.assertion(char + ("m" if self.flags & re.MULTILINE else ""))
        found = _CLASS.match(self.text, self.at) if char == "[" else None
        if char == "\\":
            found = _ESCAPE.match(self.text, self.at)
            assert found is not None
            if found.group()[1] in "123456789":
                self.refuse("a reference to a group")
            if found.group()[1] in "bBAZ":
                self.at = found.end()
                self.words |= found.group()[1] in "bB"
                return self.assertion(found.group())
        leaf = found.group() if found is not None else "." if char == "." else re.escape(char)
        self.at = found.end() if found is not None else self.at + 1
        state, end = self.state(re.compile(leaf, self.flags)), self.state()
        state.after.append(end)
        return state, end

    def assertion(self, what: str) -> _Piece:
        state, end = self.state(holds=what), self.state()
        state.after.append(end)
        return state, end

    def group(self) -> _Piece | None:
        if self.text.startswith("(?#", self.at):
            self.at = self.text.index(")", self.at) + 1
            return None
        begin = _GROUP.match(self.text, self.at)
        if begin is None and self.text.startswith("(?", self.at):
            self.refuse(f"{self.text[self.at : self.at + 4]}...)")
        self.at = begin.end() if begin is not None else self.at + 1
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise PatternRefusedError(_TOO_DEEP)
        piece = self.either()
        self.depth -= 1
        self.at += 1  # the bracket
        return piece
