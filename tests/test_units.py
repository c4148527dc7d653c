"""The unit files of every role: one form, one sandbox, and what systemd itself says of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gleitzeitd.__main__ import DAMAGED, USAGE
from gleitzeitd.model.names import Role
from gleitzeitd.roles import ROLES
from gleitzeitd.runtime.issued import ISSUED_FILE
from gleitzeitd.runtime.keygen import CREDENTIAL
from gleitzeitd.runtime.security import GROUP, KEYS_FILE, TOKEN_FILE

UNITS = Path(__file__).parent.parent / "systemd"
TEMPLATES = {
    "gleitzeit-execution-engine@.service": Role.EXECUTION_ENGINE,
    "gleitzeit-provider@.service": Role.PROVIDER,
}
DAEMONS: dict[str, Role] = {
    **{f"gleitzeit-{role.file_name}.service": role for role in ROLES if role is not Role.PROVIDER},
    **TEMPLATES,
}
OTHERS = {"gleitzeit.service", "gleitzeit-keygen.service"}
RUNS_USER_CODE = {"gleitzeit-provider@.service"}
EXPOSURE, EXPOSURE_OF_USER_CODE = 1.5, 2.5
"""The most that `systemd-analyze security` may say, 10 being the worst."""

Unit = dict[str, list[str]]


def unit(name: str) -> Unit:
    """All values of each key, whose name begins with that of its section: ``Service.Type``."""
    found: Unit = {}
    section = ""
    for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, f"{name}: {line}"
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def sandbox(of: Unit) -> Unit:
    """What confines a unit."""
    names = r"(NoNew|Private|Protect|Restrict|Proc|SystemCall|Lock|Memory|Remove|Keyring|Device|Capabil|Ambient|UMask)"
    return {
        key: values
        for key, values in of.items()
        if re.match(rf"Service\.{names}", key) and not key.endswith(("PreventExitStatus", "PrivateNetwork"))
    }


def test_every_role_has_its_unit_and_there_is_no_other_service() -> None:
    assert {file.name for file in UNITS.glob("*.service")} == set(DAEMONS) | OTHERS


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_is_started_checked_and_reloaded_under_its_own_name(name: str) -> None:
    found = unit(name)
    command = f"/usr/bin/gleitzeitd {DAEMONS[name].file_name}" + (" %i" if name in TEMPLATES else "")
    assert found["Service.ExecStart"] == [command]
    assert found["Service.ExecStartPre"] == [f"-{command} --check-config"]
    assert found["Service.ExecReload"] == [f"{command} --check-config", "/bin/sh -c 'kill -HUP $MAINPID'"]
    assert found["Service.LogExtraFields"] == [f"GLEITZEIT_ROLE={DAEMONS[name].value}"]


@pytest.mark.parametrize("name", DAEMONS)
def test_daemons_differ_in_nothing_but_what_is_their_own(name: str) -> None:
    own = "Description Documentation After Before Wants ExecStart ExecStartPre ExecReload OOMPolicy LogExtraFields "
    own += "LimitNOFILE StateDirectory StateDirectoryMode WorkingDirectory Environment OOMScoreAdjust Also LoadCredential "
    own += "InaccessiblePaths"
    common = {k: v for k, v in unit(name).items() if k.partition(".")[2] not in own.split()}
    reference = {
        k: v for k, v in unit("gleitzeit-hub.service").items() if k.partition(".")[2] not in own.split()
    }
    if name in RUNS_USER_CODE:
        for lighter in (
            "MemoryDenyWriteExecute",
            "SystemCallFilter",
            "RestrictAddressFamilies",
            "User",
            "Group",
        ):
            common.pop(f"Service.{lighter}", None)
            reference.pop(f"Service.{lighter}", None)
    assert common == reference


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_units_that_are_no_daemons_have_the_same_sandbox_and_no_network(name: str) -> None:
    found, reference = unit(name), sandbox(unit("gleitzeit-hub.service"))
    assert found["Service.PrivateNetwork"] == ["yes"]
    assert found["Service.RestrictAddressFamilies"] == ["AF_UNIX"]
    reference["Service.RestrictAddressFamilies"] = ["AF_UNIX"]
    if name == "gleitzeit-keygen.service":  # it gives a file of root's to the group
        del reference["Service.PrivateUsers"]
        reference["Service.SystemCallFilter"] = [*reference["Service.SystemCallFilter"], "@chown"]
    assert sandbox(found) == reference


@pytest.mark.parametrize("name", DAEMONS)
def test_a_hung_daemon_is_back_within_15_seconds(name: str) -> None:
    found = unit(name)
    until_killed = seconds(found["Service.WatchdogSec"]) + seconds(found["Service.TimeoutAbortSec"])
    assert until_killed + seconds(found["Service.RestartSec"]) <= 11  # and then it has to start


@pytest.mark.parametrize("name", DAEMONS)
def test_daemons_that_are_killed_now_and_then_are_started_again_and_those_that_never_start_are_given_up(
    name: str,
) -> None:
    found = unit(name)
    assert found["Service.Restart"] == ["on-failure"]
    assert found["Service.RestartPreventExitStatus"] == [f"{USAGE} {DAMAGED}"]  # which no start heals
    burst, interval = int(found["Unit.StartLimitBurst"][0]), seconds(found["Unit.StartLimitIntervalSec"])
    assert burst >= interval / 20, "killed every 20 s for ever, it is started every time"
    assert burst * 5.0 < interval / 3, "even if a start takes 5 s: whoever waits for it, as apt does, goes on"


@pytest.mark.parametrize("name", DAEMONS)
def test_the_umbrella_and_the_target_reach_every_daemon(name: str) -> None:
    found = unit(name)
    assert found["Unit.PartOf"] == ["gleitzeit.target gleitzeit.service"]
    assert found["Unit.ReloadPropagatedFrom"] == ["gleitzeit.service"]
    assert found["Install.WantedBy"] == ["gleitzeit.target"]
    assert "gleitzeit.service" in found["Unit.After"][0].split()


def test_what_keeps_state_has_a_directory_of_its_own_that_nobody_else_reads() -> None:
    keeping = {name: found for name in DAEMONS if "Service.StateDirectory" in (found := unit(name))}
    assert {name: found["Service.StateDirectory"] for name, found in keeping.items()} == {
        "gleitzeit-persistence.service": ["gleitzeit/persistence"],
        "gleitzeit-provider@.service": ["gleitzeit/provider/%i"],
    }
    assert all(found["Service.StateDirectoryMode"] == ["0700"] for found in keeping.values())


def test_the_token_is_where_the_units_look_for_it_and_its_modes_are_kept() -> None:
    lines = [line.split() for line in (UNITS / "gleitzeit.tmpfiles").read_text().splitlines()]
    modes = {line[1]: line[2:5] for line in lines if not line[0].startswith("#")}
    assert modes[str(CREDENTIAL)] == ["0600", "root", "root"]
    assert modes[str(KEYS_FILE)] == modes[str(ISSUED_FILE)] == ["0600", "root", "root"]
    assert modes[str(TOKEN_FILE)] == ["0640", "root", GROUP]
    for name in DAEMONS:
        keys = [f"keys:{KEYS_FILE.name}"] if name == "gleitzeit-hub.service" else []
        secrets = ["secrets:gleitzeit.secrets.%i"] if name == "gleitzeit-provider@.service" else []
        own = "gleitzeit-hub" if name == "gleitzeit-hub.service" else "gleitzeit"
        shown = [f"{each}:{own}.{each}" for each in ("certificate", "key", "ca")]
        if own == "gleitzeit":
            shown.pop()  # everybody may read that, and it is where join puts it
        wanted = [*keys, f"token:{CREDENTIAL.name}", *shown, *secrets]
        assert unit(name)["Service.LoadCredential"] == wanted


def test_what_users_have_written_sees_neither_the_ledger_nor_the_tokens_of_others() -> None:
    hidden = unit("gleitzeit-provider@.service")["Service.InaccessiblePaths"][0].split()
    ledger = unit("gleitzeit-persistence.service")["Service.StateDirectory"][0]
    assert hidden == [f"-/var/lib/{ledger}", f"-{TOKEN_FILE}", f"-{CREDENTIAL.parent}"]


def test_the_users_of_the_units_are_made() -> None:
    lines = [one for one in (UNITS / "gleitzeit.sysusers").read_text().splitlines() if one[0] != "#"]
    users = {unit(name)["Service.User"][0] for name in DAEMONS}
    assert sorted(line.split()[:2] for line in lines) == sorted(["u", user] for user in users)


def test_what_users_have_written_runs_as_nobody_who_has_the_ledger_or_a_token_for_people() -> None:
    theirs, ours = unit("gleitzeit-provider@.service"), unit("gleitzeit-persistence.service")
    assert theirs["Service.User"] == theirs["Service.Group"] == ["gleitzeit-provider"]
    assert ours["Service.User"] == ours["Service.Group"] == [GROUP]
    assert "Service.SupplementaryGroups" not in theirs


def seconds(values: list[str]) -> float:
    """Of ``10s``, ``500ms``."""
    (value,) = values
    return float(value.removesuffix("ms")) / 1000 if value.endswith("ms") else float(value.removesuffix("s"))


# --- what systemd says ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory with the units and a gleitzeitd."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    root = tmp_path_factory.mktemp("root")
    for folder in ("usr/lib/systemd/system", "usr/bin", "bin"):
        (root / folder).mkdir(parents=True)
    for file in UNITS.glob("*.*"):
        if file.suffix in (".service", ".socket", ".target", ".slice"):
            shutil.copy(file, root / "usr/lib/systemd/system")
    for name in ("usr/bin/gleitzeitd", "bin/sh", "bin/true"):
        (root / name).write_text("#!/bin/true\n")
        (root / name).chmod(0o755)
    return root


def test_systemd_finds_nothing_to_complain_about(installed: Path) -> None:
    names = [f.name.replace("@.", "@x.") for f in sorted((installed / "usr/lib/systemd/system").iterdir())]
    said = subprocess.run(
        ["systemd-analyze", "verify", f"--root={installed}", "--man=no", "--recursive-errors=no", *names],
        capture_output=True,
        text=True,
    )
    ours = [line for line in said.stderr.splitlines() if "gleitzeit" in line]
    assert not ours, said.stderr


@pytest.mark.parametrize("name", [*DAEMONS, *sorted(OTHERS)])
def test_the_exposure_of_a_unit_stays_low(name: str, installed: Path) -> None:
    most = EXPOSURE_OF_USER_CODE if name in RUNS_USER_CODE else EXPOSURE
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={int(most * 10)}", "--no-pager"]
        + [f"--root={installed}", name.replace("@.", "@x.")],
        capture_output=True,
        text=True,
    )
    overall = re.search(r"Overall exposure level for .*: ([\d.]+)", said.stdout)
    assert said.returncode == 0 and overall is not None, said.stdout + said.stderr
    assert float(overall[1]) <= most
