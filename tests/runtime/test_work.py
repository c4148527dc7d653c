"""The performer of providers: each call ends with exactly one answer, whatever the provider's code does."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import (
    ExecutionFailed,
    ProviderOverloaded,
    RateLimited,
    TaskCancelled,
    TaskTimeout,
)
from gleitzeitd.events.provider import TaskOutput, TaskProgress
from gleitzeitd.machines.base import Tell
from gleitzeitd.machines.provider import CheckHealth, Finished, Work
from gleitzeitd.model.ledger import OutputChunk
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.providers.base import Provider
from gleitzeitd.providers.echo import EchoProvider
from gleitzeitd.runtime import work as work_module
from gleitzeitd.runtime.work import EARLY_BYTES, TAIL_BYTES, TICK_BYTES, CallOutput, ProviderPerformer

WAIT = 5  # seconds until a test gives up


class Scripted(Provider):
    """Does what the test's coroutine function says."""

    def __init__(self, script=None, health="ok"):
        self.script = script
        self.said = health
        self.begun = asyncio.Event()
        self.log = []

    def protocol(self):
        return Protocol(name="test/v1", methods={"test/run": Method()})

    @property
    def capacity(self):
        return 4

    async def start(self):
        self.log.append("start")

    async def stop(self):
        self.log.append("stop")

    async def call(self, call):
        self.begun.set()
        try:
            return await self.script(call)
        finally:
            self.log.append("ended")

    async def health(self):
        if isinstance(self.said, BaseException):
            raise self.said
        return self.said


class Bench:
    """A performer with its answers."""

    def __init__(self, provider):
        self.provider = provider
        self.shown = []
        self.answers = asyncio.Queue()
        self.performer = ProviderPerformer(provider, self.shown.extend)

    async def __aenter__(self):
        await self.performer.start(lambda call_id, answer: self.answers.put_nowait((call_id, answer)))
        return self

    async def __aexit__(self, *args):
        await self.performer.stop()
        assert self.answers.empty(), "more than one answer"

    def perform(self, call_id="c", **more):
        self.performer.perform(call_id, work(**more))

    async def answer(self):
        return await asyncio.wait_for(self.answers.get(), WAIT)


def work(**more):
    given_ = {
        "method": "test/run",
        "parameters": {},
        "timeout": None,
        "correlation_id": "k",
        "attempt": 1,
        **more,
    }
    return Work(workflow_id=WorkflowId("w"), task_id=TaskId("t"), **given_)


async def forever(call):
    await asyncio.Event().wait()


async def run(script, **more):
    async with Bench(Scripted(script)) as bench:
        bench.perform(**more)
        call_id, answer = await bench.answer()
        assert call_id == "c" and isinstance(answer, Finished)
        return answer


# --- how calls end


async def test_a_result_comes_with_its_output_and_its_times():
    async def script(call):
        call.on_output("stdout", "hello")
        return {"attempt": call.attempt, "of": [call.workflow_id, call.task_id]}

    answer = await run(script, attempt=3)
    assert answer.result == {"attempt": 3, "of": ["w", "t"]} and answer.error is None
    assert answer.output == [OutputChunk(stream="stdout", text="hello")]
    assert answer.started_at and answer.started_at <= answer.finished_at


async def test_a_builtin_provider_is_run():
    async with Bench(EchoProvider()) as bench:
        bench.perform("a", method="echo/echo", parameters={"x": 1})
        bench.perform("b", method="echo/fail", parameters={"message": "no"})
        answers = dict([await bench.answer(), await bench.answer()])
    assert answers["a"].result == {"x": 1}
    assert answers["b"].error == ExecutionFailed("no").info()


@pytest.mark.parametrize("error", [ProviderOverloaded("full"), RateLimited("slow down", retry_after=3.0)])
async def test_a_task_error_keeps_all_that_it_says(error):
    async def script(call):
        raise error

    assert (await run(script)).error == error.info()


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("no"), SystemExit("no")])
async def test_any_other_exception_is_a_failed_execution_and_logged_once(error, caplog):
    async def script(call):
        call.on_output("stderr", "oh")
        raise error

    answer = await run(script)
    assert answer.error.code == ExecutionFailed.code
    assert answer.error.message == f"{type(error).__name__}: no"
    assert answer.output == [OutputChunk(stream="stderr", text="oh")]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info and record.task_id == "t" and record.correlation_id == "k"


async def test_code_that_waited_for_something_cancelled_has_failed_and_is_not_cancelled():
    async def script(call):
        raise asyncio.CancelledError

    assert (await run(script)).error.code == ExecutionFailed.code


