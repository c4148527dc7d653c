"""Text that cannot be written again is refused where it comes in."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import MalformedEvent
from gleitzeitd.events.base import Envelope
from gleitzeitd.events.codec import NESTING_LIMIT, decode_body, encode_body, is_nested_deeper, unflatten
from gleitzeitd.model.names import ComponentId

ENVELOPE = Envelope(message_id="m", correlation_id="c", source_component=ComponentId("client"))


@pytest.mark.parametrize("half", [r"\ud800", r"\uDFFF", r"x\udc00y"])
def test_half_a_character_is_refused(half):
    with pytest.raises(MalformedEvent):
        decode_body("query_status", ENVELOPE, f'{{"workflow_id": "{half}"}}')
    with pytest.raises(MalformedEvent):
        unflatten("query_status", {"workflow_id": "\ud800"}, lambda given: ENVELOPE)


@pytest.mark.parametrize("escaped", [r"\ud83d\ude00", r"\u00e9", r"\\ud800"])
def test_whole_characters_may_be_escaped(escaped):
    assert decode_body("query_status", ENVELOPE, f'{{"workflow_id": "{escaped}"}}').workflow_id


def submission(workflow: str) -> str:
    return f'{{"workflow_id": "w", "workflow": {workflow}}}'


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "[-1e999]"])
def test_a_number_that_cannot_be_written_is_not_read(number):
    with pytest.raises(MalformedEvent):
        decode_body("submit_workflow", ENVELOPE, submission(number))


@pytest.mark.parametrize("number", ["1e308", "-0.0", "12345678901234567890", "5e-324"])
def test_any_other_number_is_read(number):
    event = decode_body("submit_workflow", ENVELOPE, submission(number))
    assert decode_body("submit_workflow", ENVELOPE, encode_body(event)) == event


@pytest.mark.parametrize("depth", [NESTING_LIMIT, 900, 5000, 100_000])
def test_what_is_nested_too_deep_is_refused(depth):
    for opened, closed in ("[", "]"), ('{"a":', "}"):
        text = opened * depth + "0" + closed * depth
        with pytest.raises(MalformedEvent, match="nested deeper"):
            decode_body("submit_workflow", ENVELOPE, submission(text))


def test_what_is_nested_as_deep_as_it_may_be_can_be_written_again():
    depth = NESTING_LIMIT - 1  # the event itself is one more
    text = submission(f"[{'[], ' * 300}{'[' * (depth - 1) + ']' * (depth - 1)}]")
    assert encode_body(decode_body("submit_workflow", ENVELOPE, text))


@pytest.mark.parametrize(
    ("value", "depth"), [(0, 0), ([], 1), ({}, 1), ([1, {"a": [2]}, []], 3), ({"a": {}, "b": [[]]}, 3)]
)
def test_depth_is_counted_in_lists_and_objects(value, depth):
    assert not is_nested_deeper(value, depth)
    assert depth == 0 or is_nested_deeper(value, depth - 1)


@pytest.mark.parametrize("value", ['"' + "secret" * 1000 + '"', '["secret"]', '{"secret": 1}', "1" * 3000])
def test_a_message_about_a_wrong_value_repeats_no_more_than_a_word_of_it(value):
    with pytest.raises(MalformedEvent) as caught:
        decode_body("claim_shard", ENVELOPE, f'{{"role": {value}, "incarnation": "i"}}')
    assert "secret" * 20 not in str(caught.value)
    assert "['secret']" not in str(caught.value)
    assert len(str(caught.value)) < 400
