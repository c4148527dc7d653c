"""What can be set of a hub.

Where a limit is reached, the sender hears of it (RESOURCE_LIMIT_EXCEEDED, -25010, or the status of HTTP that
is named here) as far as it still reads; the journal has one record for each cause and address, and the metric
``gleitzeit_hub_refusals_total`` counts them by cause.
"""

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
    host_names: tuple[str, ...] = ()
    """Names by which this host's own browsers and programs may ask a hub on loopback that has no TLS, besides
    ``localhost``, loopback addresses and the host's own name. Others are refused (403): a web page can have
    its own name lead to 127.0.0.1."""
    heartbeat_interval: float = bounded(1.0, above=0, most=60, unit="seconds")
    """Between two heartbeats."""
    dead_after: float = bounded(3.0, above=0, most=300, unit="seconds")
    """A component of which nothing came for so long is gone."""
    request_within: float = bounded(3.0, above=0, most=60, unit="seconds")
    """A connection whose HTTP request is not complete by then is answered 408 and cut; so is, without an
    answer, one whose TLS handshake takes longer, or that has not read its page by then."""
    request_bytes: int = bounded(16_384, least=1024, most=2**20, unit="bytes")
    """An HTTP request's line and headers. With more it is answered 431 and cut. A body is answered 413."""
    max_requests: int = bounded(6000, least=10)
    """Connections whose HTTP request is not complete, or waits for its turn; at one more the oldest of them
    is cut. They cost a few kilobytes each: to keep them waiting costs less than to have them come again."""
    requests_per_second: int = bounded(200, least=10)
    """HTTP requests that are answered, and websockets that are begun, with a credit of 2 s. Where there are
    more the newest are first, and the others wait, until ``request_within``: a flood of those who do not get
    in does not keep the hub from its work."""
    register_within: float = bounded(3.0, above=0, most=60, unit="seconds")
    """A websocket that has not registered by then is cut."""
    unregistered_bytes: int = bounded(32_768, least=8192, most=2**20, unit="bytes")
    """A websocket that sends more than this before its token was accepted is cut."""
    max_unregistered: int = bounded(200, least=1)
    """Websockets that have not registered; at one more the oldest of which no token was accepted is cut, and
    if there is none the new one is refused. Both try again."""
    max_connections: int = bounded(10_000, least=10)
    """Connections in all; more are answered 503 with ``Retry-After``, unless an older one has not asked for
    anything yet: then that one is cut. Never more than the process may have open files, less 256."""
    max_connections_per_address: int = bounded(5000, least=1)
    """The same for those from one address."""
    max_frame_bytes: int = bounded(16 * 2**20, least=65536, most=2**30, unit="bytes")
    """A larger message ends the connection that it comes from."""
    inbound_bytes: int = bounded(48 * 2**20, least=2**20, unit="bytes")
    """What may have come of unfinished messages from all clients and foreign components together; beyond it
    the one of them with the longest is cut."""
    max_nesting: int = bounded(64, least=8, most=200)
    """How deep a foreign client's payload may be nested; what is deeper is refused."""
    events_per_second: int = bounded(500_000, least=1000)
    """From one of gleitzeit's own components, with a credit of 2 s; what comes faster is read later."""
    client_events_per_second: int = bounded(5000, least=10)
    """The same for a client or a foreign component. 4096 bytes count for an event, and commands that cost the
    hub more than passing them on for several."""
    answers_per_second: int = bounded(10_000, least=100)
    """Long answers of the hub to all clients and foreign components together: each component in a listing,
    and each event in a trace, counts for one, with a credit of 2 s. Who asks for more waits, with whatever it
    sends next, too."""
    slowed_at_most: float = bounded(60.0, above=0, most=3600, unit="seconds")
    """A client that sends faster than it may for so long without a pause is told so and cut."""
    outbound_messages: int = bounded(20_000, least=100)
    """Events that may wait for one connection; at one more it is cut, and comes back."""
    outbound_bytes: int = bounded(64 * 2**20, least=2**20, unit="bytes")
    """The same in bytes."""
    client_outbound_bytes: int = bounded(32 * 2**20, least=2**20, unit="bytes")
    """The same for a client or a foreign component."""
    all_clients_outbound_bytes: int = bounded(64 * 2**20, least=2**20, unit="bytes")
    """The same for all of these together; beyond it the one for which most waits is cut."""
    reads_within: float = bounded(30.0, above=0, most=600, unit="seconds")
    """A connection whose peer takes nothing of what is sent to it for so long is cut."""
    topics_per_connection: int = bounded(1000, least=1)
    """Topics that one client may watch; a command to watch more is refused."""
    topics: int = bounded(50_000, least=1)
    """The same for all connections together; the refusal says when to try again."""
    topic_characters: int = bounded(512, least=64, most=10_000, unit="characters")
    """A topic's length; a longer one is refused."""
    refusals_per_minute: int = bounded(120, least=10, most=100_000)
    """Events and registrations of one client or component that are refused within a minute; at one more its
    connection is cut, and it is kept away. Of those whose token is not accepted, all from one address count
    together, and others from there are not kept away with them."""
    refusal_pause: float = bounded(30.0, above=0, most=3600, unit="seconds")
    """For how long. Registrations are refused meanwhile with RESOURCE_LIMIT_EXCEEDED (-25010), and
    connections without a good token are cut without an answer."""
    trace_records: int = bounded(10_000, least=1, most=1_000_000)
    """Routed events that ``gleitzeit trace`` can look back on."""
    ping_interval: float = bounded(5.0, above=0, most=60, unit="seconds")
    """Between two pings of the transport."""
    ping_timeout: float = bounded(5.0, above=0, most=60, unit="seconds")
    """For the answer to one."""
