"""What a task of a user can reach, beyond its own work: nothing.

The provider runs in a process and as a user of its own, as it does in its unit, so that the rights of root hide
nothing. Each attack is a script that says what came of it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gleitzeitd.errors import ExecutionFailed, ResourcesExceeded, TaskTimeout
from gleitzeitd.providers import confinement
from tests.security.victim import ROOT, Victim, victims

LANDLOCK = confinement.landlock_version()


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    yield from victims()


needs_landlock = pytest.mark.skipif(LANDLOCK < 1, reason="the kernel has no Landlock")
needs_scopes = pytest.mark.skipif(LANDLOCK < 6, reason="Landlock is older than Linux 6.12")


# --- the network ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "socket.create_connection(('127.0.0.1', {port}), 5)",
        "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))",
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '/run/systemd/journal/socket')",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(40, socket.SOCK_STREAM)",
        "socket.create_server(('127.0.0.1', 0))",
    ],
)
def test_a_task_has_no_network(victim: Victim, expression: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert victim.attempt(expression.format(port=server.getsockname()[1])) == "EACCES"


def test_whoever_reads_that_something_was_refused_reads_where_it_could_be_allowed(victim: Victim) -> None:
    with pytest.raises(
        ExecutionFailed, match=r"PermissionError.*network, writable and hidden in the provider"
    ):
        victim.python("import socket; socket.socket()")


def test_no_name_is_looked_up(victim: Victim) -> None:
    assert victim.attempt("socket.getaddrinfo('example.org', 80)") in ("EAI_AGAIN", "gaierror")


def test_other_ways_to_the_network_are_closed(victim: Victim) -> None:
    io_uring = "ctypes.CDLL(None, use_errno=True).syscall(425, 8, bytes(120)), ctypes.get_errno()"
    assert victim.attempt(f"({io_uring})") == "(-1, 1)"
    done = victim.shell("unshare -rn true; echo $?")
    assert "not permitted" in done["stderr"]


def test_a_provider_whose_file_allows_it_gives_the_network() -> None:
    for victim in victims(network=True):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert victim.attempt(f"socket.create_connection(('127.0.0.1', {port}), 5).close()") == "None"
        assert victim.attempt("socket.socket(40, socket.SOCK_STREAM)") == "EACCES"


# --- secrets and the ledger -------------------------------------------------------------------------


@needs_landlock
@pytest.mark.parametrize(
    "place", ["{place}/credentials/token", "{place}/gleitzeit.db", "{place}/state/identity", "/etc/gleitzeit/token",
              "/var/lib/gleitzeit/persistence/gleitzeit.db", "{place}/state/../credentials/token",
              "/proc/self/root{place}/credentials/token", "/proc/self/cwd/../../../credentials/token"],
)  # fmt: skip
def test_a_task_reads_neither_tokens_nor_the_ledger_nor_what_the_provider_keeps(
    victim: Victim, place: str
) -> None:
    path = place.format(place=victim.place)
    if path.startswith(str(victim.place)):
        assert Path(path).exists()
    assert victim.attempt(f"open({path!r}).read()") in ("EACCES", "ENOENT")
    (victim.place / "public").chmod(0o644)
    assert victim.attempt(f"open({str(victim.place / 'public')!r}).read()") == "'public'"


@needs_landlock
def test_a_link_leads_to_nothing_that_is_hidden(victim: Victim) -> None:
    secret = victim.credentials / "token"
    assert victim.attempt(f"[os.symlink({str(secret)!r}, 'here'), open('here').read()]") == "EACCES"
    assert victim.attempt(f"[os.link({str(secret)!r}, 'here'), open('here').read()]") in (
        "EACCES",
        "EXDEV",
        "EPERM",
    )


@pytest.mark.parametrize(
    "file", ["environ", "mem", "maps", "fd/0", "cwd/identity", "root/etc/hostname", "auxv"]
)
def test_the_memory_of_the_provider_is_closed(victim: Victim, file: str) -> None:
    found = victim.attempt(f"open('/proc/{victim.process.pid}/{file}', 'rb').read(100)")
    assert found in ("EACCES", "EPERM", "ENOENT")


def test_the_memory_of_the_worker_is_closed(victim: Victim) -> None:
    for file in ("environ", "mem", "maps"):
        assert victim.attempt(f"open(f'/proc/{{os.getppid()}}/{file}', 'rb').read(100)") in (
            "EACCES",
            "EPERM",
        )


def test_nobody_is_traced(victim: Victim) -> None:
    for pid in ("PROVIDER", "os.getppid()"):
        attach = f"ctypes.CDLL(None, use_errno=True).ptrace(16, {pid}, None, None), ctypes.get_errno()"
        assert victim.attempt(f"({attach})") == "(-1, 1)"


def test_nothing_in_a_tasks_environment_is_the_providers(victim: Victim) -> None:
    environment = victim.python("import os; result = dict(os.environ)")
    assert "s3cret" not in str(environment)
    assert not {"CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "GLEITZEIT_TOKEN"} & environment.keys()
    assert "s3cret" not in victim.shell("cat /proc/self/environ | tr '\\0' '\\n'; env")["stdout"]


def test_a_task_has_no_descriptors_but_its_own(victim: Victim) -> None:
    found = victim.python("import os; result = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
                          " if os.path.islink(f'/proc/self/fd/{n}')]")  # fmt: skip
    assert all(each.startswith(("pipe:", "socket:", "/dev/null")) for each in found), found
    assert sum(each.startswith("socket:") for each in found) == 0


def test_a_task_finds_nothing_of_earlier_tasks_in_its_memory(victim: Victim) -> None:
    planted = "planted-by-an-earlier-task"
    for size in (10, 10_000, 1_000_000):
        victim.python("result = 1", context={"secret": planted * (size // len(planted) + 1)})
    code = """
