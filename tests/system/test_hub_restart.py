"""The hub is restarted under load, and nobody who wants to connect meanwhile is refused."""

from __future__ import annotations

import json
import subprocess

from tests.system.fleet import PORT, Fleet
from tests.system.workflows import busy, new_id

CONNECT = """\
import json, select, socket, sys
seen = {"connected": 0, "refused": 0, "other": 0}
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for host in ("127.0.0.1", sys.argv[1]):
        try:
            socket.create_connection((host, int(sys.argv[2])), timeout=5).close()
            seen["connected"] += 1
        except ConnectionRefusedError:
            seen["refused"] += 1
        except OSError:
            seen["other"] += 1
print(json.dumps(seen), flush=True)
"""
RESTARTS = 3


def test_a_restart_of_the_hub_refuses_no_connection_and_loses_no_work(fleet: Fleet) -> None:
    hub = fleet.hub
    made = hub.submit(new_id("restarts"), busy(60, 0.5))
    hub.put("/root/connect.py", CONNECT)
    command = hub.container.command("python3", "/root/connect.py", hub.address, str(PORT))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as connecting:
        assert connecting.stdin is not None and connecting.stdout is not None
        assert connecting.stdout.readline() == "begun\n"
        invocations = {hub.property("gleitzeit-hub.service", "InvocationID")}
        for _ in range(RESTARTS):
            hub.systemctl("restart", "gleitzeit-hub.service")
            invocations.add(hub.property("gleitzeit-hub.service", "InvocationID"))
        connecting.stdin.close()
        seen = json.loads(connecting.stdout.readline())
    print(seen)
    assert len(invocations) == RESTARTS + 1
    assert seen["refused"] == seen["other"] == 0
    assert seen["connected"] > 100
    hub.wait_completed(made)
