from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from enum import Enum

import pytest

from gleitzeitd.errors import (
    ConfigError,
    ExecutionFailed,
    ParameterInvalid,
    RateLimited,
    ResultInvalid,
    TaskTimeout,
)
from gleitzeitd.model.protocol import Example
from gleitzeitd.providers import (
    BUILTIN,
    MethodCall,
    MethodProvider,
    MethodProviderSettings,
    builtin,
    load,
    method,
    usable,
)
from gleitzeitd.providers.schema import problems


class Unit(Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"


@dataclass
class Place:
    name: str
    height: int = 0


class Weather(MethodProvider):
    """What the sky will do.

    And more that nobody needs to know.
    """

    protocol_name = "weather/v1"

    async def forecast(self, place: Place, days: int = 3, unit: Unit = Unit.METRIC) -> list[Place]:
        """The weather of the
        next days.
        """
        assert isinstance(unit, Unit)
        return [place] * days

    def blocking(self, call: MethodCall, lines: int) -> int:
        for i in range(lines):
            call.on_output("stdout", f"{i}\n")
            call.on_progress((i + 1) / lines, "line")
        return threading.get_ident()

    def stuck(self, call: MethodCall) -> None:
        call.on_output("stdout", "stuck")
        release.wait(30)

    @method(name="tool.add", aliases=("plus",), returns={"type": "integer", "maximum": 9})
    async def add(self, **numbers: int) -> int:
        return sum(numbers.values())

    async def fails(self, how: str) -> object:
        match how:
            case "raise":
                raise KeyError("gone")
            case "exit":
                raise SystemExit(3)
            case "limit":
                raise RateLimited("slow down", retry_after=9)
            case "timeout":
                raise TimeoutError("its own")
            case "cancelled":
                raise asyncio.CancelledError
            case _:
                return object()

    def _private(self) -> None: ...


release = threading.Event()


async def call(name: str, provider: MethodProvider | None = None, **parameters):
    provider = provider or Weather()
    try:
        return await provider.call(MethodCall(method=f"weather/{name}", parameters=parameters))
    finally:
        await provider.stop()


def test_the_protocol_is_what_the_class_says() -> None:
    protocol = Weather().protocol()
    assert (protocol.name, protocol.description) == ("weather/v1", "What the sky will do.")
    assert sorted(protocol.methods) == [
        f"weather/{name}" for name in ("blocking", "fails", "forecast", "plus", "stuck", "tool.add")
    ]
    forecast = protocol.methods["weather/forecast"]
    assert forecast.description == "The weather of the next days."
    assert forecast.parameters["required"] == ["place"]
    assert forecast.parameters["properties"]["unit"] == {"enum": ["metric", "imperial"], "default": "metric"}
    assert forecast.returns["type"] == "array"
    assert "call" not in protocol.methods["weather/blocking"].parameters["properties"]


async def test_parameters_become_what_the_hints_say_and_defaults_apply() -> None:
    done = await call("forecast", place={"name": "Ulm"}, unit="imperial")
    assert done == [{"name": "Ulm", "height": 0}] * 3


async def test_a_method_has_all_its_names() -> None:
    assert await call("plus", a=1, b=2) == await call("tool.add", a=1, b=2) == 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("forecast", {}),
        ("forecast", {"place": {"nam": ""}}),
        ("plus", {"a": "1"}),
        ("blocking", {"call": 1, "lines": 1}),
    ],
)
async def test_parameters_that_break_the_hints_are_refused(name, parameters) -> None:
    with pytest.raises(ParameterInvalid):
        await call(name, **parameters)


@pytest.mark.parametrize(("how", "message"), [("raise", "KeyError: 'gone'"), ("exit", "SystemExit: 3"),
                                              ("timeout", "TimeoutError: its own"), ("cancelled", "cancelled")])  # fmt: skip
async def test_whatever_a_method_raises_is_a_failed_execution(how, message) -> None:
    with pytest.raises(ExecutionFailed, match=message):
        await call("fails", how=how)


async def test_an_error_of_the_catalogue_passes_as_it_is() -> None:
    with pytest.raises(RateLimited) as caught:
        await call("fails", how="limit")
    assert caught.value.info().retry_after == 9


async def test_a_result_that_breaks_its_schema_or_is_too_large_is_refused() -> None:
    with pytest.raises(ResultInvalid, match="at most 9"):
        await call("plus", a=10)
    with pytest.raises(ResultInvalid, match="object"):
        await call("fails", how="object")
    with pytest.raises(ResultInvalid, match="64 are allowed"):
        await call(
            "forecast", Weather(MethodProviderSettings(max_result_bytes=64)), place={"name": "Ulm" * 20}
        )


async def test_a_blocking_method_runs_in_a_thread_and_reports_in_order() -> None:
    provider = Weather()
    seen: list[str] = []
    ran_in = await provider.call(
        MethodCall(method="weather/blocking", parameters={"lines": 50}, on_output=lambda stream, text: seen.append(text),
                   on_progress=lambda ratio, text: seen.append(text))
    )  # fmt: skip
    await provider.stop()
    assert ran_in != threading.get_ident()
    assert seen == [text for i in range(50) for text in (f"{i}\n", "line")]


