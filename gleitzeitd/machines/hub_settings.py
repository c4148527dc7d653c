"""What can be set of a hub."""

from __future__ import annotations

from typing import Literal

from gleitzeitd.bounds import bounded
from gleitzeitd.record import record


@record
class Settings:
    """Section ``[hub]``."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but loopback needs a token. Ignored where systemd hands over a socket."""
    port: int = bounded(8000, least=0, most=65535)
    """0: any free one."""
    allowed_origins: tuple[str, ...] = ()
    """Origins (``https://example.org``) whose web pages may connect, besides the hub's own; ``*`` is any."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Whether components show a certificate of security.ca_file: off, they are not asked; optional, one that
    is shown has to be good; required, who shows none is refused. It has to be for the component's id or host.
    With any but off, the hub needs a certificate of its own."""
    heartbeat_interval: float = bounded(1.0, above=0, most=60, unit="seconds")
    """Between two heartbeats."""
    dead_after: float = bounded(3.0, above=0, most=300, unit="seconds")
    """A component of which nothing came for so long is gone."""
    register_within: float = bounded(3.0, above=0, most=60, unit="seconds")
    """A connection that has not registered by then is cut."""
    max_unregistered: int = bounded(200, least=1)
    """Connections that may be about to register; more are refused."""
    max_frame_bytes: int = bounded(16 * 2**20, least=65536, most=2**30, unit="bytes")
    """A larger message ends the connection that it comes from."""
    max_nesting: int = bounded(64, least=8, most=200)
    """How deep a foreign client's payload may be nested."""
    outbound_messages: int = bounded(20_000, least=100)
    """Events that may wait for one connection; at one more it is cut, and comes back."""
    outbound_bytes: int = bounded(64 * 2**20, least=2**20, unit="bytes")
    """The same in bytes."""
    topics_per_connection: int = bounded(1000, least=1)
    """Topics that one client may watch."""
    trace_records: int = bounded(10_000, least=1, most=1_000_000)
    """Routed events that ``gleitzeit trace`` can look back on."""
    ping_interval: float = bounded(5.0, above=0, most=60, unit="seconds")
    """Between two pings of the transport."""
    ping_timeout: float = bounded(5.0, above=0, most=60, unit="seconds")
    """For the answer to one."""
