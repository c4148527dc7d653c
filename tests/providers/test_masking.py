"""What a secret's value looks like, and that no border between two pieces of text lets it through."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.providers.masking import MASK, Masker, patterns_of

SECRET = "pa$$w0rd/with \"quotes\" & 'ümlaut'\\"
VALUES = st.text("abAB=/+\"'\\ \n%ü", min_size=4, max_size=12)
AROUND = st.text("abAB=/+\"' \n", max_size=10)


def _fed(masker: Masker, pieces: list[str]) -> str:
    out: list[str] = []
    stream = masker.stream(out.append)
    for piece in pieces:
        stream.feed(piece)
    stream.end()
    stream.end()
    assert "" not in out
    return "".join(out)


def _written(value: str, data: st.DataObject) -> str:
    """The value in one of its patterns, each character in any of its ways."""
    pattern = data.draw(st.sampled_from(sorted(patterns_of(value))))
    return "".join(data.draw(st.sampled_from(ways)) for ways in pattern)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps({"a": SECRET}))[11:-4],
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        urllib.parse.quote(SECRET, safe="")
        .replace("%2F", "%2f")
        .replace("%C3%BC", "%c3%bc")
        .replace("%5C", "%5c"),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        html.escape(SECRET),
        repr(SECRET)[1:-1],
        ascii(SECRET)[1:-1],
    ],
)
def test_a_value_is_masked_in_every_form(form: str) -> None:
    masked = Masker([SECRET]).text(f"before {form} after")
    assert masked.startswith("before ***")
    assert form not in masked
    assert len(masked) <= len("before *** after") + 2


@given(st.data())
def test_each_character_can_be_written_in_its_own_way(data: st.DataObject) -> None:
    masked = Masker([SECRET]).text(f"<{_written(SECRET, data)}>")
    assert masked == f"<{MASK}>"


def test_many_ways_to_read_a_text_take_no_longer() -> None:
    masker = Masker(['\\"' * 30 + "x"])
    assert masker.text("\\" * 5000 + '"' + '\\"' * 2000) != ""


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_base64_of_a_longer_text_is_masked_but_for_its_edges(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + SECRET.encode() + after).decode()
    rest = Masker([SECRET]).text(encoded)
    assert MASK in rest
    assert len(rest.replace(MASK, "")) <= (len(before) + len(after)) * 4 / 3 + 8


@given(VALUES, AROUND, AROUND, st.data())
def test_pieces_are_masked_as_their_text_is(value: str, before: str, after: str, data: st.DataObject) -> None:
    form = _written(value, data)
    text = before + form + after + form[: len(form) // 2] + form
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    masker = Masker([value])
    assert _fed(masker, pieces) == masker.text(text)


@given(st.lists(VALUES, min_size=1, max_size=3), st.lists(st.text("abAB=/+\"' ", max_size=6), max_size=12))
def test_no_value_is_left_however_it_is_cut(values: list[str], pieces: list[str]) -> None:
    masker = Masker(values)
    whole = "".join(pieces)
    shown = _fed(masker, pieces)
    assert shown == masker.text(whole)
    assert not any(value in part for part in shown.split(MASK) for value in values)


def test_values_that_overlap_are_one_mask() -> None:
    assert Masker(["abcdef", "defghi"]).text("-abcdefghi-abcdef-") == "-***-***-"


def test_a_long_row_of_the_same_is_not_held_back() -> None:
    out: list[str] = []
    stream = Masker(["aaaa"]).stream(out.append)
    for _ in range(1000):
        stream.feed("a" * 10)
    assert out == [MASK]
    stream.feed("!")
    stream.end()
    assert "".join(out) == f"{MASK}!"


def test_no_more_is_held_back_than_the_beginning_of_a_value() -> None:
    out: list[str] = []
    stream = Masker(["topsecret"]).stream(out.append)
    stream.feed("a prompt> top")
    assert out == ["a prompt> "]
    stream.feed("s!")
    assert "".join(out) == "a prompt> tops!"


def test_the_lines_of_a_key_are_masked_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nq83vEjRWeJCrze8S\n-----END KEY-----\n"
    said = Masker([key]).text("line 2: q83vEjRWeJCrze8S, line 1: MIIEpAIBAAKCAQEA, -----BEGIN KEY-----")
    assert said == "line 2: ***, line 1: ***, -----BEGIN KEY-----"


def test_plain_data_is_masked_in_texts_keys_and_numbers() -> None:
    masker = Masker(["12345678", "topsecret"])
    value = {"a": ["x topsecret y", 3, None, True, 1.5], "topsecret": {"n": 912345678, "f": 12345678.5}}
    assert masker.value(value) == {"a": ["x *** y", 3, None, True, 1.5], MASK: {"n": MASK, "f": MASK}}


def test_what_holds_no_value_stays_as_it_is() -> None:
    text = "nothing to see"
    assert Masker(["topsecret"]).text(text) is text
    assert Masker([]).text(text) is text