async def test_a_call_that_outlives_its_timeout_is_ended_by_the_performer(monkeypatch):
    monkeypatch.setattr(work_module, "GRACE", 0.01)
    answer = await run(forever, timeout=0.01)
    assert answer.error.code == TaskTimeout.code


async def test_work_that_shows_no_sign_of_life_is_stopped_and_keeps_what_it_wrote():
    async def script(call):
        call.on_output("stdout", "hello")
        await forever(call)

    answer = await run(script, silence=0.02)
    assert answer.error == TaskTimeout("neither output nor progress for 0.02 s; it was stopped").info()
    assert answer.output == [OutputChunk(stream="stdout", text="hello")]


async def test_a_provider_that_turns_its_stop_into_an_error_is_out_of_time_all_the_same():
    async def script(call):
        try:
            await forever(call)
        except asyncio.CancelledError:
            raise ExecutionFailed("killed") from None

    assert (await run(script, silence=0.02)).error.code == TaskTimeout.code


@pytest.mark.parametrize("sign", ["output", "partial", "progress"])
async def test_every_sign_of_life_begins_the_silence_anew(sign):
    async def script(call):
        ticks = asyncio.Queue()
        for n in range(1, 9):
            asyncio.get_running_loop().call_later(0.05 * n, ticks.put_nowait, n)
        for _ in range(8):
            n = await ticks.get()
            if sign == "output":
                call.on_output("stdout", str(n))
            elif sign == "partial":
                call.on_partial(str(n))
            else:
                call.on_progress(n / 8, "")
        return "done"

    assert (await run(script, silence=0.3)).result == "done"


async def test_a_silent_call_that_is_cancelled_is_cancelled():
    async with Bench(Scripted(forever)) as bench:
        bench.perform(silence=60.0)
        await bench.provider.begun.wait()
        bench.performer.cancel("c")
        _, answer = await bench.answer()
    assert answer.error.code == TaskCancelled.code


# --- cancelling and stopping


async def test_a_cancelled_call_is_answered_when_it_has_ended_with_what_it_wrote():
    async def script(call):
        call.on_output("stdout", "so far")
        await asyncio.Event().wait()

    async with Bench(Scripted(script)) as bench:
        bench.perform()
        await asyncio.wait_for(bench.provider.begun.wait(), WAIT)
        bench.performer.cancel("c")
        _, answer = await bench.answer()
        assert bench.provider.log == ["start", "ended"]
    assert answer.error.code == TaskCancelled.code
    assert answer.output == [OutputChunk(stream="stdout", text="so far")]


async def test_a_call_that_is_cancelled_before_it_begins_is_answered_too():
    async with Bench(Scripted(forever)) as bench:
        bench.perform()
        bench.performer.cancel("c")
        _, answer = await bench.answer()
    assert isinstance(answer, TaskCancelled) and bench.provider.log == ["start", "stop"]


async def test_a_call_that_ends_while_it_is_cancelled_keeps_its_result():
    async def script(call):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done anyway"

    async with Bench(Scripted(script)) as bench:
        bench.perform()
        await asyncio.wait_for(bench.provider.begun.wait(), WAIT)
        bench.performer.cancel("c")
        _, answer = await bench.answer()
    assert answer.result == "done anyway"


async def test_an_error_that_comes_of_cancelling_is_a_cancellation():
    async def script(call):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ExecutionFailed("killed") from None

    async with Bench(Scripted(script)) as bench:
        bench.perform()
        await asyncio.wait_for(bench.provider.begun.wait(), WAIT)
        bench.performer.cancel("c")
        _, answer = await bench.answer()
    assert answer.error.code == TaskCancelled.code


async def test_an_unknown_call_can_be_cancelled():
    async with Bench(Scripted(forever)) as bench:
        bench.performer.cancel("nobody")


async def test_stopping_ends_what_runs_before_the_provider_stops_and_answers_nothing():
    async with Bench(Scripted(forever)) as bench:
        bench.perform()
        await asyncio.wait_for(bench.provider.begun.wait(), WAIT)
    await bench.performer.stop()
    assert bench.provider.log == ["start", "ended", "stop"]


# --- health


@pytest.mark.parametrize(
    ("said", "heard"), [("ok", "ok"), ("no disk", "no disk"), (OSError("gone"), "OSError: gone")]
)
async def test_the_health_is_what_the_provider_says_or_why_it_cannot(said, heard):
    async with Bench(Scripted(health=said)) as bench:
        bench.performer.perform("health", CheckHealth())
        assert await bench.answer() == ("health", heard)