import re
wanted = re.compile(rb"planted[-]by[-]an[-]earlier")  # which is not what it finds
found = 0
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
    for line in maps:
        place, rights = line.split()[:2]
        if rights[:2] != "rw":
            continue
        first, last = (int(each, 16) for each in place.split("-"))
        try:
            memory.seek(first)
            found += len(wanted.findall(memory.read(last - first) or b""))
        except OSError:
            continue
result = found
"""
    assert victim.python(code) == 0
    assert victim.python("kept = context['secret']\n" + code, context={"secret": planted}) > 0, (
        "it is found if it is there"
    )


# --- files ------------------------------------------------------------------------------------------


@needs_landlock
@pytest.mark.parametrize(
    "place",
    [
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "{place}",
        "{place}/state",
        "{home}",
        "{package}",
        "/",
    ],
)
def test_a_task_writes_nowhere_but_in_its_own_directory(victim: Victim, place: str) -> None:
    folder = place.format(
        place=victim.place, home=pwd.getpwuid(os.getuid()).pw_dir, package=ROOT / "gleitzeitd"
    )
    file = Path(folder) / "written-by-a-task"
    found = victim.attempt(f"open({str(file)!r}, 'w')")
    assert found in ("EACCES", "EPERM", "EROFS", "ENOENT")
    assert not file.exists()


@needs_landlock
def test_nothing_is_removed_renamed_or_cut_off(victim: Victim) -> None:
    file = str(victim.state / "identity")
    for attempt in (f"os.remove({file!r})", f"os.rename({file!r}, 'x')", f"os.truncate({file!r}, 0)",
                    f"open({file!r}, 'a')", f"os.mkdir({file + 'x'!r})", f"os.link({file!r}, 'y')"):  # fmt: skip
        assert victim.attempt(attempt) in ("EACCES", "EPERM", "EXDEV")
    assert Path(file).read_text() == "mine"


def test_a_task_begins_in_an_empty_directory_which_is_gone_afterwards(victim: Victim) -> None:
    code = """
