"""``gleitzeitd`` as an operator and as systemd see it."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gleitzeitd import __version__
from gleitzeitd.__main__ import DAMAGED, run
from gleitzeitd.plan import BUILTIN as NAMED
from gleitzeitd.providers import BUILTIN

ROOT = Path(__file__).parent.parent.parent


def said(capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> tuple[int, str, str]:
    try:
        code = run(arguments, environment)
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["queue-manger"], "there is no role 'queue-manger', did you mean queue-manager?"),
        (["x"], "expected one of hub, persistence"),
        (["provider"], "which provider? echo, python, shell, http"),
        (["provider", "pyton"], "no provider is called 'pyton', did you mean python?"),
        (["provider", "--module", "no.such.module:Class"], "there is no module no"),
        (["hub", "echo"], "echo: only the roles execution-engine and provider have a name"),
        (["hub", "--hub", "http://h"], "the role hub connects to no other hub"),
        (["hub", "--effective"], "--effective goes with --print-config"),
        (
            ["queue-manager", "--hub", "nowhere"],
            "--hub: expected addresses like http://hub:8000, found 'nowhere'",
        ),
        (["queue-manager", "--config", "/no/such.toml"], "/no/such.toml: does not exist"),
        (["hub", "--log-level", "loud"], "invalid choice: 'loud'"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_would_be_right(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, *arguments, "--check-config")
    assert (code, out) == (2, "")
    assert why in err
    assert "Traceback" not in err


def test_all_that_is_wrong_with_a_file_is_said_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "queue-manager.toml"
    file.write_text('[queue_manager]\nlease_per_event = 3\n[conection]\n[log]\nlevel = "loud"\n')
    code, _, err = said(capsys, "queue-manager", "--check-config", "--config", str(file))
    assert code == 2
    assert f"{file}:2: queue_manager.lease_per_event: unknown key, did you mean leases_per_event?" in err
    assert f"{file}:3: [conection]: unknown section, did you mean connection?" in err
    assert f"{file}:5: log.level" in err


def test_sections_of_other_roles_may_stand_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gleitzeit.toml"
    file.write_text("[hub]\nport = 1\n[sqlite]\ncheck = false\n[provider]\ncapacity = 1\n")
    assert said(capsys, "queue-manager", "--check-config", "--config", str(file))[:2] == (0, "ok\n")
    assert said(capsys, "all", "--check-config", "--config", str(file))[:2] == (0, "ok\n")


def test_a_hub_that_asks_for_no_token_is_for_its_own_host_only(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "hub", "--insecure", "--check-config", GLEITZEIT_HUB_HOST="0.0.0.0")
    assert code == 2
    assert "no token is asked for" in err
    assert said(capsys, "hub", "--insecure", "--check-config")[0] == 0
    assert said(capsys, "hub", "--check-config", GLEITZEIT_HUB_HOST="0.0.0.0")[0] == 0


def test_only_a_hub_can_be_insecure(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "persistence", "--insecure", "--check-config")
    assert code == 2
    assert "it is the hub that asks for tokens" in err


def test_the_effective_configuration_says_where_each_value_is_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[connection]\nshutdown_seconds = 3\n")
    code, out, _ = said(
        capsys,
        *("queue-manager", "--print-config", "--effective", "--config", str(file)),
        *("--hub", "http://a:1", "--hub", "http://b:2"),
        LOG_LEVEL="debug",
    )
    assert code == 0
    values = tomllib.loads(out)
    assert values["connection"]["hub_urls"] == ["http://a:1", "http://b:2"]
    assert f"shutdown_seconds = 3.0  # {file}:2" in out
    assert 'level = "debug"  # environment LOG_LEVEL' in out
    assert '"http://b:2"]  # --hub' in out


def test_the_reference_of_all_roles_is_one_file_without_a_hub_to_connect_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = said(capsys, "all", "--print-config")
    assert code == 0
    sections = set(tomllib.loads(out))
    assert {"hub", "persistence", "sqlite", "queue_manager", "log"} <= sections
    assert not {"connection", "provider"} & sections


def test_an_instance_reads_its_own_file_and_says_which_one_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = importlib.import_module("gleitzeitd.config.files")
    monkeypatch.setattr(files.config_files, "__kwdefaults__", {"instance": "", "directory": tmp_path})
    monkeypatch.setattr(files.instance_file, "__defaults__", (tmp_path,))
    code, _, err = said(capsys, "execution-engine", "big", "--check-config")
    assert code == 2
    assert f"{tmp_path}/execution-engine/big.toml: does not exist" in err
    assert err.count("\n") == 1
    (tmp_path / "execution-engine" / "big.d").mkdir(parents=True)
    (tmp_path / "execution-engine" / "big.toml").touch()
    (tmp_path / "execution-engine" / "big.d" / "a.toml").write_text("[execution_engine]\nslots = 3\n")
    (tmp_path / "execution-engine.toml").write_text("[execution_engine]\nslots = 9\n")
    code, out, _ = said(capsys, "execution-engine", "big", "--print-config", "--effective")
    assert (code, tomllib.loads(out)["execution_engine"]["slots"]) == (0, 3)

    code, _, err = said(capsys, "provider", "mine", "--check-config")
    assert code == 2
    assert f"{tmp_path}/providers/mine.toml: does not exist, and no provider is called 'mine'" in err
    assert 'module = "package.module:Class"' in err
    assert err.count("\n") == 1


def test_a_provider_of_ones_own_is_named_in_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    arguments = ["provider", "mine", "--print-config", "--effective", "--config", str(file)]
    file.write_text('[provider]\nmodule = "gleitzeitd.providers.shell:ShellProvider"\ncapacity = 3\n')
    code, out, _ = said(capsys, *arguments)
    assert (code, tomllib.loads(out)["provider"]["capacity"]) == (0, 3)
    file.write_text("[provider]\ncapacity = 3\n")
    assert f"{file}: names no class" in said(capsys, *arguments)[2]
    file.write_text("[provider]\nmodule = 3\n")
    assert f"{file}:2: provider.module: expected text" in said(capsys, *arguments)[2]
    file.write_text('[provider]\nmodule = "no.such:Class"\n')
    assert "there is no module no" in said(capsys, *arguments)[2]
    file.write_text("[provider\n")
    assert f"{file}:1" in said(capsys, *arguments)[2]


def test_help_names_every_role_and_version_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert "execution-engine" in said(capsys, "--help")[1]
    assert said(capsys, "--version")[1] == f"gleitzeitd {__version__}\n"
    assert set(NAMED) == set(BUILTIN)


def test_help_imports_no_socket_library() -> None:
    code = (
        "import sys\nfrom gleitzeitd.__main__ import run\n"
        "try:\n    run(['--help'], {})\nexcept SystemExit:\n    pass\n"
        "print(sorted({'socketio', 'aiohttp', 'jsonschema', 'sqlite3'} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


# --- processes --------------------------------------------------------------------------------------


class Daemons:
    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self._started: list[subprocess.Popen[str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / "notify"))
        self._socket.settimeout(20)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        inherited: Mapping[str, str] = {k: v for k, v in os.environ.items() if not k.startswith("GLEITZEIT_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "gleitzeitd", *arguments],
            cwd=ROOT,
            env={
                **inherited,
                "NOTIFY_SOCKET": str(self.directory / "notify"),
                "GLEITZEIT_HUB_PORT": str(self.port),
                "GLEITZEIT_HUB_URL": f"http://127.0.0.1:{self.port}",
                "GLEITZEIT_SQLITE_PATH": str(self.directory / "db"),
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def until(self, condition: Callable[[str], bool]) -> str:
        """The first line sent to the service manager for which it holds."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for line in self._socket.recv(65536).decode().split("\n"):
                if condition(line):
                    return line
        raise AssertionError("nothing of the kind was sent")

    def ready(self) -> None:
        self.until(lambda line: line == "READY=1")

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
        self._socket.close()


