"""What a task of a user reaches on a host as apt leaves it: in the real unit, with the real sandbox."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.fleet import HUB_HOST, booted, install_all
from tests.system.host import Host
from tests.system.progress import step
from tests.system.workflows import new_id

ATTEMPTS = {
    "token": "open('/run/credentials/gleitzeit-provider@python.service/token').read()",
    "token for people": "open('/etc/gleitzeit/token').read()",
    "keys": "open('/etc/credstore/gleitzeit.keys').read()",
    "ledger": "open('/var/lib/gleitzeit/persistence/gleitzeit.db', 'rb').read(10)",
    "configuration": "open('/etc/gleitzeit/hub.toml').read()",
    "environment of the provider": "open(f'/proc/{provider}/environ').read()",
    "memory of the provider": "open(f'/proc/{provider}/mem', 'rb').read(1)",
    "end of the provider": "os.kill(provider, 9)",
    "hub": "socket.create_connection(('127.0.0.1', 8000), 2)",
    "names": "socket.getaddrinfo('example.org', 80)",
    "journal": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '/run/systemd/journal/socket')",
    "file in /tmp": "open('/tmp/file', 'w')",
    "file in /var/tmp": "open('/var/tmp/file', 'w')",
    "file of the provider": "open('/var/lib/gleitzeit/provider/python/file', 'w')",
    "name space": "os.unshare(os.CLONE_NEWUSER) if hasattr(os, 'unshare') else open('/etc/gleitzeit/token')",
}
REACHED = f"""
import os, socket
result = {{}}
for what, attempt in {ATTEMPTS!r}.items():
    try:
        eval(attempt)
        result[what] = "reached"
    except OSError as error:
        result[what] = type(error).__name__
"""
SOUND = """
import json, os, subprocess, tempfile
with tempfile.TemporaryDirectory() as folder:
    with open(f"{folder}/file", "w") as file:
        file.write("x")
result = [os.getcwd() == os.environ["HOME"], subprocess.run(["ls", "/"], stdout=subprocess.DEVNULL).returncode]
"""


@pytest.fixture(scope="module")
def host(image: Path, packages: Path) -> Iterator[Host]:
    """With everything, as somebody has it who tries it out."""
    with booted(image, HUB_HOST) as hosts:
        with step("apt install"):
            install_all(hosts.hub, packages)
        yield hosts.hub


def ran(host: Host, method: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The state of a workflow of this one task, and what its task has given."""
    name = new_id("user-code")
    file = f"/root/{name}.yaml"
    task = {"id": "task", "method": method, "parameters": parameters, **more}
    host.put(file, json.dumps({"name": name, "tasks": [task]}))
    done = host.run("gleitzeit", "run", file, "--json", check=False)
    answer = json.loads(done.stdout)
    return dict(answer["tasks"]["task"] if isinstance(answer["tasks"], dict) else answer["tasks"][0])


def given(task: dict[str, Any]) -> Any:
    """What a task of Python has left in ``result``."""
    assert task["status"] == "completed", task
    return task["result"]["result"]


def test_a_task_reaches_nothing_that_is_not_its_own(host: Host) -> None:
    pid = int(host.property("gleitzeit-provider@python", "MainPID"))
    assert pid
    found = given(ran(host, "python/execute", {"code": REACHED, "context": {"provider": pid}}))
    assert set(found) == set(ATTEMPTS)
    assert "reached" not in found.values(), found
    assert given(ran(host, "python/execute", {"code": SOUND})) == [True, 0]


def test_providers_are_another_user_than_hub_and_ledger(host: Host) -> None:
    for unit, user in (
        ("gleitzeit-provider@python", "gleitzeit-provider"),
        ("gleitzeit-provider@shell", "gleitzeit-provider"),
        ("gleitzeit-hub", "gleitzeit"),
        ("gleitzeit-persistence", "gleitzeit"),
    ):
        pid = host.property(unit, "MainPID")
        assert host.said("stat", "--format=%U", f"/proc/{pid}/task") in (user, "root"), unit
        assert host.said("ps", "-o", "user:32=", "-p", pid, check=False) in (user, ""), unit
        assert host.property(unit, "User") == user
    kept = host.said("stat", "--format=%U %a", "/var/lib/gleitzeit/provider/python")
    assert kept == "gleitzeit-provider 700"


def test_nothing_is_missing_for_the_isolation_but_what_the_kernel_lacks(host: Host) -> None:
    kernel = tuple(int(part) for part in host.said("uname", "-r").split(".")[:2])
    said = [r["MESSAGE"] for r in host.journal("--unit=gleitzeit-provider@python")]
    incomplete = [line for line in said if "isolation of tasks is incomplete" in str(line)]
    assert bool(incomplete) == (kernel < (6, 12)), said


def test_a_task_takes_no_more_than_its_resources_say(host: Host) -> None:
    greedy = ran(host, "python/execute", {"code": "x = bytearray(1 << 30)"}, resources={"memory": "128 MB"})
    assert greedy["status"] == "failed"
    assert "resources.memory = 128 MB" in str(greedy["error"])


def test_what_is_to_stay_is_kept_in_a_directory_that_the_file_names(host: Host) -> None:
    kept = "/var/lib/gleitzeit/provider/shell/kept/file"
    assert ran(host, "shell/execute", {"script": f"echo kept >{kept}"})["status"] == "completed"
    assert host.said("cat", kept) == "kept"


def test_a_process_of_a_task_ends_with_it(host: Host) -> None:
    script = "setsid sh -c 'setsid sleep 4711 &' >/dev/null 2>&1"
    assert ran(host, "shell/execute", {"script": script})["status"] == "completed"
    assert "sleep 4711" not in host.said("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_a_secret_of_a_task_is_in_no_journal_and_in_no_file_of_ours(host: Host) -> None:
    secret, unit = "planted-Vq9xT2mB7w", "gleitzeit-provider@shell.service"
    host.put("/etc/credstore/gleitzeit.secrets.shell", f"planted={secret}\n", "0600")
    host.systemctl("restart", unit)
    host.wait_active(unit)
    script = (
        'printf "%s\\n" "$KEY"; printf %s "$KEY" | base64; printf %s "$KEY" | sha256sum; printf %s "$KEY" >&2'
    )
    done = ran(host, "shell/execute", {"script": script, "env": {"KEY": "${secret.planted}"}})
    assert done["status"] == "completed", done
    said = done["result"]["stdout"]
    assert said.startswith("***\n***")
    assert hashlib.sha256(secret.encode()).hexdigest() in said  # the task had the value itself
    # Only its provider has it: the file is root's, and no other unit loads it.
    other = ran(host, "python/execute", {"code": "result = ${secret.planted}"})
    assert other["error"]["name"] == "SECRET_NOT_AVAILABLE", other
    held = "/run/credentials/gleitzeit-provider@shell.service/secrets"
    spied = ran(host, "shell/execute", {"argv": ["cat", held], "check": False})
    assert (spied["result"]["exit_code"], spied["result"]["stdout"]) == (1, ""), spied
    host.shell("journalctl --no-pager --output=export >/run/exported-journal")
    for form in (secret, base64.b64encode(secret.encode()).decode()[:20]):
        words = ("grep", "-rlaF", "-e", form, "/var/lib/gleitzeit", "/run/exported-journal")
        assert host.said(*words, check=False) == ""
