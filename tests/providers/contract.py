"""What every provider must do. A provider joins by adding one line to SUBJECTS in ``test_contract.py``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from gleitzeitd.errors import MethodNotSupported, ParameterInvalid, ProviderOverloaded, TaskTimeout
from gleitzeitd.providers import MethodCall, Provider
from gleitzeitd.providers.schema import check_result, check_schema
from gleitzeitd.providers.worker import NEXT_JOB


@dataclass
class Subject:
    """A provider under test, with room for two calls."""

    make: Callable[[], Provider]
    quick: tuple[str, dict[str, Any]]
    slow: tuple[str, dict[str, Any]]
    """Takes a minute or more; prints a line when it has begun, or sets ``begun``."""
    bad: tuple[str, dict[str, Any]]
    """A parameter breaks the schema."""
    begun: asyncio.Semaphore | None = field(default=None)
    """Released by the other side of a slow call; None if its output says that it has begun."""


def call_of(what: tuple[str, dict[str, Any]], **more: Any) -> MethodCall:
    return MethodCall(method=what[0], parameters=what[1], **more)


def work_left() -> list[psutil.Process]:
    """Processes below the workers, but for those that wait for work. An orphan comes to its worker, so nothing
    can hide.
    """
    workers = psutil.Process().children()
    found = [process for worker in workers for process in worker.children(recursive=True)]
    return [p for p in found if not is_waiting(p) and p.status() != psutil.STATUS_ZOMBIE]


def is_waiting(process: psutil.Process) -> bool:
    """Whether it is a worker's child that has no job yet."""
    return process.name() == NEXT_JOB.decode()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class ProviderContract:
    async def _begin(self, subject: Subject, provider: Provider, **more: Any) -> asyncio.Task[Any]:
        begun = subject.begun or asyncio.Semaphore(0)

        def on_output(stream: str, text: str) -> None:
            begun.release()

        call = call_of(subject.slow, on_output=on_output, **more)
        task = asyncio.get_running_loop().create_task(provider.call(call))
        await asyncio.wait_for(begun.acquire(), 10)
        return task

    async def test_every_schema_can_be_used_and_every_method_says_what_it_does(self, subject) -> None:
        protocol = subject.make().protocol()
        assert protocol.methods
        for name, method in protocol.methods.items():
            assert name.startswith(protocol.name.partition("/")[0] + "/")
            assert method.description
            check_schema(method.parameters)
            check_schema(method.returns)
            json.dumps([method.parameters, method.returns])

    async def test_a_result_fits_the_schema_of_its_method(self, subject, provider) -> None:
        result = await provider.call(call_of(subject.quick))
        check_result(provider.protocol(), subject.quick[0], result)

    async def test_an_unknown_method_is_refused(self, provider) -> None:
        with pytest.raises(MethodNotSupported, match="nonsense"):
            await provider.call(MethodCall(method="echo/nonsense"))

    async def test_bad_parameters_are_refused(self, subject, provider) -> None:
        with pytest.raises(ParameterInvalid):
            await provider.call(call_of(subject.bad))

    async def test_a_timeout_ends_the_work_before_it_is_reported(self, subject, provider) -> None:
        task = await self._begin(subject, provider, timeout=0.5)
        with pytest.raises(TaskTimeout):
            await asyncio.wait_for(task, 10)
        assert work_left() == []

    async def test_a_cancel_ends_the_work_before_it_is_reported(self, subject, provider) -> None:
        task = await self._begin(subject, provider)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work_left() == []
        await provider.call(call_of(subject.quick))

    async def test_a_second_cancel_does_not_leave_work_behind(self, subject, provider) -> None:
        task = await self._begin(subject, provider)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work_left() == []

    async def test_a_cancel_before_the_work_has_begun_leaves_nothing(self, subject, provider) -> None:
        task = asyncio.get_running_loop().create_task(provider.call(call_of(subject.slow)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work_left() == []
        await provider.call(call_of(subject.quick))

    async def test_more_calls_than_the_capacity_are_refused_at_once(self, subject, provider) -> None:
        assert provider.capacity == 2
        tasks = [await self._begin(subject, provider) for _ in range(2)]
        with pytest.raises(ProviderOverloaded):
            await provider.call(call_of(subject.slow))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await provider.call(call_of(subject.quick))

    async def test_start_and_stop_can_be_repeated(self, subject) -> None:
        provider = subject.make()
        await provider.start()
        await provider.start()
        await provider.call(call_of(subject.quick))
        await provider.stop()
        await provider.stop()
        await provider.start()
        await provider.call(call_of(subject.quick))
        assert await provider.health() == "ok"
        await provider.stop()
        assert psutil.Process().children() == []
