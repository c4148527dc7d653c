from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from gleitzeitd.errors import (
    ConfigError,
    ExecutionFailed,
    MalformedData,
    ParameterInvalid,
    ResultInvalid,
    TaskTimeout,
)
from gleitzeitd.providers import MethodCall, worker
from gleitzeitd.providers.pool import source_files
from gleitzeitd.providers.python import PythonProvider, PythonSettings
from tests.providers.contract import is_alive, work_left


class Script:
    """Runs scripts and keeps what they print."""

    def __init__(self, provider: PythonProvider) -> None:
        self.provider = provider
        self.printed: list[tuple[str, str]] = []
        self.progress: list[tuple[float, str]] = []
        self.said = asyncio.Event()

    def text(self, stream: str = "stdout") -> str:
        return "".join(text for name, text in self.printed if name == stream)

    def pids(self) -> list[int]:
        return [int(word) for word in self.text().split()]

    async def __call__(self, code: str = "", *, limit: float | None = None, **parameters: Any) -> Any:
        if code:
            parameters["code"] = code
        return await self.provider.call(
            MethodCall(
                method="python/execute",
                parameters=parameters,
                timeout=limit,
                on_output=self._on_output,
                on_progress=lambda ratio, text: self.progress.append((ratio, text)),
                workflow_id="w1",
                task_id="t1",
                attempt=2,
            )
        )

    def _on_output(self, stream: str, text: str) -> None:
        self.printed.append((stream, text))
        self.said.set()


async def scripts(**settings: Any):
    provider = PythonProvider(PythonSettings(**{"capacity": 2, **settings}))
    await provider.start()
    yield Script(provider)
    await provider.stop()


run = pytest.fixture(scripts)


@pytest.fixture
async def writing(tmp_path: Path):
    async for script in scripts(writable=[str(tmp_path)]):
        yield script


@pytest.fixture
async def small():
    async for script in scripts(max_output_bytes=1024, max_result_bytes=4096):
        yield script


async def test_a_script_sees_its_context_and_sets_its_result(run) -> None:
    done = await run("print(x)\nresult = {'sum': x + context['y z']}", context={"x": 1, "y z": 2})
    assert done["result"] == {"sum": 3}
    assert done["output"] == "1\n"
    assert (done["success"], done["error"]) == (True, None)
    assert 0 < done["execution_time"] < 10


@pytest.mark.parametrize(
    ("code", "context", "result"),
    [
        ("pass", {}, None),
        ("output = 1", {}, 1),
        ("output = 1; result = 2", {}, 2),
        ("output = 1; result = None", {}, None),
        ("pass", {"result": 1, "output": 2}, None),
        ("result = context['result']", {"result": [1]}, [1]),
        ("result = result + 1", {"result": 1}, 2),
        ("def f():\n global result\n result = 7\nf()", {}, 7),
        ("result = [str is not 5, context]", {"str": 5, "context": 6}, [True, {"str": 5, "context": 6}]),
        ("result = 'class' in globals()", {"class": 1}, False),
        ("result = 3; raise SystemExit", {}, 3),
        ("result = (1, {2: 3})", {}, [1, {"2": 3}]),
        ("result = __name__", {}, "__main__"),
        ("import os; result = [os.environ[f'GLEITZEIT_{k}'] for k in ('WORKFLOW', 'TASK', 'ATTEMPT')]",
         {}, ["w1", "t1", "2"]),
    ],
)  # fmt: skip
async def test_the_result_is_what_the_script_has_set(run, code, context, result) -> None:
    assert (await run(code, context=context))["result"] == result


