from __future__ import annotations

import asyncio
import logging

from gleitzeitd.runtime.clock import monotonic, utc_now
from gleitzeitd.runtime.tasks import Tasks, contained


async def _fail() -> None:
    raise ValueError("no")


def test_a_failing_task_is_logged_and_handed_to_whoever_waits_for_a_failure(caplog) -> None:
    async def main() -> None:
        seen = []
        tasks = Tasks(lambda name, problem: seen.append((name, str(problem))))
        tasks.spawn(_fail(), name="broken")
        assert str(await asyncio.wait_for(tasks.failure(), 5)) == "no"
        assert seen == [("broken", "no")]

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert [record.message for record in caplog.records] == ["a task failed"]


def test_cancelling_ends_all_tasks_also_those_that_have_not_begun() -> None:
    async def main() -> None:
        tasks = Tasks()
        begun = asyncio.Event()

        async def forever() -> None:
            begun.set()
            await asyncio.Event().wait()

        tasks.spawn(forever(), name="first")
        await begun.wait()
        late = tasks.spawn(forever(), name="second")
        await tasks.cancel()
        assert late.cancelled()
        assert len(tasks) == 0

    asyncio.run(main())


def test_the_value_of_a_task_can_be_awaited() -> None:
    async def main() -> None:
        async def work() -> int:
            return 4

        assert await Tasks().spawn(work(), name="w") == 4

    asyncio.run(main())


def test_the_wall_clock_has_milliseconds_and_says_utc() -> None:
    assert len(utc_now()) == len("2026-01-01T00:00:00.000Z")
    assert utc_now().endswith("Z")
    assert monotonic() <= monotonic()


def test_a_failing_callback_counts_as_a_failed_task(caplog) -> None:
    async def main() -> None:
        tasks = Tasks()
        tasks.call(int, "x", name="callback")
        assert isinstance(await asyncio.wait_for(tasks.failure(), 5), ValueError)

    asyncio.run(main())
    assert [record.message for record in caplog.records] == ["a task failed"]


def test_what_a_peer_sent_is_contained_and_logged(caplog) -> None:
    assert isinstance(contained(int, "x", name="frame"), ValueError)
    assert contained(int, "4", name="frame") is None
    assert len(caplog.records) == 1