@pytest.fixture
def daemons(tmp_path: Path, unused_tcp_port: int) -> Iterator[Daemons]:
    made = Daemons(tmp_path, unused_tcp_port)
    yield made
    made.close()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=30)
    return process.returncode, err


def test_a_component_is_ready_with_its_hub_and_ends_with_0(daemons: Daemons) -> None:
    component = daemons.start("protocol-registry")
    daemons.until(lambda line: line.startswith("STATUS=not connected to the hub (Connection refused)"))
    hub = daemons.start("hub", "--insecure")
    daemons.ready()  # of either
    daemons.until(lambda line: line.startswith("STATUS=") and line.endswith("; hub connected"))
    component.send_signal(signal.SIGTERM)
    code, err = ended(component)
    assert code == 0, err
    hub.send_signal(signal.SIGINT)
    code, err = ended(hub)
    assert code == 0, err
    assert f"hub listens address=127.0.0.1:{daemons.port}" in err
    assert "Traceback" not in err


def test_all_in_one_takes_a_reload_and_ends_with_0(daemons: Daemons) -> None:
    file = daemons.directory / "gleitzeit.toml"
    file.write_text("")
    process = daemons.start("all", "--config", str(file))
    daemons.ready()
    file.write_text('[log]\nlevel = "debug"\n[queue_manager]\nengine_seconds = 5\n')
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "configuration" in line)
    assert 'was read again needs_restart="queue-manager: queue_manager.engine_seconds"' in line
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    assert code == 0, err


