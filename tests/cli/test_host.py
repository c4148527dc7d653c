"""What systemctl says, read."""

from __future__ import annotations

from gleitzeitd.cli import host

BLOCK = """Id=gleitzeit-hub.service
LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=enabled
Result=watchdog
NRestarts=3
MainPID=0
Environment=LOG_LEVEL=debug "GLEITZEIT_HUB_HOST=a b"
"""


def test_a_unit_is_read_from_its_properties() -> None:
    unit = host.unit_from(BLOCK)
    assert unit is not None
    assert (unit.name, unit.active, unit.result, unit.restarts) == (
        "gleitzeit-hub.service",
        "failed",
        "watchdog",
        3,
    )
    assert host.environment_of(unit) == {"LOG_LEVEL": "debug", "GLEITZEIT_HUB_HOST": "a b"}


def test_a_unit_that_does_not_exist_is_none() -> None:
    assert host.unit_from("Id=x.service\nLoadState=not-found\nActiveState=inactive\n") is None


def test_a_unit_that_was_never_started_has_no_condition_that_does_not_hold() -> None:
    never = host.unit_from(f"{BLOCK}ConditionResult=no\nConditionTimestampMonotonic=0\n")
    tried = host.unit_from(f"{BLOCK}ConditionResult=no\nConditionTimestampMonotonic=12\n")
    assert never is not None and never.conditions_hold
    assert tried is not None and not tried.conditions_hold


def test_the_units_of_instances_have_their_names() -> None:
    assert host.unit_of("hub") == "gleitzeit-hub.service"
    assert host.unit_of("provider", "python") == "gleitzeit-provider@python.service"


def test_what_is_no_assignment_is_no_variable() -> None:
    assert host.variables(["A=1", "", "junk", "B=x=y"]) == {"A": "1", "B": "x=y"}
