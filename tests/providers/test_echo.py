from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, ProviderOverloaded
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.echo import EchoProvider


async def echo(name: str, attempt: int = 1, /, **parameters):
    return await EchoProvider().call(
        MethodCall(method=f"echo/{name}", parameters=parameters, attempt=attempt)
    )


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_the_parameters_come_back_as_they_are(parameters) -> None:
    call = MethodCall(method="echo/echo", parameters=parameters)
    steps = EchoProvider().call(call)
    with pytest.raises(StopIteration) as done:
        steps.send(None)  # it never waits
    assert done.value.value == parameters


async def test_a_failure_carries_its_message_and_can_be_retried() -> None:
    with pytest.raises(ExecutionFailed, match="^broken$") as caught:
        await echo("fail", message="broken")
    assert caught.value.info().retryable


async def test_a_failure_can_be_of_another_kind() -> None:
    with pytest.raises(ProviderOverloaded):
        await echo("fail", code=ProviderOverloaded.code)
    with pytest.raises(ExecutionFailed) as caught:
        await echo("fail", retryable=False)
    assert not caught.value.info().retryable
    with pytest.raises(ParameterInvalid, match="expected one of"):
        await echo("fail", code=1)


async def test_the_first_attempts_fail_and_the_next_one_succeeds() -> None:
    for attempt in (1, 2):
        with pytest.raises(ExecutionFailed):
            await echo("fail", attempt, times=2)
    assert await echo("fail", 3, times=2) == {"attempt": 3}


async def test_waiting_reports_its_progress() -> None:
    seen = []
    call = MethodCall(
        method="echo/wait",
        parameters={"seconds": 0.01, "steps": 4},
        on_progress=lambda ratio, text: seen.append(ratio),
    )
    assert await EchoProvider().call(call) == {"waited": 0.01}
    assert seen == [0.25, 0.5, 0.75, 1.0]
