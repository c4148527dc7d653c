"""Protocol files: three formats, and the place of each problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.protocol_file import declared, load

YAML = """\
name: weather
version: v1
description: What the sky will do.
methods:
  forecast:
    description: The weather of the next days.
    parameters:
      city: {type: string, required: true}
      days: {type: integer, default: 3}
"""
TOML = """\
name = "weather"
version = "v1"
description = "What the sky will do."

[methods.forecast]
description = "The weather of the next days."

[methods.forecast.parameters]
city = { type = "string", required = true }
days = { type = "integer", default = 3 }
"""


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_three_formats_say_the_same(tmp_path: Path) -> None:
    from json import dumps
    from tomllib import loads

    yaml = declared(written(tmp_path, "w.yaml", YAML))
    assert yaml.methods["weather/forecast"].parameters["required"] == ["city"]
    assert declared(written(tmp_path, "w.toml", TOML)) == yaml
    assert declared(written(tmp_path, "w.json", dumps(loads(TOML)))) == yaml


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("w.yaml", YAML, ["8:14", "9:14"]),
        ("w.toml", TOML, ["9:1", "10:1"]),
    ],
)
def test_every_problem_has_its_line(tmp_path: Path, name: str, text: str, places: list[str]) -> None:
    path = written(tmp_path, name, text.replace("string", "strng").replace("integer", "intger"))
    with pytest.raises(ConfigError) as problem:
        declared(path)
    assert str(problem.value).splitlines() == [
        f"{path}:{places[0]}: methods.forecast.parameters.city.type: unknown type 'strng', did you mean string?",
        f"{path}:{places[1]}: methods.forecast.parameters.days.type: unknown type 'intger', did you mean integer?",
    ]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("w.yaml", b"a: [", r":[12]:[15]: no YAML: while parsing"),
        ("w.yaml", b"a: 1\na: 2", r":2:1: the key 'a' is here twice"),
        ("w.yaml", b"a: \xff", r":1:4: no UTF-8 text"),
        ("w.json", b"{", r":1:2: "),
        ("w.toml", b"a = \n", r":1:5: not valid TOML: Invalid value; "),
        ("w.toml", b"a = 2026-01-31", r":1:1: a: date is no JSON"),
        ("w.toml", b"a = [", r":1:6: not valid TOML"),
        ("w.yaml", b"#" * (1024 * 1024 + 1), "larger than 1048576 bytes"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_place(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=says):
        declared(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load(tmp_path / "none.yaml")
