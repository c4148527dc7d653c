"""Packets are read the same with and without orjson."""

from __future__ import annotations

import json

import pytest

from gleitzeitd.runtime import fast_json
from gleitzeitd.runtime.fast_json import dumps, loads

TEXTS = ['["a",{"b":1.5}]', '"\\ud800"', str(2**70), "[]", '{"a":null}']


@pytest.mark.parametrize("text", TEXTS)
def test_what_the_standard_library_reads_is_read_as_it_does(text: str) -> None:
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_faster_has_to_be_installed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_json, "_fast", fast_json._none)
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("text", ["", "[1", "nothing", "[" * 200_000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


@pytest.mark.parametrize("value", [{"a": "ö", "b": 1}, {"half": "\ud800"}, {"large": 2**70}, {}])
@pytest.mark.parametrize("faster", [True, False])
def test_what_is_written_is_read_again(
    value: dict[str, object], faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not faster:
        monkeypatch.setattr(fast_json, "_fast_bytes", fast_json._none)
    assert loads(dumps(value)) == value


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises((ValueError, TypeError)):
        dumps({"a": object()})
