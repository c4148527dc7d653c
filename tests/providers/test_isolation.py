from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gleitzeitd.errors import ConfigError, ResourcesExceeded
from gleitzeitd.model.names import Role
from gleitzeitd.providers import confinement, isolation
from gleitzeitd.providers.isolation import Isolation, Quarters, Reach, clean_environment, readable
from gleitzeitd.providers.python import PythonProvider, PythonSettings
from gleitzeitd.providers.resources import Limits, Maxima, Shares
from gleitzeitd.providers.secrets import SecretSettings
from gleitzeitd.runtime.assembly import provider
from gleitzeitd.runtime.identity import make_identity
from gleitzeitd.runtime.security import SecuritySettings
from tests.providers.contract import call_of

ON = Reach(isolation=Isolation.BEST_EFFORT)


@pytest.fixture(autouse=True)
def _memory_stays_open():
    """Debuggers, and tests of the worker, look into this process."""
    yield
    confinement.show_memory()


def quarters(tmp_path: Path, reach: Reach = ON, **environment: str) -> Quarters:
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    return Quarters(reach, {"STATE_DIRECTORY": str(state), "HOME": str(tmp_path), **environment})


# --- what is readable -------------------------------------------------------------------------------


def test_everything_is_readable_but_what_is_hidden_and_what_links_lead_to(tmp_path: Path) -> None:
    for name in ("open", "hidden", "beside/hidden", "beside/open"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("hidden")
    found = readable([str(tmp_path / "link"), str(tmp_path / "beside/hidden"), "/nonexistent/file"])
    below = {Path(path).relative_to(tmp_path).as_posix() for path in found if path.startswith(str(tmp_path))}
    assert below == {"open", "beside/open"}
    assert "/proc" in found
    assert not {str(parent) for parent in (tmp_path / "x").parents} & set(found)


def test_what_never_is_readable_is_in_no_plan(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    for folder in (credentials, tmp_path / ".ssh", tmp_path / "private", tmp_path / "public"):
        folder.mkdir()
    reach = Reach(isolation=Isolation.BEST_EFFORT, hidden=(str(tmp_path / "private"),), writable=("kept",))
    made = quarters(tmp_path, reach, CREDENTIALS_DIRECTORY=str(credentials))
    made.open()
    plan = made.plan()
    state = tmp_path / "state"
    assert str(tmp_path / "public") in plan["readable"]
    assert not {str(credentials), str(tmp_path / ".ssh"), str(tmp_path / "private"), str(state)} & set(
        plan["readable"]
    )
    assert plan["writable"] == [plan["own"], str(state / "kept")]
    assert (state / "kept").is_dir()
    made.leave(plan)
    made.close()
    assert [each.name for each in state.iterdir()] == ["kept"]


def test_files_that_our_variables_name_are_in_no_plan(tmp_path: Path) -> None:
    secrets, public = tmp_path / "secrets.env", tmp_path / "public"
    for file in (secrets, public):
        file.touch()
    made = quarters(
        tmp_path, GLEITZEIT_SECRETS_FILE=str(secrets), GLEITZEIT_KEYS_FILE="", OTHER_FILE=str(public)
    )
    made.open()
    plan = made.plan()
    made.close()
    assert str(secrets) not in plan["readable"]
    assert str(public) in plan["readable"]


def test_files_that_the_settings_of_a_daemon_name_are_in_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "_KEPT", set())
    secrets, token = tmp_path / "secrets.env", tmp_path / "token"
    secrets.touch(mode=0o600)
    token.touch(mode=0o600)
    assembly = provider("echo")
    settings = {name: cls() for name, cls in assembly.sections.items()}
    settings |= {
        "secrets": SecretSettings(file=str(secrets)),
        "security": SecuritySettings(token_file=str(token)),
    }
    assembly.build(settings, make_identity(Role.PROVIDER))
    made = quarters(tmp_path)
    made.open()
    plan = made.plan()
    made.close()
    assert not {str(secrets), str(token)} & set(plan["readable"])


def test_workers_do_not_see_each_others_directories(tmp_path: Path) -> None:
    made = quarters(tmp_path)
    made.open()
    first, second = made.plan(), made.plan()
    assert first["own"] != second["own"]
    assert not [path for path in second["readable"] if first["own"].startswith(path)]
    made.close()


def test_what_a_killed_provider_has_left_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    made = quarters(tmp_path)
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        (tmp_path / "state" / f"{isolation.TASKS}-{pid}-x" / "1").mkdir(parents=True)
    made.open()
    left = {path.name.split("-")[2] for path in (tmp_path / "state").iterdir()}
    assert left == {str(os.getppid()), str(os.getpid())}
    made.close()


def test_the_environment_of_work_is_a_list_of_what_is_passed_on(tmp_path: Path) -> None:
    reach = Reach(isolation=Isolation.BEST_EFFORT, environment=("EXTRA",))
    made = quarters(
        tmp_path, reach, PATH="/bin", LC_ALL="C", EXTRA="1", DATABASE_PASSWORD="x", GLEITZEIT_TOKEN="x"
    )
    made.open()
    plan = made.plan()
    own = plan["own"]
    expected = {"PATH": "/bin", "LC_ALL": "C", "EXTRA": "1", "HOME": own, "TMPDIR": own}
    assert made.environment(plan) == expected
    made.close()
    assert clean_environment({"A": "1", "NOTIFY_SOCKET": "x", "GLEITZEIT_TOKEN": "x"}) == {"A": "1"}


def test_without_isolation_there_is_no_plan(tmp_path: Path) -> None:
    made = quarters(tmp_path, Reach())
    made.open()
    assert made.plan() == {}
    assert list((tmp_path / "state").iterdir()) == []


# --- what the kernel lacks --------------------------------------------------------------------------


def test_what_is_lacking_is_told_in_words() -> None:
    assert confinement.lacking(7, filters=True) == []
    assert [each.partition(":")[0] for each in confinement.lacking(2, filters=True)] == ["signals"]
    assert [each.partition(":")[0] for each in confinement.lacking(0, filters=False)] == [
        "files",
        "network",
        "signals",
    ]


async def test_isolation_that_is_required_and_impossible_does_not_start(monkeypatch) -> None:
    monkeypatch.setattr(confinement, "landlock_version", lambda: 0)
    provider = PythonProvider(PythonSettings(isolation=Isolation.REQUIRED))
    with pytest.raises(ConfigError, match=r"isolation: required, and this host cannot do it: files: no"):
        await provider.start()
    await provider.stop()


def test_what_is_lacking_is_said_once(tmp_path: Path, caplog) -> None:
    made = quarters(tmp_path)
    with caplog.at_level(logging.WARNING):
        made.say([])
        assert caplog.records == []
        made.say(["files: no"])
        made.say(["files: no"])
    (record,) = caplog.records
    assert record.lacking == "files: no"  # type: ignore[attr-defined]


def confined(code: str, *, network: bool = False, landlock: int) -> Any:
    """What ``code`` leaves in ``result``, in a process with the filter for a kernel with this Landlock."""
    script = f"""
import ctypes, json, os, signal, socket, sys
from gleitzeitd.providers import confinement
confinement._libc.prctl(38, 1, 0, 0, 0)
confinement.filter_system_calls(network={network}, provider=os.getppid(), landlock={landlock})
{code}
print(json.dumps(result))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NAMED = """
def tried(attempt, *arguments):
    try:
        attempt(*arguments)
    except OSError as error:
        return type(error).__name__
    return "done"
"""


def test_no_privilege_is_left_and_no_program_gets_one_back() -> None:
    code = """
import subprocess
confinement.give_up_privileges()
status = [open("/proc/self/status").read()]
status.append(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout)
result = [line.split()[1] for each in status for line in each.splitlines() if line.startswith(("CapPrm", "CapEff"))]
"""
    assert [int(each, 16) for each in confined(code, landlock=7)] == [0] * 4


def test_without_landlock_there_is_still_no_network_and_no_end_of_the_provider() -> None:
    code = f"""{NAMED}
result = [
    tried(socket.socket),
    tried(socket.socketpair),
    tried(os.kill, os.getppid(), 0),
    tried(os.kill, -1, 0),
    tried(os.kill, os.getpid(), 0),
    tried(signal.pidfd_send_signal, os.pidfd_open(os.getpid()), 0),
    tried(os.truncate, "/nonexistent", 0),
]
"""
    assert confined(code, landlock=0) == [
        "PermissionError",
        "done",
        *["PermissionError"] * 2,
        "done",
        *["PermissionError"] * 2,
    ]
    assert confined(code, landlock=6)[2:] == ["done", "done", "done", "done", "FileNotFoundError"]


def test_programs_and_threads_start_under_the_filter() -> None:
    code = """
import subprocess, threading
ran = []
thread = threading.Thread(target=ran.append, args=(1,))
thread.start(); thread.join()
result = [ran, subprocess.run(["sh", "-c", "ulimit -n 50; echo $(ulimit -n)"], capture_output=True, text=True).stdout]
"""
    assert confined(code, landlock=7) == [[1], "50\n"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_a_filter_is_whole_on_every_machine(machine: str) -> None:
    for network in (True, False):
        for landlock in (0, 7):
            program = confinement._program(machine, network=network, provider=4711, landlock=landlock)
            assert 4 < len(program) < 4096
            for at, (operation, yes, no, _) in enumerate(program):
                assert operation in (0x20, 0x15, 0x35, 0x45, 0x54, 0x06)
                assert at + max(yes, no) < len(program), "every jump ends inside"
            assert program[-1][0] == 0x06


# --- directories ------------------------------------------------------------------------------------


def test_a_directory_is_emptied_whatever_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("stays")
    deep = folder
    for number in range(60):
        deep = deep / "d" / str(number)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    (folder / ".lifted-1").mkdir()
    (folder / ".lifted-1" / "file").write_text("x")
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "fifo")
    (folder / "closed" / "x").mkdir(parents=True)
    (folder / "closed").chmod(0)
    confinement.empty(str(folder))
    assert list(folder.iterdir()) == []
    assert (outside / "file").read_text() == "stays"


# --- limits -----------------------------------------------------------------------------------------


def test_what_a_task_says_nothing_about_is_the_providers_and_less_than_its_maximum() -> None:
    shares = Shares(limits=Limits(memory=2**30, processes=100), maxima=Maxima(memory=2**29, output=0))
    assert shares.of(None)["memory"] == 2**29
    assert shares.of({"processes": 200})["processes"] == 200
    assert "cpu_seconds" not in shares.of({})
    assert shares.of({"cpu_seconds": 0.5})["cpu_seconds"] == 0.5
    with pytest.raises(ResourcesExceeded, match=r"resources.memory = 1 GiB.*at most 512 MiB"):
        shares.of({"memory": 2**30})


async def test_a_call_that_asks_for_too_much_begins_nothing() -> None:
    provider = PythonProvider(PythonSettings(capacity=1, warm=0, maxima=Maxima(processes=10)))
    await provider.start()
    with pytest.raises(ResourcesExceeded, match=r"maxima.processes"):
        await provider.call(call_of(("python/execute", {"code": "pass"}), resources={"processes": 11}))
    await provider.stop()
