"""What a provider's code prints goes on line by line, without secrets."""

from __future__ import annotations

import io

from gleitzeitd.runtime.prints import LINE_LIMIT, Prints


def _without(text: str) -> str:
    return text.replace("topsecret", "***")


def test_a_secret_that_is_printed_in_pieces_is_not_shown() -> None:
    stream = io.StringIO()
    prints = Prints(stream, _without)
    print("say top", end="", file=prints, flush=True)
    assert stream.getvalue() == ""
    print("secret\nand", end="", file=prints)
    assert stream.getvalue() == "say ***\n"
    prints.end()
    assert stream.getvalue() == "say ***\nand"


def test_a_line_without_an_end_is_cut() -> None:
    stream = io.StringIO()
    Prints(stream, _without).write("x" * (LINE_LIMIT + 1))
    assert stream.getvalue() == "x" * LINE_LIMIT + "\n"
