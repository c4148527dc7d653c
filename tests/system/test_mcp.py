"""The package that brings an SDK of its own: it is found, and servers run in the sandbox of the unit."""

from __future__ import annotations

from tests.system.fleet import Pair
from tests.system.host import EXAMPLES


def test_the_example_of_mcp_runs_in_the_unit_with_the_sdk_of_its_package(pair: Pair) -> None:
    hub = pair.hosts.hub
    hub.apt("install", *hub.copy_packages(pair.packages, "gleitzeit-provider-mcp"))
    hub.wait_active("gleitzeit-provider@mcp.service")
    done = hub.asked("run", f"{EXAMPLES}/mcp.yaml")
    assert done["status"] == "completed", done
    assert done["tasks"]["product"]["result"]["result"] == 42
    pid = hub.property("gleitzeit-provider@mcp.service", "MainPID")
    maps = hub.said("cat", f"/proc/{pid}/maps")
    assert "/usr/lib/gleitzeit/provider-mcp/python3" in maps