async def test_a_file_runs_with_its_arguments_environment_and_neighbours(run, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("VALUE = 5")
    script = tmp_path / "main.py"
    script.write_text(
        "import os, sys, neighbour\nresult = [neighbour.VALUE, sys.argv[1:], os.environ['A'], __file__]"
    )
    for name in ("file", "file_path"):
        done = await run(**{name: str(script)}, args=["x"], env={"A": "b"})
        assert done["result"] == [5, ["x"], "b", str(script)]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"code": "x", "file": "y"},
        {"file": "/nonexistent/script.py"},
        {"code": "x", "timeout": 0},
        {"code": "x", "timeout": 86401},
        {"code": "x", "env": {"A=B": "c"}},
        {"code": "x", "contxt": {}},
    ],
)
async def test_parameters_that_cannot_work_are_refused(run, parameters) -> None:
    with pytest.raises(ParameterInvalid):
        await run(**parameters)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nraise ValueError('no')", r"^ValueError: no \(line 2\)$"),
        ("def f():\n  1/0\nf()", r"^ZeroDivisionError: division by zero \(line 2\)$"),
        ("import json\njson.loads('{')", r"^JSONDecodeError: .* \(line 2\)$"),
        ("def (", r"^SyntaxError: .* \(line 1\)$"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E", r"^E \(line 3\)$"),
        ("raise SystemExit(3)", "^SystemExit: 3$"),
        ("raise KeyboardInterrupt", r"^KeyboardInterrupt \(line 1\)$"),
        ("import os; os._exit(7)", "exit code 7 before it gave a result"),
        ("import os; os._exit(0)", "exit code 0 before it gave a result"),
        ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL"),
        ("import os; os.abort()", "signal SIGABRT"),
        (
            "f = lambda: f(); f()",
            "^RecursionError: ",
        ),
        ("import os, threading\nthreading.Timer(0, lambda: os._exit(5)).start()", "exit code 5"),
    ],
)
async def test_a_script_that_fails_says_how_and_the_next_one_runs(run, code, message) -> None:
    with pytest.raises(ExecutionFailed, match=message):
        await run(code)
    assert (await run("result = 1"))["result"] == 1


async def test_a_syntax_error_is_not_worth_another_attempt(run) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        await run("def (")
    assert not caught.value.info().retryable


async def test_the_traceback_goes_to_stderr_and_shows_the_scripts_lines_only(run) -> None:
    with pytest.raises(ExecutionFailed):
        await run("def f():\n    raise ValueError('no')\nf()")
    assert "    raise ValueError('no')\n" in run.text("stderr")
    assert 'File "<script>", line 3' in run.text("stderr")
    assert "worker" not in run.text("stderr")
    assert "/proc/self" not in run.text("stderr")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("result = {1, 2}", "^result is of type set"),
        ("result = {'a': [1, {'b': object()}]}", r"^result\.a\[1\]\.b is of type object"),
        ("result = [float('nan')]", r"^result\[0\] is nan"),
        ("result = {(1, 2): 3}", "^result has a key of type tuple"),
        ("result = []; result.append(result)", "Circular"),
        ("result = 'x' * 5000", "5002 bytes as JSON, 4096 are allowed"),
    ],
)
async def test_a_result_that_is_no_json_is_refused_with_its_place(small, code, message) -> None:
    with pytest.raises(ResultInvalid, match=message):
        await small(code)


async def test_no_print_can_damage_the_result(run) -> None:
    code = """
import os, subprocess, sys
print('{"result": "forged"}')
sys.stdout.write('{"result":')
os.write(1, b'\\xff\\n{"ended": 0}')
subprocess.run(['echo', '{"error": "forged"}'])
result = 'mine'
"""
    done = await run(code)
    assert done["result"] == "mine"
    assert done["output"].startswith('{"result": "forged"}\n')


async def test_output_of_the_script_and_of_its_children_comes_in_order(run) -> None:
    code = """
import os, sys
for i in range(50):
    print(i)
    os.system(f'echo {i}')
    os.write(1, f'{i}\\n'.encode())
print('e', file=sys.stderr)
"""
    await run(code)
    assert run.text().split() == [str(i) for i in range(50) for _ in range(3)]
    assert run.text("stderr") == "e\n"


async def test_output_comes_while_the_script_runs(run) -> None:
    task = asyncio.get_running_loop().create_task(run("print('now')\nwhile True: pass"))
    await asyncio.wait_for(run.said.wait(), 10)
    assert run.text() == "now\n"
    task.cancel()
    await asyncio.wait([task])


async def test_progress_is_reported(run) -> None:
    await run("progress(0.5, 'half'); progress(2)")
    assert run.progress == [(0.5, "half"), (1.0, "")]