# --- output


async def test_what_is_written_is_shown_in_few_events_with_the_tasks_correlation():
    async def script(call):
        for word in ("a", "b"):
            call.on_output("stdout", word)
        call.on_output("stderr", "c")
        call.on_progress(0.1, "begun")
        call.on_progress(2.0, "nearly")
        call.on_progress(float("nan"), "nonsense")
        return None

    async with Bench(Scripted(script)) as bench:
        bench.perform()
        await bench.answer()
        output = TaskOutput(
            workflow_id=WorkflowId("w"),
            task_id=TaskId("t"),
            attempt=1,
            chunks=[OutputChunk(stream="stdout", text="ab"), OutputChunk(stream="stderr", text="c")],
        )
        progress = TaskProgress(
            workflow_id=WorkflowId("w"), task_id=TaskId("t"), attempt=1, progress=1.0, message="nearly"
        )
        assert bench.shown == [Tell(output, correlation_id="k"), Tell(progress, correlation_id="k")]


async def test_what_will_be_the_result_is_shown_while_it_grows_and_kept_nowhere():
    async def script(call):
        call.on_partial("to")
        call.on_partial("day")
        return "today"

    async with Bench(Scripted(script)) as bench:
        bench.perform()
        _, answer = await bench.answer()
        assert answer.output == []
        (shown,) = bench.shown
        assert shown.event.chunks == [OutputChunk(stream="partial", text="today")]


async def test_output_is_shown_while_the_work_goes_on():
    async def script(call):
        call.on_output("stdout", "so far")
        await asyncio.Event().wait()

    shown = asyncio.Event()
    performer = ProviderPerformer(Scripted(script), lambda effects: shown.set())
    await performer.start(lambda call_id, answer: None)
    performer.perform("c", work())
    await asyncio.wait_for(shown.wait(), WAIT)
    await performer.stop()


class Shown:
    """The text that watchers see."""

    def __init__(self):
        self.events = []
        self.output = CallOutput(work(), lambda effects: self.events.extend(e.event for e in effects))

    @property
    def text(self):
        return "".join(chunk.text for event in self.events for chunk in event.chunks)


async def test_much_output_is_shown_at_once():
    shown = Shown()
    shown.output.written("stdout", "x" * EARLY_BYTES)
    assert len(shown.text) == EARLY_BYTES
    shown.output.close()


async def test_more_than_a_ticks_output_is_left_out_of_what_is_shown_but_not_of_the_tail():
    shown = Shown()
    for _ in range(3):
        shown.output.written("stdout", "x" * (TICK_BYTES // 2))
    shown.output.written("stdout", "end")
    shown.output.close()
    assert shown.text.count("x") == TICK_BYTES
    assert shown.text.endswith(f"\n[{TICK_BYTES // 2 + 3} bytes left out]\n")
    assert shown.output.tail()[-1].text.endswith("xend")


async def test_nothing_is_shown_after_the_end():
    shown = Shown()
    shown.output.close()
    shown.output.written("stdout", "late")
    shown.output.progressed(0.5, "late")
    shown.output.close()
    assert shown.events == [] and shown.output.tail() == []


async def test_half_a_surrogate_pair_is_replaced():
    shown = Shown()
    shown.output.written("stdout", "a\ud800b")
    shown.output.close()
    assert shown.text == "a?b"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]),
            st.sampled_from(["a", "é", "€", "🙂", "x" * 5000]),
            st.integers(1, 30),
        ),
        max_size=20,
    )
)
def test_the_tail_is_the_end_of_the_output_in_order_and_no_longer_than_allowed(writes):
    async def main():
        output = CallOutput(work(), lambda effects: None)
        everything = ""
        for stream, text, times in writes:
            output.written(stream, text * times)
            everything += text * times
        output.close()
        chunks = output.tail()
        text = "".join(chunk.text for chunk in chunks)
        if len(everything.encode()) <= TAIL_BYTES:
            assert text == everything
        else:
            note, _, kept = text.removeprefix("\n[").partition(" bytes left out]\n")
            assert everything.endswith(kept)
            assert len(kept.encode()) <= TAIL_BYTES < len(kept.encode()) + 4
            assert int(note) == len(everything.encode()) - len(kept.encode())
        streams = [chunk.stream for chunk in chunks]
        assert all(a != b for a, b in zip(streams, streams[1:]))

    asyncio.run(main())
