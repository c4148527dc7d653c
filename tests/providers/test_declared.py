"""Providers whose protocol is in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gleitzeitd.errors import ConfigError, MethodNotSupported, ParameterInvalid, ResultInvalid
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.model.protocol_document import read_protocol
from gleitzeitd.plain import Json
from gleitzeitd.plan import parsed, plan_of
from gleitzeitd.providers import MethodCall, MethodProvider, Provider, load, method
from gleitzeitd.providers.schema import problems


def protocol(methods: dict[str, Json], version: str = "v1") -> Protocol:
    table = {
        "name": "weather",
        "version": version,
        "description": "",
        "methods": {name: {"description": "", **each} for name, each in methods.items()},
    }
    found = read_protocol(table, problems)
    assert found.protocol is not None, found.problems
    return found.protocol


FORECAST = {
    "parameters": {
        "city": {"type": "string", "required": True},
        "days": {"type": "integer", "maximum": 14, "default": 3},
        "where": {"type": "object", "properties": {"lat": {"type": "number", "default": 48.4}}},
    },
    "returns": {"type": "object"},
}
WEATHER = protocol({"forecast": FORECAST, "stations/list": {}})


@dataclass
class Where:
    lat: float


class Weather(MethodProvider):
    """What the sky will do."""

    def forecast(self, city, days, call: MethodCall, where: Where | None = None):  # type: ignore[no-untyped-def]
        if city == "nowhere":
            return 3
        return {"city": city, "days": days, "lat": where.lat if where else None, "attempt": call.attempt}

    async def stations_list(self) -> list[str]:
        return ["here"]

    def not_in_the_file(self) -> None:
        raise AssertionError


class Bare(Provider):
    """Has a ``call`` and nothing else."""

    class Settings:
        """None."""

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings

    @property
    def capacity(self) -> int:
        return 2

    async def call(self, call: MethodCall) -> Json:
        return {"asked": call.parameters}


@pytest.fixture(autouse=True)
def module() -> Iterator[ModuleType]:
    made = ModuleType("sky_of_the_test")
    made.Weather, made.Bare = Weather, Bare  # type: ignore[attr-defined]
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def made(name: str = "Weather", declared: Protocol = WEATHER) -> Any:
    cls: Any = load(f"sky_of_the_test:{name}", declared)
    return cls()


async def called(provider: Any, name: str, **parameters: Json) -> Json:
    return await provider.call(MethodCall(method=name, parameters=parameters, attempt=1))


async def test_a_class_without_schemas_serves_the_protocol_of_the_file_with_its_defaults() -> None:
    provider = made()
    assert provider.protocol() is WEATHER
    assert await called(provider, "weather/forecast", city="Ulm", where={}) == {
        "city": "Ulm",
        "days": 3,
        "lat": 48.4,
        "attempt": 1,
    }
    assert await called(provider, "weather/stations/list") == ["here"]


async def test_the_schema_of_the_file_is_enforced() -> None:
    provider = made()
    with pytest.raises(ParameterInvalid, match="days: expected at most 14, found 15"):
        await called(provider, "weather/forecast", city="Ulm", days=15)
    with pytest.raises(ParameterInvalid, match="town: unknown key"):
        await called(provider, "weather/forecast", town="Ulm")
    with pytest.raises(ResultInvalid, match="breaks its schema"):
        await called(provider, "weather/forecast", city="nowhere")
    with pytest.raises(MethodNotSupported):
        await called(provider, "weather/not_in_the_file")


async def test_a_provider_with_a_call_of_its_own_gets_defaults_and_checked_parameters() -> None:
    provider = made("Bare")
    assert provider.protocol() is WEATHER
    assert await called(provider, "weather/forecast", city="Ulm") == {"asked": {"city": "Ulm", "days": 3}}
    with pytest.raises(ParameterInvalid):
        await called(provider, "weather/forecast")
    with pytest.raises(MethodNotSupported):
        await called(provider, "weather/forcast")


async def test_functions_of_a_module_serve_it(module: ModuleType) -> None:
    @method(name="forecast")
    def tomorrow(city: str, days: int, where: Any = None) -> dict[str, Json]:
        return {"city": city, "days": days}

    @method(name="stations/list")
    def stations() -> list[str]:
        return []

    for each in (tomorrow, stations):
        each.__module__ = module.__name__
        setattr(module, each.__name__, each)
    cls: Any = load(module.__name__, WEATHER)
    assert (await called(cls(), "weather/forecast", city="Ulm"))["days"] == 3


@pytest.mark.parametrize(
    ("methods", "complaints"),
    [
        (
            {"forcast": {}, "snow": {}},
            [
                "weather/forcast: Weather has no method forcast, did you mean forecast?",
                "weather/snow: Weather has no method snow",
            ],
        ),
        (
            {"forecast": {"parameters": {"city": "string"}}},
            [
                "Weather.forecast: it needs city, which weather/forecast does not require, and has no default for"
            ],
        ),
        (
            {"stations_list": {"parameters": {"near": "string"}}},
            ["Weather.stations_list: it takes no near, which weather/stations_list has"],
        ),
    ],
)
def test_a_class_that_does_not_fit_the_file_is_refused(
    methods: dict[str, Json], complaints: list[str]
) -> None:
    with pytest.raises(ConfigError) as problem:
        made(declared=protocol(methods))
    assert str(problem.value).splitlines() == complaints


# --- in a configuration ---------------------------------------------------------------------------

FILE = """\
name: weather
version: {version}
description: What the sky will do.
methods:
  stations/list: {{description: All of them.}}
"""


def planned(folder: Path, toml: str) -> Any:
    file = folder / "weather.toml"
    file.write_text(toml)
    plan = plan_of(parsed(["provider", "weather", "--config", str(file)]), {})
    parts = plan.load()
    plan.check(parts)
    return parts[0]


def test_a_provider_names_the_file_of_its_protocol_beside_its_own(tmp_path: Path) -> None:
    (tmp_path / "weather.yaml").write_text(FILE.format(version="v2"))
    part = planned(
        tmp_path,
        '[provider]\nmodule = "sky_of_the_test:Weather"\nprotocol = "weather.yaml"\ncapacity = 3\n',
    )
    assert part.loaded.settings["provider"].capacity == 3


def test_what_is_wrong_with_the_file_is_said_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "weather.yaml").write_text(FILE.format(version="two"))
    with pytest.raises(ConfigError, match=r"weather\.yaml:2:1: version: expected a version as v1"):
        planned(tmp_path, '[provider]\nmodule = "sky_of_the_test:Weather"\nprotocol = "weather.yaml"\n')
    with pytest.raises(ConfigError, match=r"weather\.toml:3: provider\.protocol: expected the path"):
        planned(tmp_path, '[provider]\nmodule = "sky_of_the_test:Weather"\nprotocol = 3\n')