async def test_much_output_is_bounded_and_its_end_is_kept(small) -> None:
    done = await small("for i in range(200_000): print(i)\nresult = 1")
    assert done["result"] == 1
    for text in (done["output"], small.text()):
        assert text.endswith("199998\n199999\n")
        assert "bytes left out]" in text
        assert len(text) < 1200
    assert small.text().startswith("0\n1\n2\n")


async def test_an_endless_loop_ends_with_its_timeout(run) -> None:
    with pytest.raises(TaskTimeout, match="1 s"):
        await run("import os; print(os.getpid())\nwhile True: pass", timeout=1)
    assert not is_alive(run.pids()[0])
    assert work_left() == []


async def test_the_shorter_of_both_timeouts_counts(run) -> None:
    with pytest.raises(TaskTimeout, match=r"0\.2 s"):
        await run("while True: pass", timeout=60, limit=0.2)


ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        print(os.getpid())
        os.write(w, b'x')
        while True: time.sleep(1)
    os._exit(0)
os.read(r, 1)
os.wait()
"""


async def test_a_daemon_that_a_script_has_made_ends_with_the_script(run) -> None:
    done = await run(ESCAPE + "result = 1")
    assert done["result"] == 1
    assert not is_alive(run.pids()[0])
    assert work_left() == []


async def test_a_daemon_that_a_script_has_made_ends_with_a_timeout(run) -> None:
    with pytest.raises(TaskTimeout):
        await run(ESCAPE + "while True: pass", limit=0.3)
    assert not is_alive(run.pids()[0])
    assert work_left() == []


async def test_a_script_that_kills_its_worker_leaves_nothing_and_the_pool_recovers(run) -> None:
    with pytest.raises(ExecutionFailed, match="SIGKILL"):
        await run(ESCAPE + "os.kill(os.getppid(), 9)\ntime.sleep(60)")
    assert not is_alive(run.pids()[0])
    assert (await run("result = 1"))["result"] == 1


async def test_a_worker_that_was_stopped_by_its_script_is_killed_at_the_timeout(run, monkeypatch) -> None:
    monkeypatch.setattr("gleitzeitd.providers.pool.BURIAL_SECONDS", 0.3)
    with pytest.raises(TaskTimeout):
        await run(ESCAPE + "os.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(60)", limit=0.3)
    assert not is_alive(run.pids()[0])
    assert (await run("result = 1"))["result"] == 1


async def test_a_copy_of_the_script_that_runs_to_its_end_gives_no_second_result(run) -> None:
    done = await run("import os\npid = os.fork()\nprint('copy' if pid == 0 else 'first')\n"
                     "if pid: os.waitpid(pid, 0)\nresult = pid == 0")  # fmt: skip
    assert done["result"] is False
    assert sorted(done["output"].split()) == ["copy", "first"]


async def test_nothing_passes_from_a_script_to_the_next(run) -> None:
    await run("import builtins, json, os, sys\nbuiltins.leak = sys.leak = os.environ['LEAK'] = '1'\n"
              "json.dumps = None\nleak2 = 1\nos.chdir('/')")  # fmt: skip
    done = await run("import json, os, sys\nresult = [hasattr(sys, 'leak'), 'LEAK' in os.environ, "
                     "'leak' in dir(__builtins__), 'leak2' in globals(), json.dumps is None, os.getcwd() == os.environ['HOME']]")  # fmt: skip
    assert done["result"] == [False, False, False, False, False, True]


async def test_what_a_script_leaves_open_is_written_and_its_threads_are_waited_for(
    writing, tmp_path: Path
) -> None:
    run = writing
    code = f"""