import os, tempfile
result = [os.getcwd(), os.listdir(), tempfile.gettempdir(), os.path.expanduser("~"), os.umask(0)]
os.makedirs("a/b"); open("a/b/c", "w").write("x"); os.symlink("/etc", "link"); os.chmod("a/b", 0)
os.mkdir("deep"); os.chdir("deep")
for _ in range(3000):
    os.mkdir("d"); os.chdir("d")
"""
    for _ in range(3):
        own, found, temporary, home, umask = victim.python(code)
        assert (found, temporary, home, umask) == ([], own, own, 0o077)
        assert list(Path(own).iterdir()) == []


def test_what_must_stay_goes_to_a_directory_that_the_file_names() -> None:
    for victim in victims(writable=["kept"]):
        kept = victim.state / "kept"
        assert victim.attempt(f"open({str(kept / 'a')!r}, 'w').write('x')") == "1"
        assert victim.attempt(f"open({str(kept / 'a')!r}).read()") == "'x'"
        shutil.rmtree(kept)


# --- other processes --------------------------------------------------------------------------------


def test_a_task_cannot_end_the_provider(victim: Victim) -> None:
    for attempt in ("os.kill(PROVIDER, 9)", "os.kill(PROVIDER, 15)", "os.killpg(os.getpgid(PROVIDER), 9)"):
        assert victim.attempt(attempt) in ("EPERM", "ESRCH")
    assert victim.attempt("signal.pidfd_send_signal(os.pidfd_open(PROVIDER), 9)") == "EPERM"
    assert victim.attempt("resource.prlimit(PROVIDER, resource.RLIMIT_NOFILE, (0, 0))") == "EPERM"
    assert victim.attempt("os.setpriority(os.PRIO_PROCESS, PROVIDER, 19)") == "EPERM"
    assert victim.attempt("os.sched_setaffinity(PROVIDER, [0])") == "EPERM"
    assert victim.process.poll() is None


@needs_scopes
def test_a_task_cannot_end_other_workers_nor_everybody(victim: Victim) -> None:
    others = [p.pid for p in psutil.Process(victim.process.pid).children()]
    assert len(others) >= 2
    mine = victim.python("import os; result = os.getppid()")
    for pid in others:
        if pid != mine:
            assert victim.attempt(f"os.kill({pid}, 9)") == "EPERM"
    with pytest.raises(ExecutionFailed):
        victim.python("import os; os.kill(-1, 9); os.kill(os.getpid(), 9)")
    assert victim.process.poll() is None
    assert set(others) - {mine} <= {p.pid for p in psutil.Process(victim.process.pid).children()}


@pytest.mark.parametrize(
    "leave",
    [
        "(setsid sh -c 'setsid sleep 300 & setsid sleep 300 &' &) >/dev/null 2>&1",
        "nohup sleep 300 >/dev/null 2>&1 &",
        "cp $(command -v sleep) ./mine; chmod 111 mine; (setsid ./mine 300 &) >/dev/null 2>&1",
    ],
)
def test_nothing_outlives_its_task(victim: Victim, leave: str) -> None:
    victim.shell(f"{leave}\nsleep 0.1")
    assert victim.strays() == []
    with pytest.raises(TaskTimeout):
        victim.shell(f"{leave}\nsleep 60", timeout=0.5)
    assert victim.strays() == []


def test_a_process_that_hides_from_its_worker_is_ended_as_well(victim: Victim) -> None:
    code = """
import ctypes, os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
        if os.fork() == 0:
            time.sleep(300)
        time.sleep(300)
    os._exit(0)