def test_a_second_signal_ends_the_process_at_once(daemons: Daemons) -> None:
    hub = daemons.start("hub", "--insecure")
    daemons.ready()
    # A resolver with shards hands them back; a persistence that is gone never answers.
    resolver = daemons.start("dependency-resolver", GLEITZEIT_CONNECTION_SHUTDOWN_SECONDS="60")
    persistence = daemons.start("persistence")
    daemons.until(lambda line: line.endswith(", 16 shards; hub connected"))
    persistence.kill()
    persistence.wait()
    resolver.send_signal(signal.SIGTERM)
    daemons.until(lambda line: line == "STOPPING=1")
    resolver.send_signal(signal.SIGTERM)
    code, err = ended(resolver)
    assert (code, "told to end a second time" in err) == (1, True)
    hub.kill()


def test_what_an_operator_has_to_see_to_ends_with_1_and_no_traceback(daemons: Daemons) -> None:
    process = daemons.start("persistence", GLEITZEIT_SQLITE_PATH="/proc/no/such/place/db")
    code, err = ended(process)
    assert code == 1
    assert "cannot go on" in err
    assert "Traceback" not in err
    daemons.until(lambda line: line.startswith("STATUS=cannot go on: /proc/no/such/place/db.lock"))


def test_a_damaged_database_has_an_exit_code_of_its_own_and_stays_in_the_status(daemons: Daemons) -> None:
    (daemons.directory / "db").write_bytes(b"no database\n" * 500)
    code, err = ended(daemons.start("persistence"))
    assert code == DAMAGED, err
    line = daemons.until(lambda line: line.startswith("STATUS=cannot go on: "))
    assert "gleitzeit restore" in line


def test_a_module_of_functions_is_named_by_the_file_of_its_instance(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from gleitzeitd.providers import method\n\n@method\ndef tide(port: str) -> int:\n    return 3\n"
    (tmp_path / "tides.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "sea.toml"
    file.write_text('[provider]\nmodule = "tides"\ncapacity = 3\n')
    arguments = ["provider", "sea", "--config", str(file), "--print-config", "--effective"]
    status, out, err = said(capsys, *arguments)
    assert (status, err) == (0, "")
    assert tomllib.loads(out)["provider"]["capacity"] == 3
