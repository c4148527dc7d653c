"""What the hub makes of the flat events of foreign clients, and they of its own."""

from __future__ import annotations

from typing import Any

import pytest

from gleitzeitd.errors import MalformedEvent
from gleitzeitd.events.codec import dumps
from gleitzeitd.machines.foreign import Foreign, Stamp
from gleitzeitd.model.names import ComponentId, Role

AT = "2026-01-01T00:00:00.000Z"
C = "c" * 32
CALL = {"workflow_id": "w", "task_id": "t", "attempt": 1, "method": "m"}
STAMP = Stamp(message_id="new", correlation_id=C, at=AT)


def test_what_a_foreign_client_leaves_out_is_completed() -> None:
    foreign = Foreign(nesting=64, role_of=lambda _: None)
    flat = {"workflow_id": "w", "workflow": {}, "_fact": "forged", "_unknown": 1}
    envelope, body = foreign.incoming("submit_workflow", flat, ComponentId("c"), Role.CLIENT, STAMP)
    assert body == '{"workflow_id":"w","workflow":{}}'
    assert envelope == {
        "_message_id": "new",
        "_correlation_id": C,
        "_source_component": "c",
        "_timestamp": AT,
        "_shard": envelope["_shard"],
        "_topic": "w",
    }


def test_a_foreign_reply_goes_to_whoever_sent_its_command() -> None:
    roles = {"e1": Role.EXECUTION_ENGINE, "e2": Role.EXECUTION_ENGINE, "g": Role.PROTOCOL_REGISTRY}
    foreign = Foreign(nesting=64, role_of=roles.get)
    for source, name, attempt in (
        ("e1", "execute_method", 1),
        ("e2", "execute_method", 2),
        ("g", "health_check", 0),
    ):
        body = dumps({**CALL, "attempt": attempt} if attempt else {})
        envelope = {
            "_message_id": f"of {source}",
            "_correlation_id": source * 16,
            "_source_component": source,
        }
        assert foreign.outgoing(name, envelope, body)["_message_id"] == f"of {source}"

    def answer(name: str, **flat: Any) -> tuple:
        envelope, _ = foreign.incoming(name, flat, ComponentId("p"), Role.PROVIDER, STAMP)
        return envelope.get("_reply_to"), envelope.get("_causation_id")

    result = {"workflow_id": "w", "task_id": "t"}
    assert answer("method_result", **result, attempt=1) == ("e1", "of e1")
    assert answer("method_result", **result, attempt=2) == ("e2", "of e2")
    assert answer("method_result", **result, attempt=9, _causation_id="of e1") == ("e1", "of e1")
    assert answer("method_result", **result, attempt=9, _reply_to="x") == ("x", None)
    assert answer("health_status", health="ok") == ("g", "of g")


@pytest.mark.parametrize("payload", [7, [], "x", {"workflow_id": 7}, {"workflow_id": "w", "_message_id": 7}])
def test_a_foreign_payload_that_breaks_the_declaration_is_refused(payload: Any) -> None:
    foreign = Foreign(nesting=64, role_of=lambda _: None)
    with pytest.raises(MalformedEvent):
        foreign.incoming("query_status", payload, ComponentId("c"), Role.CLIENT, STAMP)


def test_a_body_that_is_no_json_object_is_no_flat_event() -> None:
    foreign = Foreign(nesting=64, role_of=lambda _: None)
    for body in ("", "[1]", "{", "[" * 100_000):
        with pytest.raises(MalformedEvent):
            foreign.outgoing("task_started", {}, body)
