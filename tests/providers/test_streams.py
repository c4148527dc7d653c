from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.providers.streams import Answers, Output


def passed_on(parts: list[bytes], limit: int) -> tuple[Output, str]:
    said: list[str] = []
    output = Output("stdout", limit, lambda stream, text: said.append(text))
    for part in parts:
        output.feed(part)
    output.finish()
    output.finish()
    return output, "".join(said)


@given(st.text(max_size=60), st.integers(min_value=1, max_value=7))
def test_text_within_the_limit_is_passed_on_whole_however_it_is_cut(text, cut) -> None:
    data = text.encode()
    parts = [data[i : i + cut] for i in range(0, len(data), cut)]
    output, said = passed_on(parts, 1000)
    assert said == text
    assert output.text() == text


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(min_value=10, max_value=40))
def test_output_is_bounded_and_its_beginning_and_end_are_kept(parts, limit) -> None:
    parts = [part.replace(b"\n", b"x").hex().encode() for part in parts]  # one byte is one character
    whole = b"".join(parts).decode()
    output, said = passed_on(parts, limit)
    half = limit // 2
    assert said.startswith(whole[:half])
    assert said.endswith(whole[-half:])
    assert len(said) <= limit + 40
    assert output.text().endswith(whole[-limit:])
    assert ("left out" in said) == (len(whole) > 2 * half)


def test_progress_is_passed_on_and_rubbish_on_the_channel_is_not() -> None:
    seen: list[tuple[float, str]] = []
    answers = Answers(100, lambda ratio, text: seen.append((ratio, text)))
    for data in [
        b'{"progress": [0.5, "ha',
        b'lf"]}\n{"progress": [7, "x"]}\nrubbish\n[1]\n',
        b'{"result": 3}\n',
    ]:
        answers.feed(data)
    assert seen == [(0.5, "half")]
    assert answers.last() == {"result": 3}


def test_a_line_without_end_takes_no_memory_without_end() -> None:
    answers = Answers(10, lambda ratio, text: None)
    for _ in range(100):
        answers.feed(b"x" * 65536)
    answers.feed(b'"}\n')
    assert answers.last() is None
