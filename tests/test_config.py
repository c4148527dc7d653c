"""Configuration: what is loaded, what is refused and in which words, and what is shipped."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.bounds import Bounds, bounded, secret, sized
from gleitzeitd.config import Loaded, config_files, effective, load, redacted, reference
from gleitzeitd.config.loading import FILE_LIMIT
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json

Address = NewType("Address", str)


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    certificate: str
    """Path of the certificate."""
    port: int = bounded(443, least=1, most=65_535)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueManager:
    """Which task ``runs`` next."""

    lease_seconds: float = bounded(60.0, above=0, most=3600, unit="seconds")
    """How long an engine may keep a task
    without reporting."""
    slots: int = bounded(4, least=1, most=10_000)
    """[not a section] = not a key."""
    fair: bool = True
    order: Literal["priority", "arrival"] = "priority"
    level: Level = Level.INFO
    urls: tuple[Address, ...] = sized((Address("http://localhost:8000"),), least=1, most=3)
    """Hubs."""
    weights: list[int] = bounded([1, 2], least=0)
    labels: dict[str, str] = field(default_factory=lambda: {"a b": 'quote " and = and # and \\', "c": "d"})
    name: str | None = None
    """Not needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    host: str = "localhost"
    token: str = secret("", least=0, most=20)
    """What clients prove themselves with."""
    tls: Tls = field(default_factory=lambda: Tls(certificate="/etc/cert.pem", port=8443))
    """Transport security."""
    anything: Json = field(default_factory=dict)
    limit: int | str = 5
    listeners: list[Tls] = field(default_factory=list)
    long: list[str] = field(default_factory=lambda: [f"a rather long item, number {n}" for n in range(9)])

    def __post_init__(self) -> None:
        if self.host == "nowhere" and not self.token:
            raise MalformedData("host", "nowhere needs a token")
        if self.host == "bad":
            raise ValueError("a bad host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needy:
    path: str = sized(least=1)
    count: int


SECTIONS: dict[str, type] = {"queue_manager": QueueManager, "hub": Hub}
ALIASES = {
    "GLEITZEIT_HUB_URL": "queue_manager.urls",
    "LOG_LEVEL": "queue_manager.level",
    "GLEITZEIT_LOG_LEVEL": "queue_manager.level",
    "SQLITE_PATH": "persistence.path",
}


class Etc:
    """A directory of configuration files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, *texts: str, sections: dict[str, type] = SECTIONS, **environment: str) -> Loaded:
        files = []
        for index, text in enumerate(texts):
            files.append(self.path / f"{index}.toml")
            files[-1].write_bytes(text.encode("utf-8", "surrogateescape"))
        return load(
            sections,
            files=files,
            environment=environment,
            foreign={"persistence", "hub_link"},
            aliases=ALIASES,
        )

    def problems(self, *texts: str, sections: dict[str, type] = SECTIONS, **environment: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(*texts, sections=sections, **environment)
        return str(caught.value).replace(f"{self.path}/", "").split("\n")


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path)


# --- what is loaded -------------------------------------------------------------------------------


def test_without_files_and_variables_there_are_the_defaults(etc: Etc) -> None:
    loaded = etc.load()
    assert loaded.settings == {"queue_manager": QueueManager(), "hub": Hub()}
    assert set(loaded.origin.values()) == {"default"}
    assert loaded.section("hub", Hub) == Hub()


def test_a_later_file_wins_and_the_environment_wins_over_files(etc: Etc) -> None:
    loaded = etc.load(
        "[queue_manager]\nslots = 1\nlease_seconds = 5\nfair = false",
        "[queue_manager]\n\nslots = 2\nlease_seconds = 6",
        GLEITZEIT_QUEUE_MANAGER_LEASE_SECONDS="7.5",
    )
    assert loaded.settings["queue_manager"] == QueueManager(slots=2, lease_seconds=7.5, fair=False)
    origin = loaded.origin
    assert origin["queue_manager.fair"] == f"{etc.path}/0.toml:4"
    assert origin["queue_manager.slots"] == f"{etc.path}/1.toml:3"
    assert origin["queue_manager.lease_seconds"] == "environment GLEITZEIT_QUEUE_MANAGER_LEASE_SECONDS"
    assert origin["queue_manager.order"] == "default"


def test_tables_are_merged_key_by_key_and_lists_replaced(etc: Etc) -> None:
    loaded = etc.load(
        '[hub.tls]\ncertificate = "x"\n[queue_manager]\nweights = [1, 2, 3]\nlabels = {a = "1", b = "2"}',
        '[hub]\ntls.port = 9\n[queue_manager]\nweights = [4]\nlabels.b = "3"',
    )
    assert loaded.settings["hub"].tls == Tls(certificate="x", port=9)
    assert loaded.settings["queue_manager"].weights == [4]
    assert loaded.settings["queue_manager"].labels == {"a": "1", "b": "3"}


def test_sections_of_other_roles_are_not_looked_into(etc: Etc) -> None:
    assert etc.load("[persistence]\nwhatever = 3\n[[hub_link]]\n").settings["hub"] == Hub()


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(etc: Etc) -> None:
    loaded = etc.load("\ufeff[hub]\r\n\r\nhost = 'h'\r\n")
    assert loaded.origin["hub.host"].endswith("0.toml:3")


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("GLEITZEIT_QUEUE_MANAGER_SLOTS", "7", "slots", 7),
        ("GLEITZEIT_QUEUE_MANAGER_SLOTS", " 1_0 ", "slots", 10),
        ("GLEITZEIT_QUEUE_MANAGER_FAIR", "false", "fair", False),
        ("GLEITZEIT_QUEUE_MANAGER_FAIR", "False", "fair", False),
        ("GLEITZEIT_QUEUE_MANAGER_ORDER", "arrival", "order", "arrival"),
        ("GLEITZEIT_QUEUE_MANAGER_NAME", '"3"', "name", '"3"'),
        ("GLEITZEIT_QUEUE_MANAGER_NAME", "true", "name", "true"),
        ("GLEITZEIT_QUEUE_MANAGER_NAME", "", "name", None),
        ("GLEITZEIT_QUEUE_MANAGER_WEIGHTS", "[3,\n4]", "weights", [3, 4]),
        ("GLEITZEIT_QUEUE_MANAGER_WEIGHTS", "3, 4", "weights", [3, 4]),
        ("GLEITZEIT_QUEUE_MANAGER_LABELS", '{x = "y"}', "labels", {"x": "y"}),
        ("GLEITZEIT_HUB_URL", "http://a:8000", "urls", ("http://a:8000",)),
        ("GLEITZEIT_HUB_URL", "http://a,http://b", "urls", ("http://a", "http://b")),
        ("LOG_LEVEL", "DEBUG", "level", Level.DEBUG),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_key(
    etc: Etc, variable: str, text: str, key: str, value: Any
) -> None:
    assert getattr(etc.load(**{variable: text}).settings["queue_manager"], key) == value


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("seven", "seven")])
def test_a_union_in_a_variable_is_a_text_last(etc: Etc, text: str, value: int | str) -> None:
    assert etc.load(GLEITZEIT_HUB_LIMIT=text).settings["hub"].limit == value


def test_a_full_name_wins_over_an_alias_and_an_early_alias_over_a_late_one(etc: Etc) -> None:
    both = {"LOG_LEVEL": "debug", "GLEITZEIT_LOG_LEVEL": "info"}
    assert etc.load(**both).settings["queue_manager"].level is Level.DEBUG
    loaded = etc.load(**both, GLEITZEIT_QUEUE_MANAGER_LEVEL="info")
    assert loaded.settings["queue_manager"].level is Level.INFO
    assert loaded.origin["queue_manager.level"] == "environment GLEITZEIT_QUEUE_MANAGER_LEVEL"


def test_variables_that_are_about_no_section_are_left_alone(etc: Etc) -> None:
    etc.load(GLEITZEIT_TOKEN="t", PATH="/bin", SQLITE_PATH="/x", GLEITZEIT_PERSISTENCE_X="1")
    etc.load(GLEITZEIT_HUB_LINK_X="a section of another role whose name begins like ours")


def test_loading_again_gives_the_same(etc: Etc) -> None:
    first = etc.load("[hub]\nanything = {a = [1]}")
    first.settings["hub"].anything["a"].append(2)
    assert etc.load("[hub]\nanything = {a = [1]}").settings["hub"].anything == {"a": [1]}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[queue_manager]\nlease_second = 3",
            "0.toml:2: queue_manager.lease_second: unknown key, did you mean lease_seconds?",
        ),
        ("[queue_manager]\nhost = 'x'", "0.toml:2: queue_manager.host: unknown key, it belongs into [hub]"),
        (
            "[queue_manager]\n\nlease_seconds = '3'",
            "0.toml:3: queue_manager.lease_seconds: expected a number, found text '3'",
        ),
        (
            "queue_manager.fair = 1",
            "0.toml:1: queue_manager.fair: expected true or false, found a whole number 1",
        ),
        ("[queue_manager]\nslots = 0", "0.toml:2: queue_manager.slots: expected 1 to 10000, found 0"),
        (
            "[queue_manager]\nlease_seconds = 0",
            "0.toml:2: queue_manager.lease_seconds: expected more than 0 and at most 3600, found 0",
        ),
        (
            "[queue_manager]\nlease_seconds = nan",
            "0.toml:2: queue_manager.lease_seconds: expected a finite number, found nan",
        ),
        (
            f"[queue_manager]\nlease_seconds = 1{'0' * 400}",
            "0.toml:2: queue_manager.lease_seconds: expected a whole number of at most 64 bits",
        ),
        (
            "[queue_manager]\nlevel = 'debugg'",
            "0.toml:2: queue_manager.level: expected one of debug, info, found 'debugg', did you mean debug?",
        ),
        ("[queue_manager]\nurls = []", "0.toml:2: queue_manager.urls: expected 1 to 3 items, found 0"),
        (
            "[queue_manager]\nurls = [\n'a',\n4]",
            "0.toml:4: queue_manager.urls[1]: expected text, found a whole number 4",
        ),
        (
            "[queue_manager]\nweights = [\n1,\n-1]",
            "0.toml:4: queue_manager.weights[1]: expected at least 0, found -1",
        ),
        (
            "[queue_manager.labels]\n\n'x y' = 1",
            "0.toml:3: queue_manager.labels.x y: expected text, found a whole number 1",
        ),
        (
            "[hub]\nanything = {a = 2020-01-01}",
            "0.toml:2: hub.anything: expected no date or time, found 2020-01-01",
        ),
        ("[hub.tls]\n", "0.toml:1: hub.tls.certificate: missing, expected text"),
        ("[hub.tls]\ncertificate = ''\nport=0", "0.toml:3: hub.tls.port: expected 1 to 65535, found 0"),
        (
            "[[hub.listeners]]\ncertificate = ''\n[[hub.listeners]]\ncertificate = ''\n\nprt = 3",
            "0.toml:6: hub.listeners[1].prt: unknown key, did you mean port?",
        ),
        ("[queue-manager]\n", "0.toml:1: [queue-manager]: unknown section, did you mean queue_manager?"),
        (
            "[zzz]\n",
            "0.toml:1: [zzz]: unknown section, expected one of queue_manager, hub, hub_link, persistence",
        ),
        ("\nslots = 3", "0.toml:2: slots: stands before any section, it belongs into [queue_manager]"),
        ("[[hub]]\n", "0.toml:1: [hub]: expected a table, found a list"),
        ("[hub]\nhost = 'nowhere'", "0.toml:2: hub.host: nowhere needs a token"),
        ("\n[hub]\nhost = 'bad'", "0.toml:2: [hub]: a bad host"),
        ("[hub]\nhost 3", "0.toml:2:6: not valid TOML: Expected '=' after a key in a key/value pair"),
        ("[hub]\n\udcff", "0.toml:2: is not UTF-8"),
        ("#" * (FILE_LIMIT + 1), "0.toml: is larger than 1048576 bytes"),
    ],
)
def test_a_problem_is_named_with_its_file_line_and_key(etc: Etc, text: str, problem: str) -> None:
    assert etc.problems(text) == [problem]


@pytest.mark.parametrize(
    "text", ["[hub]\nlimit = " + "9" * 5000, "[hub]\nanything = " + "[" * 5000, "a = '''"]
)
def test_what_the_parser_chokes_on_is_a_problem_like_others(etc: Etc, text: str) -> None:
    (problem,) = etc.problems(text)
    assert problem.startswith("0.toml")


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        (
            "GLEITZEIT_QUEUE_MANAGER_SLOTS",
            "x",
            "queue_manager.slots: expected a whole number, found text 'x'",
        ),
        ("GLEITZEIT_QUEUE_MANAGER_SLOTS", "0", "queue_manager.slots: expected 1 to 10000, found 0"),
        (
            "GLEITZEIT_QUEUE_MANAGER_SLOTS",
            "1\nb=2",
            "queue_manager.slots: expected a whole number, found text '1\\nb=2'",
        ),
        (
            "GLEITZEIT_QUEUE_MANAGER_FAIR",
            "yes",
            "queue_manager.fair: expected true or false, found text 'yes'",
        ),
        ("GLEITZEIT_QUEUE_MANAGER_URLS", "[1", "queue_manager.urls: expected a list, found text '[1'"),
        ("LOG_LEVEL", "x", "queue_manager.level: expected one of debug, info, found 'x'"),
        (
            "GLEITZEIT_QUEUE_MANAGER_SLOT",
            "3",
            "[queue_manager] has no such key, did you mean GLEITZEIT_QUEUE_MANAGER_SLOTS?",
        ),
    ],
)
def test_a_problem_of_a_variable_names_the_variable(etc: Etc, variable: str, text: str, problem: str) -> None:
    assert etc.problems(**{variable: text}) == [f"{variable}: {problem}"]


def test_all_problems_of_all_files_and_variables_are_reported_at_once_in_order(etc: Etc) -> None:
    assert etc.problems(
        "[queue_manager]\nslots = 0\nslot = 1\n[hub]\nhost = 3",
        "[hub",
        "[queue_manager]\nslots = 5",
        sections={**SECTIONS, "needy": Needy},
        GLEITZEIT_QUEUE_MANAGER_SLOTS="many",
    ) == [
        "0.toml:2: queue_manager.slots: expected 1 to 10000, found 0",  # also if another file replaces it
        "0.toml:3: queue_manager.slot: unknown key, did you mean slots?",
        "0.toml:5: hub.host: expected text, found a whole number 3",
        "1.toml:1:5: not valid TOML: Expected ']' at the end of a table declaration",
        "GLEITZEIT_QUEUE_MANAGER_SLOTS: queue_manager.slots: expected a whole number, found text 'many'",
        "needy.path: missing, expected text; GLEITZEIT_NEEDY_PATH sets it too",
        "needy.count: missing, expected whole number; GLEITZEIT_NEEDY_COUNT sets it too",
    ]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: cannot be read: No such file"):
        load(SECTIONS, files=[tmp_path / "absent.toml"], environment={})


def test_a_secret_is_in_no_message_and_no_print(etc: Etc) -> None:
    assert etc.problems(GLEITZEIT_HUB_TOKEN="hunter2" * 9) == [
        "GLEITZEIT_HUB_TOKEN: hub.token: expected 0 to 20 characters"
    ]
    assert etc.problems("[hub]\ntoken = 12345") == ["0.toml:2: hub.token: expected text"]
    loaded = etc.load("[hub]\ntoken = 'hunter2'")
    assert loaded.settings["hub"].token == "hunter2"
    assert redacted(loaded.settings["hub"])["token"] == "(redacted)"
    assert "hunter2" not in repr(loaded) + effective(loaded) + str(redacted(loaded.settings["hub"]))
    assert redacted(Hub())["token"] == ""


# --- which files ----------------------------------------------------------------------------------


def test_a_role_reads_the_file_of_all_roles_then_its_own_each_with_its_drop_ins(tmp_path: Path) -> None:
    expected = [
        "gleitzeit.toml",
        "gleitzeit.d/z.toml",
        "queue-manager.toml",
        "queue-manager.d/10-a.toml",
        "queue-manager.d/20-a.toml",
    ]
    for name in [
        *reversed(expected),
        "queue-manager.d/.#10-a.toml",
        "queue-manager.d/x.toml.dpkg-old",
        "hub.toml",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = config_files(Role.QUEUE_MANAGER, directory=tmp_path)
    assert [str(f.relative_to(tmp_path)) for f in found] == expected
    assert config_files(None, directory=tmp_path) == found[:2]
    assert config_files(Role.HUB, [tmp_path / "queue-manager.toml", tmp_path / "hub.toml"]) == [
        *found[2:],
        tmp_path / "hub.toml",
    ]


def test_absent_default_files_are_no_error_but_their_drop_ins_count(tmp_path: Path) -> None:
    assert config_files(Role.HUB, directory=tmp_path / "absent") == []
    (tmp_path / "hub.d").mkdir()
    (tmp_path / "hub.d" / "a.toml").touch()
    assert config_files(Role.HUB, directory=tmp_path) == [tmp_path / "hub.d" / "a.toml"]


def test_a_provider_has_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "providers" / "python.d").mkdir(parents=True)
    names = ["providers/python.toml", "providers/python.d/a.toml"]
    for name in names:
        (tmp_path / name).touch()
    assert config_files(Role.PROVIDER, instance="python", directory=tmp_path) == [tmp_path / n for n in names]
    with pytest.raises(ConfigError, match="provider: expected the name of one"):
        config_files(Role.PROVIDER, instance="../hub", directory=tmp_path)


def test_a_given_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_files(Role.HUB, [tmp_path / "absent.toml", tmp_path])
    assert str(caught.value) == f"{tmp_path}/absent.toml: does not exist\n{tmp_path}: is a directory"


# --- what is shipped ------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=[^\s#]|  )", "", text, flags=re.MULTILINE)


def test_the_shipped_file_gives_the_defaults_as_it_is_and_with_every_key_uncommented(etc: Etc) -> None:
    text = reference(SECTIONS, "Settings of a queue manager.")
    defaults = {"queue_manager": QueueManager(), "hub": Hub()}
    assert etc.load(text).settings == defaults
    loaded = etc.load(uncommented(text))
    assert loaded.settings == defaults
    assert {key for key, origin in loaded.origin.items() if origin == "default"} == {"queue_manager.name"}
    assert max(map(len, text.splitlines())) <= 88


def test_the_shipped_file_says_meaning_type_unit_and_bounds_of_each_key() -> None:
    lines = reference({**SECTIONS, "needy": Needy}, "Settings of a queue manager.").splitlines()
    assert lines[0] == "# Settings of a queue manager."
    start = lines.index("[queue_manager]")
    assert lines[start + 1 : start + 6] == [
        "# Which task runs next.",
        "",
        "# How long an engine may keep a task without reporting.",
        "# Number of seconds, more than 0 and at most 3600.",
        "#lease_seconds = 60.0",
    ]
    assert "# One of priority, arrival." in lines
    assert "# List of texts, 1 to 3 items." in lines
    assert "# Text, at least 1 character." in lines
    assert "# Text, 0 to 20 characters. Secret." in lines
    assert "#[hub.tls]" in lines
    assert lines[lines.index("# count =") - 1] == "# Required."


def test_what_is_in_force_is_toml_that_loads_to_the_same(etc: Etc) -> None:
    loaded = etc.load("[queue_manager]\nslots = 9\n[[hub.listeners]]\ncertificate = 'x'", LOG_LEVEL="debug")
    text = effective(loaded)
    assert etc.load(text).settings == loaded.settings
    assert f"slots = 9  # {etc.path}/0.toml:2" in text
    assert 'level = "debug"  # environment LOG_LEVEL' in text
    assert "fair = true  # default" in text


def test_a_default_outside_its_bounds_cannot_be_declared() -> None:
    with pytest.raises(AssertionError, match="expected at least 1, found 0"):
        bounded(0, least=1)


NUMBERS = st.integers(-20, 20)


@given(least=NUMBERS, most=NUMBERS, above=NUMBERS, below=NUMBERS, value=NUMBERS)
def test_bounds_admit_what_satisfies_each_of_them(
    least: int, most: int, above: int, below: int, value: int
) -> None:
    bounds = Bounds(least=least, most=most, above=above, below=below)
    assert (bounds.range_problem(value) is None) == (least <= value <= most and above < value < below)
