"""Language models to test against, shared by the tests of ``llm/v1``."""

from __future__ import annotations

import pytest

from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.llm import LlmProvider, LlmSettings
from tests.fake_llm import FakeLlm


@pytest.fixture
async def server():
    async with FakeLlm().serve() as running:
        yield running


class Calls:
    """Calls of one provider, and what it has shown."""

    def __init__(self, provider: LlmProvider) -> None:
        self.provider = provider
        self.shown: list[str] = []

    async def __call__(self, method: str, limit: float | None = None, **parameters):
        call = MethodCall(
            method=f"llm/{method}", parameters=parameters, timeout=limit, on_partial=self.shown.append
        )
        return await self.provider.call(call)


def environment_of(server: FakeLlm, kind: str) -> dict[str, str]:
    return {"OLLAMA_HOST": server.url} if kind == "ollama" else {"OPENAI_BASE_URL": f"{server.url}/v1"}


@pytest.fixture(params=["ollama", "openai"])
async def llm(request, server):
    provider = LlmProvider(environment=environment_of(server, request.param))
    await provider.start()
    yield Calls(provider)
    await provider.stop()


@pytest.fixture
async def made():
    providers = []

    def make(environment=None, **settings) -> Calls:
        providers.append(LlmProvider(LlmSettings(**settings), environment=environment or {}))
        return Calls(providers[-1])

    yield make
    for provider in providers:
        await provider.stop()
