from __future__ import annotations

from gleitzeitd.events import provider as v
from gleitzeitd.events.persistence import QueryOwners, ShardOwners
from gleitzeitd.machines.lessors import AGAIN_SECONDS, LATE_SECONDS
from gleitzeitd.model.names import SHARDS, ComponentId
from tests.drive import Dialogue, asks, notes
from tests.machines.engine_builders import QUEUE, W, engine, execute, provider

OTHER = ComponentId("queue-2")


def owners(owner: ComponentId) -> ShardOwners:
    return ShardOwners(owners={str(shard): owner for shard in range(SHARDS)})


def ready() -> Dialogue:
    return engine(provider(capacity=9), slots=9)


def test_an_order_of_the_known_owner_is_carried_out_at_once_and_nobody_is_asked() -> None:
    d = ready()
    d.receive(execute(), source=QUEUE)
    assert "owners" not in d.asks
    assert d.asks["call/w/a/1"].to == "provider-1"


def test_an_order_of_a_new_owner_waits_until_the_ledger_has_said_that_it_is_one() -> None:
    d = ready()
    d.receive(execute(), source=OTHER) << asks(QueryOwners, key="owners")
    d.receive(execute("b"), source=OTHER).silent()
    d.answer(owners(OTHER), key="owners")
    assert {effect.key for effect in d.take() if getattr(effect, "key", "").startswith("call/")} == {
        "call/w/a/1",
        "call/w/b/1",
    }
    d.receive(execute("c"), source=OTHER) << asks(v.ExecuteMethod)
    d.take()


def test_an_order_of_somebody_else_is_dropped_and_counted_and_noted_once() -> None:
    d = ready()
    for number in (1, 2):
        d.receive(execute(), source=OTHER) << asks(QueryOwners)
        d.answer(owners(QUEUE), key="owners")
        if number == 1:
            d << notes("warning", "orders were dropped: their sender does not own the shard")
        d.silent()
        assert d.machine.figures()["orders_dropped"] == number
    assert d.machine.inventory() == []


def test_the_owner_before_has_a_moment_for_what_is_on_its_way() -> None:
    d = ready()
    d.receive(execute(), source=OTHER) << asks(QueryOwners)
    d.answer(owners(OTHER), key="owners").take()
    d.after(LATE_SECONDS - 0.1).receive(execute("b"), source=QUEUE) << asks(QueryOwners)
    d.answer(owners(OTHER), key="owners") << asks(v.ExecuteMethod, task_id="b")
    d.take()
    d.after(0.2).receive(execute("c"), source=QUEUE) << asks(QueryOwners)
    d.answer(owners(OTHER), key="owners") << notes("warning")
    d.silent()


def test_what_the_ledger_does_not_say_is_asked_anew_by_a_later_order() -> None:
    d = ready()
    d.receive(execute(), source=OTHER) << asks(QueryOwners)
    d.after(AGAIN_SECONDS / 2).receive(execute("b"), source=OTHER).silent()
    d.after(AGAIN_SECONDS).receive(execute("c"), source=OTHER) << asks(QueryOwners)
    d.answer(owners(OTHER), key="owners")
    assert len([effect for effect in d.take() if getattr(effect, "key", "").startswith(f"call/{W}")]) == 3


def test_a_shard_that_nobody_owns_takes_no_orders() -> None:
    d = ready()
    d.receive(execute(), source=OTHER) << asks(QueryOwners)
    d.answer(ShardOwners(owners={"x": OTHER}), key="owners") << notes("warning")
    d.silent()
