"""Which addresses are this host's own, and sockets that are handed over."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.runtime.hub_address import inherited_sockets, is_loopback, names_loopback, unused_address


def test_loopback_is_known_in_all_its_spellings():
    assert all(map(is_loopback, ["127.0.0.1", "127.3.2.1", "::1", "localhost", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["", None, "10.0.0.1", "0.0.0.0", "::", "example.org"]))
    assert all(map(names_loopback, ["localhost:8000", "127.0.0.1", "[::1]:80"]))
    assert not any(map(names_loopback, ["evil.test", "", None, "127.0.0.1.evil.test", "[::1"]))


def test_sockets_meant_for_another_process_are_not_taken():
    assert inherited_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []


_INHERITING = """
import asyncio, os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer

async def main():
    server = HubServer(Settings(port=1), gate=Gate.closed())
    await server.start()
    assert server.port == listening.getsockname()[1], server.port
    await server.stop("done")

asyncio.run(main())
"""


def test_a_socket_that_systemd_hands_over_is_used_instead_of_the_settings():
    subprocess.run([sys.executable, "-c", _INHERITING], check=True, timeout=30, close_fds=True)


@pytest.mark.parametrize(
    ("host", "port", "unused"),
    [
        ("127.0.0.1", 8000, ""),  # nobody has chosen it
        ("0.0.0.0", 8000, "0.0.0.0:8000"),
        ("127.0.0.1", 9000, "127.0.0.1:9000"),
        ("127.0.0.1", 0, ""),
    ],
)
def test_an_address_that_systemd_does_not_listen_on_is_noticed(host: str, port: int, unused: str) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        actual = listening.getsockname()[1]
        settings = Settings(host=host, port=port or actual)
        assert unused_address(settings, Settings(), [listening]) == unused
