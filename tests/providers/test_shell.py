from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, TaskTimeout
from gleitzeitd.providers import MethodCall
from gleitzeitd.providers.shell import ShellProvider, ShellSettings
from tests.providers.contract import is_alive, work_left


async def shells(**settings: Any):
    provider = ShellProvider(ShellSettings(**{"capacity": 2, **settings}))
    await provider.start()
    printed: list[tuple[str, str]] = []

    async def run(script: str = "", *, limit: float | None = None, **parameters: Any) -> Any:
        if script:
            parameters["script"] = script
        call = MethodCall(
            method="shell/execute",
            parameters=parameters,
            timeout=limit,
            on_output=lambda stream, text: printed.append((stream, text)),
        )
        return await provider.call(call)

    run.printed = printed  # type: ignore[attr-defined]
    yield run
    await provider.stop()


run = pytest.fixture(shells)


@pytest.fixture
async def writing(tmp_path: Path):
    async for shell in shells(writable=[str(tmp_path)]):
        yield shell


@pytest.fixture
async def impatient():
    async for shell in shells(kill_after_seconds=0.2):
        yield shell


async def test_a_command_gets_its_arguments_without_any_shell(run) -> None:
    done = await run(argv=["printf", "%s|", "a b", "$HOME", "*"])
    assert done["stdout"] == "a b|$HOME|*|"
    assert (done["exit_code"], done["stderr"]) == (0, "")


async def test_a_script_stops_at_the_first_command_that_fails(run) -> None:
    with pytest.raises(ExecutionFailed, match=r"^exit code 1: before$"):
        await run("echo before >&2; false; echo after >&2")


async def test_stdin_environment_and_directory_reach_the_command(run, tmp_path: Path) -> None:
    done = await run("cat; echo $A; pwd", stdin="héllo " * 50_000, env={"A": "b"}, cwd=str(tmp_path))
    assert done["stdout"].endswith(f"héllo b\n{tmp_path}\n")


async def test_without_stdin_there_is_nothing_to_read(run) -> None:
    assert (await run(argv=["cat"]))["stdout"] == ""


async def test_an_exit_code_is_a_result_if_it_is_not_checked(run) -> None:
    assert (await run("exit 3", check=False))["exit_code"] == 3
    assert (await run("kill -9 $$", check=False))["exit_code"] == -9
    with pytest.raises(ExecutionFailed, match="signal SIGKILL"):
        await run("kill -9 $$")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "either argv or script"),
        ({"argv": ["true"], "script": "true"}, "either argv or script"),
        ({"argv": ["/nonexistent/command"]}, "/nonexistent/command: No such file"),
        ({"argv": ["true"], "cwd": "/nonexistent"}, "/nonexistent: No such file"),
        ({"argv": ["a\0b"]}, "null"),
        ({"argv": ["true"], "timeout": 0.5}, "at least 1"),
    ],
)
async def test_parameters_that_cannot_work_are_refused(run, parameters, message) -> None:
    with pytest.raises(ParameterInvalid, match=message):
        await run(**parameters)


async def test_output_is_passed_on_as_it_comes(run) -> None:
    await run("echo out; echo err >&2")
    assert sorted(run.printed) == [("stderr", "err\n"), ("stdout", "out\n")]


async def test_whoever_is_asked_to_end_has_time_to_do_so(writing, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"trap 'echo tidy > {mark}; exit 0' TERM; echo begun; sleep 60 & wait"
    with pytest.raises(TaskTimeout):
        await writing(script, limit=0.3)
    assert mark.read_text() == "tidy\n"
    assert work_left() == []


async def test_whoever_does_not_end_when_asked_is_killed(impatient) -> None:
    with pytest.raises(TaskTimeout):
        await impatient(
            "trap '' TERM; (trap '' TERM; sleep 60) & echo $!; while :; do sleep 1; done", limit=0.2
        )
    assert not is_alive(int(impatient.printed[0][1]))
    assert work_left() == []


async def test_what_a_command_leaves_in_the_background_ends_with_it(run) -> None:
    done = await run("setsid sleep 60 >/dev/null 2>&1 & echo $!")
    assert not is_alive(int(done["stdout"]))
    assert work_left() == []


async def test_secrets_of_the_daemon_are_not_in_the_commands_environment(monkeypatch) -> None:
    for name in ("GLEITZEIT_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "s3cret")
    async for shell in shells():
        assert "s3cret" not in (await shell(argv=["env"]))["stdout"]


async def test_signals_are_as_a_fresh_shell_has_them(run) -> None:
    done = await run(argv=["sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status"])
    assert [int(line.split()[1], 16) for line in done["stdout"].splitlines()] == [0, 0]


async def test_calls_run_at_the_same_time(writing, tmp_path: Path) -> None:
    # Each waits for the other to write.
    async with asyncio.timeout(10):
        await asyncio.gather(
            writing(f"mkfifo {tmp_path}/a; echo x > {tmp_path}/a"),
            writing(f"until [ -p {tmp_path}/a ]; do sleep 0.01; done; cat {tmp_path}/a"),
        )