async def test_a_thread_that_does_not_end_keeps_its_slot_and_is_reported() -> None:
    release.clear()
    provider = Weather(MethodProviderSettings(capacity=1, kill_after_seconds=0.05))
    with pytest.raises(TaskTimeout):
        await provider.call(MethodCall(method="weather/stuck", timeout=0.05))
    assert await provider.health() == "1 calls did not end when they were told to: weather/stuck"
    with pytest.raises(Exception, match="running already"):
        await provider.call(MethodCall(method="weather/plus"))
    release.set()
    async with asyncio.timeout(5):
        while await provider.health() != "ok":
            await asyncio.sleep(0.001)
    assert await provider.call(MethodCall(method="weather/plus")) == 0
    await provider.stop()


class NoName(MethodProvider):
    pass


class BadHint(MethodProvider):
    protocol_name = "bad/v1"

    async def method(self, when: set[int]) -> None: ...


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("json", "expected module:Class"),
        ("no_such_module:X", "no module no_such_module"),
        ("json:JSONDecoder2", "did you mean JSONDecoder"),
        ("json:JSONDecoder", "no subclass of Provider"),
        ("gleitzeitd.providers.base:Provider", "lacks call, capacity, protocol"),
        (f"{__name__}:NoName", "lacks protocol_name"),
        ("json", "or functions with @method in json"),
        ("json:", "or my.module"),
    ],
)
def test_a_provider_that_cannot_be_loaded_says_why(spec, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load(spec)


def test_a_module_that_breaks_when_imported_is_an_error_of_the_configuration(tmp_path, monkeypatch) -> None:
    (tmp_path / "breaks.py").write_text("1/0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load("breaks:X")


def test_a_hint_without_a_json_form_names_the_method_and_the_parameter() -> None:
    with pytest.raises(ConfigError, match=r"BadHint\.method: parameter when"):
        BadHint()


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_provider_can_be_made_with_its_defaults(name) -> None:
    provider = builtin(name)()
    assert provider.protocol().name == f"{name}/v1"
    assert provider.capacity >= 1


def test_a_builtin_provider_whose_libraries_are_missing_is_not_usable(monkeypatch) -> None:
    assert usable() == list(BUILTIN)
    monkeypatch.setitem(sys.modules, "grpc", None)
    assert usable() == [name for name in BUILTIN if name != "grpc"]


def test_an_unknown_builtin_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean python"):
        builtin("pyton")


FUNCTIONS = '''"""What the sky will do."""
from gleitzeitd.providers import method
from gleitzeitd.providers.kit import load

@method
def forecast(city: str, days: int = 3) -> dict:
    "The weather of the next days."
    return {"city": city, "days": days}

@method(name="tool.health", aliases=("well",))
async def health() -> str:
    return "sunny"

def helper(x): ...
'''


def asked(name: str, **parameters) -> MethodCall:
    return MethodCall(method=name, parameters=parameters)


async def test_the_functions_of_a_module_are_a_provider(tmp_path, monkeypatch) -> None:
    (tmp_path / "weatherly.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    provider = load("weatherly")()
    protocol = provider.protocol()
    assert (protocol.name, protocol.description) == ("weatherly/v1", "What the sky will do.")
    assert list(protocol.methods) == ["weatherly/forecast", "weatherly/tool.health", "weatherly/well"]
    assert protocol.methods["weatherly/forecast"].parameters["required"] == ["city"]
    assert await provider.health() == "ok"
    assert await provider.call(asked("weatherly/forecast", city="Ulm")) == {"city": "Ulm", "days": 3}
    assert await provider.call(asked("weatherly/well")) == "sunny"
    with pytest.raises(ParameterInvalid, match="city"):
        await provider.call(asked("weatherly/forecast", city=7))


def test_who_describes_nothing_has_no_description(tmp_path, monkeypatch) -> None:
    (tmp_path / "terse.py").write_text(FUNCTIONS.partition("\n")[2])
    monkeypatch.syspath_prepend(tmp_path)
    assert load("terse")().protocol().description == ""


async def test_a_module_of_functions_may_name_its_protocol(tmp_path, monkeypatch) -> None:
    (tmp_path / "named.py").write_text(FUNCTIONS + "protocol_name = 'sky/v2'\n")
    monkeypatch.syspath_prepend(tmp_path)
    protocol = load("named")().protocol()
    assert (protocol.name, list(protocol.methods)[0]) == ("sky/v2", "sky/forecast")


def test_a_method_may_have_examples() -> None:
    class Said(MethodProvider):
        protocol_name = "said/v1"

        @method(examples=(Example(parameters={"x": 1}),))
        def it(self, x: int) -> int:
            return x

    assert Said().protocol().methods["said/it"].examples == (Example(parameters={"x": 1}),)


@pytest.mark.parametrize("name", BUILTIN)
def test_the_examples_of_a_method_fit_it(name: str) -> None:
    for method_name, declared in builtin(name)().protocol().methods.items():
        for example in declared.examples:
            assert not problems(declared.parameters, example.parameters), method_name