time.sleep(0.1)
result = os.getpid()
"""
    victim.python(code)
    assert victim.strays() == []


# --- the machine ------------------------------------------------------------------------------------


def test_a_fork_bomb_ends_and_the_provider_goes_on(victim: Victim) -> None:
    with pytest.raises(ResourcesExceeded, match="resources.processes = 30") as error:
        victim.python(
            """
            import os
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
            """,
            processes=30,
        )
    assert not error.value.retryable
    assert victim.strays() == []
    victim.shell("bomb() { bomb | bomb & bomb; }; bomb; true", processes=30)
    assert victim.strays() == []
    assert victim.python("result = 1") == 1


def test_memory_beyond_the_limit_ends_the_task(victim: Victim) -> None:
    for code in ("b = bytearray(10 << 30)", "b = []\nwhile True: b.append(bytearray(1 << 20))"):
        with pytest.raises(ResourcesExceeded, match=r"resources.memory = 128 MiB") as error:
            victim.python(code, memory=128 * 2**20)
        assert not error.value.retryable
    with pytest.raises(ResourcesExceeded, match=r"resources.memory = \d+"):
        victim.python("b = bytearray(1 << 45)")
    assert victim.python("result = len(bytearray(100 << 20))") == 100 << 20


def test_memory_counts_for_all_processes_of_a_task(victim: Victim) -> None:
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        kept = b"x" * (60 << 20)
        time.sleep(60)
time.sleep(60)
"""
    with pytest.raises(ResourcesExceeded, match=r"resources.memory = 128 MiB"):
        victim.python(code, memory=128 * 2**20)


def test_a_file_that_grows_beyond_the_limit_ends_the_task(victim: Victim) -> None:
    with pytest.raises(ResourcesExceeded, match=r"resources.file_size = 1 MiB"):
        victim.shell("head -c 10000000000 /dev/zero > big", file_size=2**20)
    with pytest.raises(ResourcesExceeded, match=r"resources.file_size = 1 MiB"):
        victim.python("open('big', 'wb').write(bytes(1 << 24))", file_size=2**20)


def test_open_files_and_seconds_of_processors_are_limited(victim: Victim) -> None:
    with pytest.raises(ResourcesExceeded, match=r"resources.open_files = 50"):
        victim.python("files = [open('/dev/null') for _ in range(100)]", open_files=50)
    with pytest.raises(ResourcesExceeded, match=r"resources.cpu_seconds = 1"):
        victim.python("while True: pass", cpu_seconds=1)


def test_output_without_end_ends_the_task(victim: Victim) -> None:
    begun = time.monotonic()
    with pytest.raises(ResourcesExceeded, match=r"resources.output = 10 MB"):
        victim.shell("yes", output=10_000_000)
    assert time.monotonic() - begun < 15


def test_a_task_cannot_ask_for_more_than_there_is(victim: Victim) -> None:
    with pytest.raises(ResourcesExceeded, match=r"asks for resources.memory = 1024 TiB, .* at most"):
        victim.python("result = 1", memory=2**50)


def test_limits_of_one_task_are_not_those_of_the_next(victim: Victim) -> None:
    code = "import resource; result = resource.getrlimit(resource.RLIMIT_NOFILE)"
    assert victim.python(code, open_files=100) == [100, 100]
    assert victim.python(code) == [1024, 1024]
    assert victim.python("import resource; result = resource.getrlimit(resource.RLIMIT_CORE)") == [0, 0]
    assert signal.SIGXCPU


def test_nothing_of_the_kernel_is_left_that_work_does_not_need(victim: Victim) -> None:
    calls = (
        "ptrace 101 bpf 321 userfaultfd 323 keyctl 250 add_key 248 shmget 29 mount 165 unshare 272".split()
    )
    if os.uname().machine != "x86_64":
        pytest.skip("numbers are those of x86_64")
    for number in calls[1::2]:
        attempt = f"(ctypes.CDLL(None, use_errno=True).syscall({number}, 0, 0, 0, 0), ctypes.get_errno())"
        assert victim.attempt(attempt) == "(-1, 1)"