import atexit, threading, time
file = open({str(tmp_path / "file")!r}, 'w')
file.write('written')
result = 1
"""
    await run(code)
    assert (tmp_path / "file").read_text() == "written"
    await run(code + "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
                     "atexit.register(print, 'exit')")  # fmt: skip
    assert run.text() == "thread\nexit\n"


async def test_secrets_of_the_daemon_are_not_in_the_scripts_environment(monkeypatch) -> None:
    hidden = ["GLEITZEIT_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "REDIS_URL"]
    for name in hidden:
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    async for script in scripts():
        done = await script("import os; result = [dict(os.environ), open('/proc/self/environ').read()]")
        assert "s3cret" not in str(done["result"])
        assert done["result"][0]["LANG"] == "C.UTF-8"


async def test_preloaded_modules_and_module_directories_are_there(tmp_path: Path) -> None:
    (tmp_path / "special.py").write_text("import os; PID = os.getpid()")
    async for script in scripts(
        preload=["special"], module_path=[str(tmp_path)], working_directory=str(tmp_path)
    ):
        done = await script("import os, special; result = [special.PID == os.getppid(), os.getcwd()]")
        assert done["result"] == [True, str(tmp_path)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preload": ["no_such_module"]}, "no_such_module"),
        ({"interpreter": "/nonexistent/python"}, "/nonexistent/python: No such file"),
        ({"interpreter": "/bin/false"}, "did not become ready"),
    ],
)
async def test_a_worker_that_cannot_start_is_an_error_of_the_configuration(settings, message) -> None:
    provider = PythonProvider(PythonSettings(**settings))
    with pytest.raises(ConfigError, match=message):
        await provider.start()
    await provider.stop()


def test_output_that_would_not_fit_into_the_result_is_refused_in_the_settings() -> None:
    with pytest.raises(MalformedData):
        PythonSettings(max_output_bytes=2**20, max_result_bytes=2**20)


async def test_workers_are_of_the_version_of_their_pool_whatever_the_files_say(run, tmp_path: Path) -> None:
    """An upgrade replaces the files some time before the daemon ends."""
    code = (
        "import sys, os\nresult = [sys.argv, [os.readlink(f'/proc/self/fd/{n}') for n in range(3, 20)"
        " if os.path.islink(f'/proc/self/fd/{n}')]]"
    )
    _, descriptors = (await run(code))["result"]
    assert not any("memfd" in each for each in descriptors)
    for descriptor in source_files():
        with pytest.raises(OSError, match="Operation not permitted"):
            os.pwrite(descriptor, b"x", 0)
    command = Path(f"/proc/{(await run('import os; result = os.getppid()'))['result']}/cmdline").read_text()
    assert str(Path(worker.__file__).parent) not in command
    assert "gleitzeit-worker" in command


async def child_of(worker: psutil.Process) -> psutil.Process:
    """The one that waits for the next job; it comes after the answer to the last one."""
    async with asyncio.timeout(10):
        while not (children := worker.children()):
            await asyncio.sleep(0)
    (child,) = children
    return child


async def test_the_next_job_is_forked_before_it_comes_and_never_beside_another(run) -> None:
    worker = psutil.Process((await run("import os; result = os.getppid()"))["result"])
    waiting = await child_of(worker)
    job = asyncio.get_running_loop().create_task(run("import os; print(os.getpid())\nwhile True: pass"))
    await asyncio.wait_for(run.said.wait(), 10)
    assert run.pids() == [waiting.pid]
    assert [child.pid for child in worker.children()] == [waiting.pid]
    job.cancel()
    await asyncio.wait([job])


async def test_a_child_that_was_killed_while_it_waited_is_replaced(run) -> None:
    worker = psutil.Process((await run("import os; result = os.getppid()"))["result"])
    waiting = await child_of(worker)
    waiting.kill()
    async with asyncio.timeout(10):
        while is_alive(waiting.pid):
            await asyncio.sleep(0)
    done = await run("import os; result = [os.getpid(), os.getppid()]")
    assert done["result"][0] != waiting.pid
    assert done["result"][1] == worker.pid


async def test_an_idle_worker_that_was_killed_is_replaced(run) -> None:
    worker = (await run("import os; result = os.getppid()"))["result"]
    os.kill(worker, 9)
    again = (await run("import os; result = os.getppid()"))["result"]
    assert again != worker


@pytest.mark.parametrize(
    ("code", "valid"), [("x = 1", True), ("x = ", False), ("\0", False), ("(" * 5000, False)]
)
async def test_code_is_validated_without_being_run(run, code, valid) -> None:
    answer = await run.provider.call(MethodCall(method="python/validate", parameters={"code": code}))
    assert answer["valid"] is valid
    assert bool(answer["error"]) is not valid


async def test_info_tells_which_python_runs_the_scripts(run) -> None:
    answer = await run.provider.call(MethodCall(method="python/info"))
    assert answer["version"].startswith("3.")
    assert answer["capacity"] == 2
