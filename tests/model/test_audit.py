"""Records of the audit, and their chain."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import NotPermitted
from gleitzeitd.model.audit import (
    BEGINNING,
    TEXT_LIMIT,
    Actor,
    AuditNote,
    AuditRecord,
    Chain,
    Result,
    recorded,
    refused,
)
from gleitzeitd.plain import from_plain, to_plain

texts = st.text(st.characters())
notes = st.builds(
    AuditNote,
    action=texts,
    object=texts,
    actor=st.builds(Actor, subject=texts, component_id=texts, address=texts),
    outcome=st.sampled_from(Result),
    code=st.integers(-99_999, 0),
    error=texts,
    detail=texts,
    count=st.integers(1, 10**9),
)


def chain(some):
    made, head = [], BEGINNING
    for number, note in enumerate(some, start=1):
        made.append(recorded(note, f"2026-01-01T00:00:{number:02}.000Z", number, head))
        head = made[-1].hash
    return made


@given(st.lists(notes, max_size=5))
def test_a_chain_holds_also_after_the_wire(some):
    made = [from_plain(AuditRecord, to_plain(one)) for one in chain(some)]
    assert Chain().broken(made) is None


@given(st.lists(notes, min_size=1, max_size=4), st.data())
def test_whatever_is_changed_breaks_it(some, data):
    made = chain(some)
    spoiled = copy.deepcopy(made)
    at = data.draw(st.integers(0, len(made) - 1))
    field = data.draw(st.sampled_from(["action", "object", "error", "detail", "subject", "address"]))
    owner = spoiled[at].note.actor if field in ("subject", "address") else spoiled[at].note
    setattr(owner, field, getattr(owner, field) + "!")
    assert Chain().broken(spoiled) == f"record {at + 1} was altered: its hash is another"


def test_pages_are_looked_at_one_after_the_other():
    made = chain([AuditNote(action=str(n)) for n in range(6)])
    looks = Chain()
    assert looks.broken(made[:3]) is None
    assert looks.broken(made[4:]) == "record 4 is missing: 5 comes after 3"


def test_a_refusal_does_not_repeat_what_was_sent():
    error = NotPermitted("hello: sk-very-secret may not be said").info()
    note = refused("refuse", "hello", Actor(subject="eve", address="10.0.0.1"), error)
    assert (note.outcome, note.code, note.error) == (Result.REFUSED, error.code, error.name)
    assert "secret" not in repr(note)


@given(notes)
def test_every_text_is_one_short_line(note):
    kept = recorded(note, "2026-01-01T00:00:00.000Z", 1, BEGINNING).note
    for text in (kept.action, kept.object, kept.detail, kept.actor.subject, kept.actor.address):
        assert len(text) <= TEXT_LIMIT
        assert text.isprintable()
        assert text.encode() is not None
