"""One bridge, and a cable from it to every host, which can be cut without either end noticing.

Everything is in the network namespace of a stage, or in one of a host below it; nothing of it can be reached
from the machine around, nor does it reach anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.system.containers import Stage

BRIDGE = "gleitzeit"
FIRST_ADDRESS = 10


class Network:
    """The hosts' addresses are 10.77.0.10, 10.77.0.11, ..., in the order in which they are named."""

    def __init__(self, stage: Stage, hosts: Sequence[str]) -> None:
        self._stage = stage
        self.addresses = {name: f"10.77.0.{FIRST_ADDRESS + index}" for index, name in enumerate(hosts)}
        ip = self._ip
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("link", "set", BRIDGE, "up")
        for name, address in self.addresses.items():
            ip("netns", "add", name)
            ip("link", "add", _cable(name), "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", _cable(name), "master", BRIDGE, "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def namespace(self, host: str) -> str:
        """Its path inside the stage."""
        return f"/run/netns/{host}"

    def hosts_file(self, host: str) -> str:
        """An /etc/hosts in which all of them are."""
        lines = ["127.0.0.1 localhost", f"127.0.1.1 {host}"]
        lines += [f"{address} {name}" for name, address in self.addresses.items() if name != host]
        return "".join(f"{line}\n" for line in lines)

    @contextmanager
    def cut(self, host: str) -> Iterator[None]:
        """Meanwhile every packet to and from the host vanishes, while its interface stays up."""
        table = f"cut_{host.replace('-', '_')}"
        chains = "".join(
            f"chain {way} {{ type filter hook {way} device {_cable(host)} priority 0; policy drop; }}\n"
            for way in ("ingress", "egress")
        )
        self._stage.run("nft", "-f", "-", stdin=f"table netdev {table} {{\n{chains}}}\n")
        try:
            yield
        finally:
            self._stage.run("nft", "delete", "table", "netdev", table)

    def _ip(self, *words: str) -> None:
        self._stage.run("ip", *words)


def _cable(host: str) -> str:
    """Names of interfaces have at most 15 characters."""
    return f"to-{host}"[:15]
