from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gleitzeitd.errors import (
    ConfigError,
    ExecutionFailed,
    ParameterInvalid,
    RateLimited,
    ResultInvalid,
    TaskTimeout,
)
from gleitzeitd.providers import MethodCall, MethodProvider, MethodProviderSettings, load, method
from tests.providers import functions_module
from tests.providers.contract import is_alive


class Called:
    """Calls functions, and keeps what they say."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.printed: list[tuple[str, str]] = []
        self.progress: list[tuple[float, str]] = []
        self.partial: list[str] = []
        self.said = asyncio.Event()

    async def __call__(self, name: str, *, limit: float | None = None, **parameters: Any) -> Any:
        return await self.provider.call(
            MethodCall(
                method=f"functions_module/{name}",
                parameters=parameters,
                timeout=limit,
                on_output=self._on_output,
                on_partial=self.partial.append,
                on_progress=lambda ratio, text: self.progress.append((ratio, text)),
                workflow_id="w1",
                task_id="t1",
                attempt=1,
            )
        )

    def _on_output(self, stream: str, text: str) -> None:
        self.printed.append((stream, text))
        self.said.set()

    def text(self, stream: str = "stdout") -> str:
        return "".join(text for name, text in self.printed if name == stream)

    def pids(self) -> list[int]:
        return [int(word) for word in self.text().split()]


@pytest.fixture
async def call():
    kind = load(functions_module.__name__)
    settings = MethodProviderSettings(capacity=2, max_result_bytes=4096, kill_after_seconds=0.2)
    provider = kind(settings)
    await provider.start()
    yield Called(provider)
    await provider.stop()


async def test_a_process_stays_and_keeps_what_its_module_keeps(call) -> None:
    assert [await call("count") for _ in range(3)] == [1, 2, 3]
    first = await call("pid")
    assert first == await call("pid")
    assert first != os.getpid()
    assert await call("in_thread") == os.getpid()
    assert functions_module.COUNT == 0


async def test_types_of_ones_own_and_defaults_are_passed(call) -> None:
    assert await call("higher", place={"name": "here"}) == {"name": "here", "height": 1}
    with pytest.raises(ParameterInvalid):
        await call("higher", place=3)


async def test_what_a_function_says_comes_before_its_result_and_belongs_to_its_call(call) -> None:
    for _ in range(2):
        assert await call("talk", lines=3) == "t1"
        assert call.text() == "0\n1\n2\n"
        assert sorted(call.text("stderr").split()) == ["end", "said"]
        assert call.progress == [(1 / 3, "line"), (2 / 3, "line"), (1.0, "line")]
        assert call.partial == ["part"]
        call.printed, call.progress, call.partial = [], [], []


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("raise", ExecutionFailed, "KeyError: 'gone'"),
        ("exit", ExecutionFailed, "SystemExit: 3"),
        ("limit", RateLimited, "slow down"),
        ("die", ExecutionFailed, "exit code 7 before it gave a result"),
        ("signal", ExecutionFailed, "signal SIGSEGV"),
        ("large", ResultInvalid, "5002 bytes as JSON, 4096 are allowed"),
        ("json", ExecutionFailed, "JSON"),
    ],
)
async def test_a_function_that_fails_says_how_and_the_next_one_runs(call, how, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        await call("fail", how=how)
    assert (getattr(caught.value, "retry_after", None) == 9) is (how == "limit")
    assert await call("higher", place={"name": ""}) == {"name": "", "height": 1}


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_function_that_hangs_is_dead_with_all_it_has_started_when_its_time_is_over(
    call, deaf
) -> None:
    with pytest.raises(TaskTimeout):
        await call("hang", deaf=deaf, limit=0.5)
    assert len(call.pids()) == 2
    assert not any(is_alive(pid) for pid in call.pids())
    assert await call("pid") not in call.pids()


async def test_a_cancelled_function_is_dead_when_the_cancellation_returns(call) -> None:
    task = asyncio.get_running_loop().create_task(call("hang"))
    await asyncio.wait_for(call.said.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(is_alive(pid) for pid in call.pids())
    assert await call("count") == 1


async def test_a_call_that_is_cancelled_before_it_has_begun_leaves_nothing(call) -> None:
    task = asyncio.get_running_loop().create_task(call("hang"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await call("count") == 1


async def test_what_a_function_leaves_behind_ends_with_its_call(call) -> None:
    assert not is_alive(await call("leave"))
    assert await call("count") == 1


async def test_functions_run_beside_each_other(call) -> None:
    task = asyncio.get_running_loop().create_task(call("hang"))
    await asyncio.wait_for(call.said.wait(), 10)
    assert await call("pid") not in call.pids()
    task.cancel()
    await asyncio.wait([task])


async def test_secrets_of_the_daemon_are_not_in_the_process(monkeypatch) -> None:
    monkeypatch.setenv("GLEITZEIT_TOKEN", "s3cret")
    provider = load(functions_module.__name__)()
    await provider.start()
    pid = await provider.call(MethodCall(method="functions_module/pid"))
    assert "s3cret" not in Path(f"/proc/{pid}/environ").read_text()
    await provider.stop()


async def test_a_call_takes_less_than_a_millisecond_and_a_half_when_it_is_quiet(call) -> None:
    await call("pid")
    took = []
    for _ in range(200):
        started = time.perf_counter()
        await call("pid")
        took.append(time.perf_counter() - started)
    assert sorted(took)[20] < 0.0015, "a tenth of the calls is undisturbed on any machine"


class Objects(MethodProvider):
    """Has a method that needs its object."""

    protocol_name = "objects/v1"

    @method(process=True)
    def own(self) -> int:
        """Cannot run elsewhere."""
        return 1


class Statics(MethodProvider):
    """Has a function in a class."""

    protocol_name = "statics/v1"

    @staticmethod
    @method(process=True)
    def double(n: int) -> int:
        """Twice as much."""
        return 2 * n


def test_a_method_that_needs_its_object_cannot_run_in_a_process() -> None:
    with pytest.raises(ConfigError, match="the object that self is"):
        Objects()


async def test_a_static_method_can_run_in_a_process() -> None:
    provider = Statics()
    await provider.start()
    await provider.start()
    assert await provider.call(MethodCall(method="statics/double", parameters={"n": 4})) == 8
    await provider.stop()
    await provider.stop()
